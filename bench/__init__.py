"""The same work side by side: floors, this server, the peers. `make bench` runs it all."""
