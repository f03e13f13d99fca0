"""One module an interface: what each path answers. None knows how another wire spells the same thing."""
