"""Typed calls on four wires: Connect, gRPC-Web and gRPC, in protobuf's binary form and in JSON, from one set of handlers.

    scope, body -> wire (which protocol, which codec) -> message -> handler -> message -> wire -> body, trailers

A wire knows no message and a handler knows no wire. The specifications: Connect ("The Connect Protocol"), gRPC ("gRPC over
HTTP2") and gRPC-Web ("gRPC Web", PROTOCOL-WEB), each in its own module's words.
"""
