"""Whether an object's change token says all that can change its rows, which it does for ordinary tables alone.

The token of a view speaks of the tables below it: time, the role that reads or a function may change its rows all the
same. Those of external, Iceberg, hybrid, dynamic and shared objects, and of tables under a policy, are no better.

Here: the question, which wakes no warehouse. Not here: what follows from the answer (source.py, syncing/work.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flux_assets.snowflake.account import Account
from flux_assets.snowflake.mapping import ObjectName
from flux_assets.snowflake.quoting import text_literal
from flux_assets.snowflake.reading import Reading

_TABLES = frozenset({"TABLE", "TRANSIENT"})
_FLAGS = ("is_dynamic", "is_iceberg", "is_hybrid", "is_external", "is_event")


def why_not_believed(reading: Reading, name: ObjectName, account: Account) -> str | None:
    """Why the token of an object is not believed; None for an ordinary table. Raises what asking raises."""
    shown = _shown(reading, name, account)
    if shown is None:
        return "SHOW OBJECTS does not list it"
    kind = str(shown.get("kind", "")).upper()
    if kind not in _TABLES:
        return f"it is of kind {kind or 'unknown'}"
    if flags := [flag for flag in _FLAGS if str(shown.get(flag, "")).upper() in {"Y", "TRUE"}]:
        return f"it is a table of another kind ({', '.join(flags)})"
    if not shown.get("owner"):
        return "it is shared by another account"
    described = _rows(reading, f"DESCRIBE TABLE {name.sql(account)}")
    if policies := sorted({str(row["policy name"]) for row in described if row.get("policy name")}):
        return f"it is under policy {', '.join(policies)}"
    return None


def _shown(reading: Reading, name: ObjectName, account: Account) -> dict[str, Any] | None:
    schema = name.schema_sql(account)
    # The pattern knows no case, and takes an underscore for any character.
    rows = _rows(reading, f"SHOW OBJECTS LIKE {text_literal(name.name)} IN SCHEMA {schema}")
    return next((row for row in rows if row.get("name") == name.name), None)


def _rows(reading: Reading, statement: str) -> Sequence[dict[str, Any]]:
    with reading.statement(statement) as cursor:
        names = [column.name.lower() for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall() if isinstance(row, tuple)]
