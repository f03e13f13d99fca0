"""Training data: sources, CSV tables, checks and splits."""
