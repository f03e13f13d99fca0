"""Protobuf messages of the public services; `make proto` generates each module from its .proto file."""
