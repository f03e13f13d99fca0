"""Tables as byte streams: CSV, NDJSON, Arrow IPC streams and Parquet to blocks of rows and back, in bounded memory.

Imported when the first table arrives: a start never pays for it.
"""
