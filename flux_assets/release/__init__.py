"""A versioned release: its manifest, its files fetched and verified, and their rows as Arrow batches."""
