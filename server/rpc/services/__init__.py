"""RPC services: message handlers for predictions, metadata, health and reflection; independent of the protocol."""
