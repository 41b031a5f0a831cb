"""Quarantined records corrected, and replayed into a new version."""
