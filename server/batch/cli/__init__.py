"""`python -m server score`: files scored without a server, or by one that is deployed."""
