"""Read and write CSV, NDJSON, Arrow IPC and Parquet streams, in bounded memory.

Imported when the first table arrives, so that the server starts faster.
"""
