"""The hand-written SQL of the repository's sql/ folder, found in a checkout and in an installed package."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import LiteralString, cast

from psycopg import sql

_PACKAGED = Path(__file__).resolve().parent / "sql"
_NAME = re.compile(r"^-- ([a-z_]+) --\n", re.MULTILINE)


def script(name: str) -> str:
    """Return the text of one file, named by its path below sql/."""
    return (_folder() / name).read_text(encoding="utf-8")


def query(file: str, name: str) -> sql.SQL:
    """Return the statement that follows the line `-- name --` in sql/postgis/<file>.sql.

    It takes psycopg's `%(parameter)s`, and `{identifier}` where `.format` of psycopg.sql fills it in. Raises KeyError
    when the file has no such statement.
    """
    return _queries(file)[name]


@cache
def _queries(file: str) -> dict[str, sql.SQL]:
    _, *parts = _NAME.split(script(f"postgis/{file}.sql"))
    # The files belong to the package, which is what LiteralString stands for.
    return {
        name: sql.SQL(cast("LiteralString", text.strip().removesuffix(";")))
        for name, text in zip(*[iter(parts)] * 2, strict=True)
    }


def _folder() -> Path:
    return _PACKAGED if _PACKAGED.is_dir() else Path(__file__).resolve().parent.parent / "sql"
