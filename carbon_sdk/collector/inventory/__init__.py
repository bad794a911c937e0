"""The report for the sustainability department: what goes into a greenhouse gas inventory, and how it is known."""
