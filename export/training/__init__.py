"""Training: fit and compare candidates, and compare a new version with the stable one."""
