"""The hand-written SQL of the repository's sql/ folder, found in a checkout and in an installed package.

Here: reading a script. Not here: running it, or SQL with identifiers in it (psycopg.sql makes that).
"""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path


def script(name: str) -> str:
    """The text of `sql/<name>`, for example `postgis/ledger.sql`."""
    return _folder().joinpath(*name.split("/")).read_text(encoding="utf-8")


def _folder() -> Traversable:
    packaged = files("flux_assets").joinpath("sql")
    return packaged if packaged.is_dir() else Path(__file__).resolve().parent.parent / "sql"
