"""Small pictures for an asset's page: maps of tables, and lines of the last runs."""
