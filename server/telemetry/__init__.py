"""Logs, traces and metrics of the server."""
