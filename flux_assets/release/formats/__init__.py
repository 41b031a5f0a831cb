"""Release files that are not gzip CSV: which there are, how each becomes Arrow batches of the declared columns."""
