"""Writes docs/data-dictionary.md anew, after a declaration changed: `.venv/bin/python scripts/…`."""

from pathlib import Path

from flux_assets.dictionary import dictionary
from flux_assets.tables import declarations

PAGE = Path(__file__).resolve().parent.parent / "docs" / "data-dictionary.md"

PAGE.write_text(dictionary(declarations()), encoding="utf-8")
