"""Model repository: publication, labels, comparison and rollback of versions."""
