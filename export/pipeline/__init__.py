"""Steps of an export run, from data to a published version."""
