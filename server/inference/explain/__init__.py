"""Feature contributions of predictions (Shapley values)."""
