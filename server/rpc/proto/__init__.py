"""The public services' messages: each module is generated from the .proto file of its name by `make proto`."""
