"""One session with the source, which can be renewed; every call in it ends in time, and every result is complete."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from flux_assets.errors import FluxError, WarehouseError
from flux_assets.retry import Call, GivenUpError
from flux_assets.snowflake.account import Account
from flux_assets.snowflake.columns import FoundColumn
from flux_assets.snowflake.faults import Subject

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection
    from snowflake.connector.cursor import SnowflakeCursor
    from snowflake.connector.result_batch import ArrowResultBatch, ResultBatch

_T = TypeVar("_T")
Connect = Callable[[dict[str, Any]], AbstractContextManager["SnowflakeConnection"]]
# Pieces of a result that arrive while one is read.
_AHEAD = 4
_FORMAT = "PYTHON_CONNECTOR_QUERY_RESULT_FORMAT"
_NOTHING = Subject()


class Session:
    """A session that is opened on first use. `reset` closes it, so that the next statement opens a new one.

    Every call ends within the account's deadlines; a missed one closes the session. `connect` opens a session with
    these arguments of the connector, and `find` returns where the account is now: a stand-in that was restarted may
    have another address.
    """

    def __init__(self, account: Account, connect: Connect, find: Callable[[], Account] | None = None) -> None:
        self.account = account
        self._connect = connect
        self._find = find
        self._stack = ExitStack()
        self._connection: SnowflakeConnection | None = None
        # The connection in which a transaction holds the snapshot; what was set up in an earlier one is gone.
        self._snapshot_in: SnowflakeConnection | None = None

    def reset(self) -> None:
        """Close the session, whatever state it is in."""
        self._connection = None
        stack, self._stack = self._stack, ExitStack()
        # A broken session cannot be closed properly, which does not matter.
        with suppress(Exception):
            Call(stack.close).within(self.account.close_deadline)

    def renew(self) -> None:
        """Close the session and find out anew where to open the next one. Raises what `find` raises."""
        self.reset()
        if self._find is not None:
            self.account = self._find()

    def connection(self) -> SnowflakeConnection:
        """Return the open session; sign in when there is none. Raises WarehouseError or SettingError."""
        if self._connection is None:
            signing_in = Subject(signs_in=True)
            with self._translating(signing_in):
                opened = self._connect(self.account.arguments())
                connection = Call(opened.__enter__).within(
                    self.account.sign_in_deadline, lambda _: opened.__exit__(None, None, None)
                )
                self._stack.push(opened)
                if connection.rest is None or not connection.rest.token:
                    raise signing_in.unfinished(self.account)
                self.account.refuse_other_parameters(connection._session_parameters)
            self._connection = connection
        return self._connection

    def begin(self) -> None:
        """Begin a transaction as the snapshot; an earlier one ends."""
        connection = self.connection()
        if self._snapshot_in is connection:
            with suppress(FluxError), self._run("ROLLBACK", _NOTHING):
                pass
        with self._run("BEGIN", _NOTHING):
            self._snapshot_in = self._connection

    def keep_snapshot(self) -> None:
        """Begin a snapshot in this session, when one was requested and its session is gone."""
        connection = self.connection()
        if self._snapshot_in is not None and self._snapshot_in is not connection:
            self.begin()

    @contextmanager
    def cursor(self, statement: str, subject: Subject = _NOTHING) -> Iterator[SnowflakeCursor]:
        """Run a statement and yield its cursor; `subject` is what it is about in errors."""
        with ExitStack() as stack:
            with self.whole():
                cursor = stack.enter_context(self._run(statement, subject))
            yield cursor

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Begin another transaction after a refused statement, which ends the stand-in's.

        Other tables can then be read, as of some milliseconds later.
        """
        try:
            yield
        except FluxError as refusal:
            if self._snapshot_in is not None and self._snapshot_in is self._connection and not refusal.retryable:
                self.begin()
            raise

    @contextmanager
    def _run(self, statement: str, subject: Subject) -> Iterator[SnowflakeCursor]:
        connection = self.connection()
        with self._translating(subject):
            cursor = connection.cursor()
            try:
                # Without parameters the connector leaves percent signs alone.
                self._answered(partial(cursor.execute, statement))
                yield cursor
            finally:
                with suppress(Exception):
                    cursor.close()

    def described(self, statement: str, subject: Subject = _NOTHING) -> tuple[FoundColumn, ...]:
        """Return the columns of a statement's result; it is compiled and not run, so that no warehouse wakes up."""
        from snowflake.connector.constants import FIELD_ID_TO_NAME

        connection = self.connection()
        with self._translating(subject):
            described = self._answered(partial(connection.cursor().describe, statement))
        return tuple(FoundColumn(name=column.name, kind=FIELD_ID_TO_NAME[column.type_code]) for column in described)

    def tables(self, cursor: SnowflakeCursor) -> Iterator[pa.Table]:
        """Yield the result of a statement as Arrow tables, piece by piece, while the next ones arrive.

        Raises WarehouseError at the end unless there are as many rows as the server announced.
        """
        received = 0
        for table in self._arriving(cursor):
            if table.num_rows:
                received += table.num_rows
                yield table
        if received != cursor.rowcount:
            announced = "announced no number" if cursor.rowcount is None else f"announced {cursor.rowcount:,}"
            raise WarehouseError(
                f"A result of Snowflake arrived incomplete: {received:,} rows came, and the server {announced}.",
                "It was retried and nothing was written; the next tick tries again. If it persists, find out which"
                " program between here and Snowflake changes results.",
                retryable=True,
            )

    def _arriving(self, cursor: SnowflakeCursor) -> Iterator[pa.Table]:
        connection = self.connection()
        arriving: deque[Call[pa.Table]] = deque()
        for piece in _arrow_pieces(self._answered(lambda: cursor.get_result_batches() or []), self.account.user):
            # Microseconds, always: nanoseconds overflow in years such as 9999.
            arriving.append(Call(partial(piece.to_arrow, connection=connection, force_microsecond_precision=True)))
            if len(arriving) > _AHEAD:
                yield arriving.popleft().within(self.account.answer_deadline)
        while arriving:
            yield arriving.popleft().within(self.account.answer_deadline)

    def _answered(self, work: Callable[[], _T]) -> _T:
        return Call(work).within(self.account.answer_deadline)

    @contextmanager
    def _translating(self, subject: Subject) -> Iterator[None]:
        """Translate errors of the connector and of the network into FluxErrors."""
        try:
            yield
        except (FluxError, GeneratorExit):
            raise
        except Exception as error:
            if isinstance(error, GivenUpError):
                self.reset()
            raise subject.translated(error, self.account) from error


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


@contextmanager
def connect_directly(arguments: dict[str, Any]) -> Iterator[SnowflakeConnection]:
    """Yield a session of the connector with these arguments, closed at the end."""
    # Three seconds of imports, for those who really connect.
    import snowflake.connector

    connection = snowflake.connector.connect(**arguments)
    try:
        yield connection
    finally:
        # A broken session is not worth three attempts; the server ends it by itself.
        connection.close(retry=False)
