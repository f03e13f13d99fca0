"""RPC services over Connect, gRPC-Web and gRPC, with binary protobuf and JSON messages.

    scope, body -> protocol and codec -> message -> handler -> message -> protocol -> body, trailers

A protocol does not depend on message types, and a handler does not depend on protocols. The modules of the protocols
name their specifications.
"""
