"""Whole tables compared with where they come from, row by row, without writing anything."""
