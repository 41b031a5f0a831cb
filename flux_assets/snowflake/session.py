"""One session with the source, which can be renewed; every call in it ends in time, and every result is complete."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from flux_assets.deadline import GivenUpError, awaited, started
from flux_assets.errors import FluxError, SourceError, WarehouseError
from flux_assets.snowflake.account import Account, refuse_others
from flux_assets.snowflake.columns import FoundColumn
from flux_assets.snowflake.translating import NOTHING, SIGN_IN, Subject, translated, unfinished

if TYPE_CHECKING:
    import pyarrow as pa
    from snowflake.connector import SnowflakeConnection
    from snowflake.connector.cursor import SnowflakeCursor

T = TypeVar("T")
# Pieces of a result that arrive while one is read, as the connector's own threads would have it.
_AHEAD = 4


class Session:
    """A session that is opened on first use. `reset` closes it, so that the next statement opens a new one.

    Whatever asks the other side ends within the account's deadlines; one that passed closes the session.

    `generation` counts the sessions: what was set up in an earlier one is gone. `arguments` are those of an account
    for the connector, and `find` says where it is now, for a stand-in that was started again may listen elsewhere.
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
        # A session that is broken cannot be closed properly, and nobody has to know.
        with suppress(Exception):
            awaited(started(stack.close), self.account.close_deadline)

    def renew(self) -> None:
        """Close the session and look anew where the next one is to be opened. Raises what finding it raises."""
        self.reset()
        if self._find is not None:
            self.account = self._find()

    def connection(self) -> SnowflakeConnection:
        """The open session; signs in when there is none. Raises WarehouseError or SettingError."""
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
        """Run a statement and hand over its cursor; `subject` is what it is about in errors."""
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
        """Whether the open session has one: the one that is set, or the user's default."""
        return bool(self.account.warehouse or self.connection().warehouse)

    def described(self, statement: str, subject: Subject = NOTHING) -> tuple[FoundColumn, ...]:
        """The columns that a statement would give; it is compiled and not run, so that no warehouse wakes up."""
        from snowflake.connector.constants import FIELD_ID_TO_NAME

        connection = self.connection()
        with self.translating(subject):
            described = self._answered(partial(connection.cursor().describe, statement))
        return tuple(
            FoundColumn(name=column.name, kind=FIELD_ID_TO_NAME[column.type_code], scale=column.scale)
            for column in described
        )

    def tables(self, cursor: SnowflakeCursor) -> Iterator[pa.Table]:
        """The result of a statement as Arrow tables, piece by piece; the next ones arrive meanwhile.

        Raises WarehouseError at the end where rows are missing, or where there are more than the server says.
        """
        received = 0
        for table in self._arriving(cursor):
            if table.num_rows:
                received += table.num_rows
                yield table
        require_all(received, cursor.rowcount)

    def _arriving(self, cursor: SnowflakeCursor) -> Iterator[pa.Table]:
        connection = self.connection()
        arriving: deque[Future[pa.Table]] = deque()
        for piece in arrow_pieces(self._answered(lambda: cursor.get_result_batches() or []), self.account.user):
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
        """Faults of the connector and of the network become errors of ours."""
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


if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection

Connect = Callable[[Account, dict[str, Any]], AbstractContextManager["SnowflakeConnection"]]


@contextmanager
def connect_directly(account: Account, arguments: dict[str, Any]) -> Iterator[SnowflakeConnection]:  # noqa: ARG001
    """A session of the connector with these arguments, closed at the end."""
    # Three seconds of imports, for those who really connect.
    import snowflake.connector

    connection = snowflake.connector.connect(**arguments)
    try:
        yield connection
    finally:
        # A session that is broken is not worth three attempts; the server ends it by itself.
        connection.close(retry=False)
