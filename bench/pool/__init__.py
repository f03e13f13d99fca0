"""Simulation of the Worker's choice of instances under load, compared with other algorithms."""
