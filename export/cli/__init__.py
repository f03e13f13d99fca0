"""Command line interface of `python -m export`."""
