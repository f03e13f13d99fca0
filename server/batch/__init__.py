"""Batch endpoint: options, job, scorer, writer and response of a scored file."""
