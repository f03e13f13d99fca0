"""HTTP transports: HTTP/1.1, HTTP/2, the fast path, request bodies, caching."""
