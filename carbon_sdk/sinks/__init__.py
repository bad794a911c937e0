"""Where the records go."""
