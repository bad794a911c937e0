"""The collector: one service that takes the records of all others, keeps each once, and answers questions."""
