"""A versioned release: its manifest, fetching and verifying its files, decoding them to Arrow batches.

Not here: PostgreSQL, Dagster, or the name of any table.
"""
