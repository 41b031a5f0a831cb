"""Reading Snowflake: sign-in, mapping, query text, rows as Arrow batches."""
