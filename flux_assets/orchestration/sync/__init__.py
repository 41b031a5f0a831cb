"""The dynamic tables in Dagster: assets, checks, metadata, the step that syncs them."""
