"""fakesnow 0.12 asks DuckDB a second time for the columns of each result, as text that is parsed and planned anew.

Here: the two methods of fakesnow that are replaced; DuckDB knows the columns of what it has just run. It was a quarter
of the time of a query, and it lost the case of aliases. Not here: starting its server (daemon.py). fakesnow is imported
by those who call this, never by importing the module.
"""

from __future__ import annotations

from typing import Any


def mend() -> None:
    """Let the result itself tell its columns. Once in the process that runs fakesnow's server; twice does nothing."""
    from fakesnow.cursor import FakeSnowflakeCursor

    its_class: Any = FakeSnowflakeCursor
    execute, describe = its_class._execute, its_class._describe_last_sql
    if getattr(execute, "mended", False):
        return

    def executed(self: Any, transformed: Any, params: Any = None) -> None:  # noqa: ANN401 - fakesnow's signature
        execute(self, transformed, params)
        # A result that is handed out again is not what DuckDB has just run.
        again = transformed.args.get("result_scan_sfqid")
        self._told = None if again else [_as_described(column) for column in self._duck_conn.description]

    def described(self: Any) -> list[Any]:  # noqa: ANN401 - fakesnow's cursor
        told: list[Any] | None = self._told
        return describe(self) if told is None else told

    executed.mended = True  # type: ignore[attr-defined]
    its_class._execute, its_class._describe_last_sql = executed, described


def _as_described(column: tuple[Any, ...]) -> tuple[Any, ...]:
    """Name and type, and what fakesnow does not look at."""
    name, kind, *_ = column
    return name, str(kind), None, None, None, None
