"""The core's answers as remote procedure calls: Connect, gRPC-Web and gRPC on the same port."""
