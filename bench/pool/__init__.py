"""The Worker's choice of instances under simulated load, beside other ways to choose."""
