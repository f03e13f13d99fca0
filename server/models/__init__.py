"""Model repository: manifests, sessions, versions, labels and reloads."""
