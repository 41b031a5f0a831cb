"""The Snowflake side of the sync: who signs in, what the source looks like, the query, its rows as Arrow batches.

Not here: PostgreSQL, Dagster, or the name of any table. Start with source.py.
"""
