"""The static layers in Dagster: assets, checks, metadata, the release upstream of them."""
