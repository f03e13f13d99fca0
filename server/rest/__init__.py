"""REST endpoints, one module per resource; independent of the other transports."""
