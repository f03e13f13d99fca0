"""Score files of rows: options, the job, reading, writing."""
