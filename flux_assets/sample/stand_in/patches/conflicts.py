"""fakesnow answers DuckDB's errors with HTTP 500, which the connector retries until it gives up.

Upstream: `query_request` of https://github.com/tekumara/fakesnow/blob/v0.12.1/fakesnow/server.py,
https://github.com/tekumara/fakesnow/issues/202.
"""

from __future__ import annotations

from typing import Any

_CONFLICT = 625


def patch() -> None:
    """Report a conflict of transactions, and any other error of DuckDB's, as an error of Snowflake's."""
    import duckdb
    from fakesnow.cursor import FakeSnowflakeCursor
    from snowflake.connector.errors import ProgrammingError

    its_class: Any = FakeSnowflakeCursor
    plain = its_class.execute

    def execute(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return plain(self, *args, **kwargs)
        except duckdb.TransactionException as error:
            raise ProgrammingError(msg=str(error), errno=_CONFLICT, sqlstate="57014") from error
        except duckdb.Error as error:
            raise ProgrammingError(msg=str(error), errno=2140, sqlstate="42601") from error

    its_class.execute = execute
