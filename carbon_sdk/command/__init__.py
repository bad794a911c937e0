"""Any program and its whole process tree, measured without a change to it."""
