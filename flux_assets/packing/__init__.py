"""Releases written from rows that are elsewhere: tables of PostGIS or Snowflake, or the files of another release."""
