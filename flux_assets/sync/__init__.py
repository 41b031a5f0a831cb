"""The dynamic protocol: three tables from Snowflake into PostGIS, as of one instant and in one transaction."""
