"""Drift detection: distributions of served features beside those of the training data."""
