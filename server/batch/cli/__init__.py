"""`python -m server score`: score files on this machine, or with a deployed service."""
