"""Primitives that speak SQL to the target database and know no protocol."""
