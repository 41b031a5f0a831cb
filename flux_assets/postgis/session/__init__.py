"""One connection to PostgreSQL that cannot hang: how it is opened, watched and ended."""
