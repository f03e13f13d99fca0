"""URL paths that several packages must distinguish."""


def is_call(path: str) -> bool:
    """Return True if a path is an RPC path.

    An RPC path has a service, whose name includes its package, and a method.
    """
    service, _, method = path[1:].partition("/")
    return "." in service and bool(method) and "/" not in method
