"""RPC protocols Connect, gRPC-Web and gRPC: envelopes, codecs, status; independent of message types."""
