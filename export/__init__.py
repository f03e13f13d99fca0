"""Data to a published model: load, train, convert, verify, publish."""
