"""Typed calls on the wires of RPC: Connect, gRPC-Web and gRPC, each in protobuf's binary form and in JSON.

    scope, body -> wire (which protocol, which codec) -> message -> handler -> message -> wire -> body, trailers

A wire knows no message and a handler knows no wire: each is written once. The specifications are named in the
wires' own modules.
"""
