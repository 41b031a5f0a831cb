"""What is provided where the user has set nothing: a private PostGIS, a Snowflake stand-in, the sample city."""
