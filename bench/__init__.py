"""Benchmark of this server, the baselines and the peers. `make bench` runs all of it."""
