"""Dagster's own storage, as dagster.yaml names it."""
