"""Records that a load refused: kept with their version, corrected, and replayed."""
