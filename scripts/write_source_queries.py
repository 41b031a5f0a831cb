"""Writes the generated files of sql/snowflake/ anew, after a declaration changed: `.venv/bin/python scripts/…`."""

from pathlib import Path

from flux_assets.snowflake.texts import texts
from flux_assets.tables import dynamic_tables

FOLDER = Path(__file__).resolve().parent.parent / "sql" / "snowflake"

for name, text in texts(dynamic_tables()).items():
    (FOLDER / name).write_text(text, encoding="utf-8")
