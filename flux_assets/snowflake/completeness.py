"""Whether a result arrived whole: in Arrow, all the rows that the server says it sent, and all that its query found.

Here: the judgements and their sentences. Not here: reading (session.py, rows.py), and the guard against a source that
lost rows (syncing/guard.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from flux_assets.errors import SourceError, WarehouseError

if TYPE_CHECKING:
    from snowflake.connector.result_batch import ArrowResultBatch, ResultBatch

_FORMAT = "PYTHON_CONNECTOR_QUERY_RESULT_FORMAT"


def arrow_pieces(pieces: Iterable[ResultBatch], user: str) -> Iterator[ArrowResultBatch]:
    """Those that may hold rows, whatever number is said. Raises WarehouseError for rows in another format."""
    from snowflake.connector.result_batch import ArrowResultBatch

    for piece in pieces:
        if isinstance(piece, ArrowResultBatch):
            if not piece._local or piece._data:
                yield piece
        elif piece.rowcount:
            raise WarehouseError(
                f"Snowflake sends results as JSON, although the session asks for Arrow ({_FORMAT} = ARROW).",
                f"ALTER USER {user} UNSET {_FORMAT}; and ask an administrator who set it for the account, or which"
                " program between here and Snowflake changes results.",
            )


def require_all(received: int, said: int | None) -> None:
    """Raise a WarehouseError that another attempt may cure, unless as many rows came as the server says it sent."""
    if received != said:
        counted = "did not say how many it has" if said is None else f"said that it has {said:,}"
        raise WarehouseError(
            f"A result of Snowflake arrived incomplete: {received:,} rows came, and the server {counted}.",
            "It was tried several times, and nothing was written; the next tick tries again. Where it stays so, ask"
            " which program between here and Snowflake changes results.",
            retryable=True,
        )


def require_found(table: str, object_: str, received: int, found: int) -> None:
    """Raise SourceError unless as many rows came as the query itself counted: a limit cut the others off."""
    if received != found:
        raise SourceError(
            f"{table}: the query found {found:,} rows in {object_}, and Snowflake gave {received:,} of them: a limit"
            " cuts results.",
            "Look for it with SHOW PARAMETERS LIKE 'ROWS_PER_RESULTSET' FOR USER …; then ALTER USER … UNSET"
            " ROWS_PER_RESULTSET; or remove it from the account, or from what stands between here and Snowflake. The"
            " table is as it was.",
        )
