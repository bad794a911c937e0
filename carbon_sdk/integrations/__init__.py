"""The front doors: one file for each framework that a service runs on."""
