"""Decode request bytes to columns and encode outputs: JSON records, queries, tensors, tables."""
