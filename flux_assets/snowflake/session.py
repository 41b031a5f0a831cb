"""One session with the source, which can be renewed; every call in it ends in time, and every result is complete."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from flux_assets.errors import FluxError, WarehouseError
from flux_assets.retry import GivenUpError, awaited, started
from flux_assets.snowflake.account import Account, refuse_others
from flux_assets.snowflake.columns import FoundColumn
from flux_assets.snowflake.translating import NOTHING, SIGN_IN, Subject, translated, unfinished

if TYPE_CHECKING:
    import pyarrow as pa
    from snowflake.connector import SnowflakeConnection
    from snowflake.connector.cursor import SnowflakeCursor

T = TypeVar("T")
# Pieces of a result that arrive while one is read.
_AHEAD = 4


class Session:
    """A session that is opened on first use. `reset` closes it, so that the next statement opens a new one.

    Every call ends within the account's deadlines; a missed one closes the session.

    `generation` counts the sessions: what was set up in an earlier one is gone. `arguments` returns the connector's
    arguments for an account, and `find` where it is now: a stand-in that was restarted may have another address.
    """

    def __init__(
        self,
        account: Account,
        arguments: Callable[[Account], dict[str, Any]],
        connect: Connect,
        find: Callable[[], Account] | None = None,
    ) -> None:
        self.account = account
        self.generation = 0
        self._arguments = arguments
        self._connect = connect
        self._find = find
        self._stack = ExitStack()
        self._connection: SnowflakeConnection | None = None

    def reset(self) -> None:
        """Close the session, whatever state it is in."""
        self._connection = None
        stack, self._stack = self._stack, ExitStack()
        # A broken session cannot be closed properly, which does not matter.
        with suppress(Exception):
            awaited(started(stack.close), self.account.close_deadline)

    def renew(self) -> None:
        """Close the session and find out anew where to open the next one. Raises what `find` raises."""
        self.reset()
        if self._find is not None:
            self.account = self._find()

    def connection(self) -> SnowflakeConnection:
        """Return the open session; sign in when there is none. Raises WarehouseError or SettingError."""
        if self._connection is None:
            with self.translating(SIGN_IN):
                opened = self._connect(self.account, self._arguments(self.account))
                signing_in = started(opened.__enter__)
                connection = awaited(
                    signing_in, self.account.sign_in_deadline, lambda _: opened.__exit__(None, None, None)
                )
                self._stack.push(opened)
                if connection.rest is None or not connection.rest.token:
                    raise unfinished(self.account)
                refuse_others(connection._session_parameters, self.account.user)
            self._connection = connection
            self.generation += 1
        return self._connection

    @contextmanager
    def cursor(self, statement: str, subject: Subject = NOTHING) -> Iterator[SnowflakeCursor]:
        """Run a statement and yield its cursor; `subject` is what it is about in errors."""
        connection = self.connection()
        with self.translating(subject):
            cursor = connection.cursor()
            try:
                # Without parameters the connector leaves percent signs alone.
                self._answered(partial(cursor.execute, statement))
                yield cursor
            finally:
                with suppress(Exception):
                    cursor.close()

    @property
    def has_warehouse(self) -> bool:
        """Whether the open session has one: the configured one, or the user's default."""
        return bool(self.account.warehouse or self.connection().warehouse)

    def described(self, statement: str, subject: Subject = NOTHING) -> tuple[FoundColumn, ...]:
        """Return the columns of a statement's result; it is compiled and not run, so that no warehouse wakes up."""
        from snowflake.connector.constants import FIELD_ID_TO_NAME

        connection = self.connection()
        with self.translating(subject):
            described = self._answered(partial(connection.cursor().describe, statement))
        return tuple(
            FoundColumn(name=column.name, kind=FIELD_ID_TO_NAME[column.type_code], scale=column.scale)
            for column in described
        )

    def tables(self, cursor: SnowflakeCursor) -> Iterator[pa.Table]:
        """Yield the result of a statement as Arrow tables, piece by piece, while the next ones arrive.

        Raises WarehouseError at the end unless there are as many rows as the server announced.
        """
        received = 0
        for table in self._arriving(cursor):
            if table.num_rows:
                received += table.num_rows
                yield table
        _require_all(received, cursor.rowcount)

    def _arriving(self, cursor: SnowflakeCursor) -> Iterator[pa.Table]:
        connection = self.connection()
        arriving: deque[Future[pa.Table]] = deque()
        for piece in _arrow_pieces(self._answered(lambda: cursor.get_result_batches() or []), self.account.user):
            # Microseconds, always: nanoseconds overflow in years such as 9999.
            taken = partial(piece.to_arrow, connection=connection, force_microsecond_precision=True)
            arriving.append(started(taken))
            if len(arriving) > _AHEAD:
                yield awaited(arriving.popleft(), self.account.answer_deadline)
        while arriving:
            yield awaited(arriving.popleft(), self.account.answer_deadline)

    def _answered(self, work: Callable[[], T]) -> T:
        return awaited(started(work), self.account.answer_deadline)

    @contextmanager
    def translating(self, subject: Subject = NOTHING) -> Iterator[None]:
        """Translate errors of the connector and of the network into FluxErrors."""
        try:
            yield
        except (FluxError, GeneratorExit):
            raise
        except Exception as error:
            if isinstance(error, GivenUpError):
                self.reset()
            raise translated(error, self.account, subject) from error


if TYPE_CHECKING:
    from snowflake.connector.result_batch import ArrowResultBatch, ResultBatch

_FORMAT = "PYTHON_CONNECTOR_QUERY_RESULT_FORMAT"


def _arrow_pieces(pieces: Iterable[ResultBatch], user: str) -> Iterator[ArrowResultBatch]:
    """Yield the pieces that may hold rows, whatever number is announced. Raises WarehouseError for other formats."""
    from snowflake.connector.result_batch import ArrowResultBatch

    for piece in pieces:
        if isinstance(piece, ArrowResultBatch):
            if not piece._local or piece._data:
                yield piece
        elif piece.rowcount:
            raise WarehouseError(
                f"Snowflake sends results as JSON, although the session requests Arrow ({_FORMAT} = ARROW).",
                f"ALTER USER {user} UNSET {_FORMAT}; and ask an administrator who set it for the account, or which"
                " program between here and Snowflake changes results.",
            )


def _require_all(received: int, announced: int | None) -> None:
    """Raise a retryable WarehouseError unless as many rows came as the server announced."""
    if received != announced:
        number = "announced no number" if announced is None else f"announced {announced:,}"
        raise WarehouseError(
            f"A result of Snowflake arrived incomplete: {received:,} rows came, and the server {number}.",
            "It was retried and nothing was written; the next tick tries again. If it persists, find out which"
            " program between here and Snowflake changes results.",
            retryable=True,
        )


if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection

Connect = Callable[[Account, dict[str, Any]], AbstractContextManager["SnowflakeConnection"]]


@contextmanager
def connect_directly(account: Account, arguments: dict[str, Any]) -> Iterator[SnowflakeConnection]:  # noqa: ARG001
    """Yield a session of the connector with these arguments, closed at the end."""
    # Three seconds of imports, for those who really connect.
    import snowflake.connector

    connection = snowflake.connector.connect(**arguments)
    try:
        yield connection
    finally:
        # A broken session is not worth three attempts; the server ends it by itself.
        connection.close(retry=False)
