"""Model export: load data, train, convert, verify and publish a model."""
