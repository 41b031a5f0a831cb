"""fakesnow asks DuckDB a second time for the columns of each result, although DuckDB has just returned them.

That takes a quarter of the time of a query, and loses the case of aliases. Upstream: `_describe_last_sql` of
https://github.com/tekumara/fakesnow/blob/v0.12.1/fakesnow/cursor.py.
"""

from __future__ import annotations

from typing import Any


def patch() -> None:
    """Take the columns from the result itself, in the process of fakesnow's server; a second call does nothing."""
    from fakesnow.cursor import FakeSnowflakeCursor

    its_class: Any = FakeSnowflakeCursor
    execute, describe = its_class._execute, its_class._describe_last_sql
    if getattr(execute, "patched", False):
        return

    def executed(self: Any, transformed: Any, params: Any = None) -> None:
        execute(self, transformed, params)
        # A result that is returned again is not what DuckDB has just run.
        again = transformed.args.get("result_scan_sfqid")
        self._columns = None if again else [_as_described(column) for column in self._duck_conn.description]

    def described(self: Any) -> list[Any]:
        columns: list[Any] | None = self._columns
        return describe(self) if columns is None else columns

    executed.patched = True  # type: ignore[attr-defined]
    its_class._execute, its_class._describe_last_sql = executed, described


def _as_described(column: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return name and type, and None for what fakesnow does not use."""
    name, kind, *_ = column
    return name, str(kind), None, None, None, None
