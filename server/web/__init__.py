"""Web pages: the form of a model, the API documentation, static files."""
