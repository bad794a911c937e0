"""The main job, shown: a service takes traffic, and a table says what each endpoint emitted."""
