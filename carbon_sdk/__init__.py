"""What each request and each job of a Python service costs in energy and carbon."""
