"""One session with the source, which can be renewed; every call in it ends in time, and every result is complete."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pyarrow as pa

from flux_assets.errors import FluxError, SourceError, WarehouseError
from flux_assets.retry import GivenUpError, awaited, is_retryable, started
from flux_assets.snowflake import query
from flux_assets.snowflake.account import Account, refuse_others
from flux_assets.snowflake.columns import FoundColumn
from flux_assets.snowflake.faults import NOTHING, SIGN_IN, Subject, translated, unfinished
from flux_assets.snowflake.mapping import Mapping, ObjectName
from flux_assets.snowflake.quoting import text_literal

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


if TYPE_CHECKING:
    from snowflake.connector.cursor import SnowflakeCursor

Log = Callable[[str], None]


class Text(Protocol):
    """Returns the text of a query, as of the instant or of now."""

    def __call__(self, *, travel: bool) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a source can do; a capability is assumed until the source, probed once a connection, refuses it.

    `time_travel`: objects can be read as of an instant. `change_token`: whether an object changed is known without a
    warehouse. `snapshot_transaction`: all that one transaction reads is as of its beginning. The stand-in has that
    alone, and is not probed: a refused statement would end its transaction.
    """

    time_travel: bool = True
    change_token: bool = True
    snapshot_transaction: bool = False


class Reading:
    """Statements of one session, and its snapshot."""

    def __init__(self, session: Session, log: Log) -> None:
        stand_in = session.account.stand_in
        self.session = session
        self.capabilities = Capabilities(
            time_travel=not stand_in, change_token=not stand_in, snapshot_transaction=stand_in
        )
        self._log = log
        self._travelling: dict[str, bool] = {}
        self._as_of: dict[str, bool] = {}
        # The session in which a transaction holds the snapshot, by its generation.
        self._snapshot_in: int | None = None

    def begin(self) -> None:
        """Begin a transaction as the snapshot; an earlier one ends."""
        self.session.connection()
        if self._snapshot_in == self.session.generation:
            with suppress(FluxError), self.session.cursor("ROLLBACK"):
                pass
        with self.session.cursor("BEGIN"):
            self._snapshot_in = self.session.generation

    @contextmanager
    def statement(self, statement: str, subject: Subject = NOTHING) -> Iterator[SnowflakeCursor]:
        """Yield the cursor of a statement; see Session.cursor."""
        with ExitStack() as stack:
            with self.whole():
                cursor = stack.enter_context(self.session.cursor(statement, subject))
            yield cursor

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Begin another transaction after a refused statement, which ends the stand-in's.

        Other tables can then be read, as of some milliseconds later.
        """
        try:
            yield
        except FluxError as refusal:
            if self._snapshot_in == self.session.generation and not is_retryable(refusal):
                self.begin()
            raise

    def ask_travel(self, object_: str) -> None:
        """Probe objects until one can be read as of an instant; without any, the source as a whole cannot."""
        if self.session.account.stand_in or any(self._travelling.values()) or object_ in self._travelling:
            return
        try:
            self.session.described(query.travel_probe(object_), Subject(object=object_))
        except FluxError as refusal:
            if is_retryable(refusal):
                raise
            self._travelling[object_] = False
            self._log(f"{object_} cannot be read as of an instant, so it is read as of now. {refusal.problem}")
        else:
            self._travelling[object_] = True
        self.capabilities = replace(self.capabilities, time_travel=any(self._travelling.values()))

    def without_token(self, refusal: FluxError) -> None:
        """Note that the source refused change tokens."""
        self.capabilities = replace(self.capabilities, change_token=False)
        self._log(f"Change tokens are unavailable, so all sources are read for changes. {refusal.problem}")

    @contextmanager
    def pieces(self, mapping: Mapping, text: Text) -> Iterator[Iterable[pa.Table]]:
        """Yield the result of a query as Arrow tables, as of the instant where the object supports it."""
        self._keep_snapshot()
        self.ask_travel(mapping.object)
        with ExitStack() as stack:
            cursor = None
            if self._travelling.get(mapping.object, self.capabilities.time_travel):
                cursor = self._travelled(mapping, text(travel=True), stack)
            self._as_of[mapping.object] = cursor is not None
            if cursor is None:
                cursor = self._cursor(mapping, text(travel=False), stack)
            yield self.session.tables(cursor)

    def was_as_of(self, mapping: Mapping) -> bool:
        """Return whether the object was last read as of the requested instant, not as of that moment."""
        return self._as_of.get(mapping.object, False)

    def _travelled(self, mapping: Mapping, statement: str, stack: ExitStack) -> SnowflakeCursor | None:
        """Return the cursor of a query as of an instant, or None when this object cannot be read so."""
        try:
            return self._cursor(mapping, statement, stack)
        except SourceError as refusal:
            self._log(f"{mapping.object} is read as it is now, not as of the common instant. {refusal.problem}")
            return None

    def _cursor(self, mapping: Mapping, statement: str, stack: ExitStack) -> SnowflakeCursor:
        subject = Subject(table=mapping.table.name, object=mapping.object, reads_rows=True)
        return stack.enter_context(self.statement(statement, subject))

    def _keep_snapshot(self) -> None:
        """Begin a snapshot in this session, when one was requested and its session is gone."""
        self.session.connection()
        if self._snapshot_in is not None and self._snapshot_in != self.session.generation:
            self.begin()


_TABLES = frozenset({"TABLE", "TRANSIENT"})
_FLAGS = ("is_dynamic", "is_iceberg", "is_hybrid", "is_external", "is_event")


def why_not_believed(reading: Reading, name: ObjectName, account: Account) -> str | None:
    """Return why the change token of an object is not believed; None for an ordinary table. Wakes no warehouse.

    Only an ordinary table's token covers all that can change its rows. That of a view is of the tables below it, while
    time, the role that reads or a function may change its rows. Those of external, Iceberg, hybrid, dynamic and shared
    objects, and of tables under a policy, are no better.
    """
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
    # The pattern ignores case, and takes an underscore for any character.
    rows = _rows(reading, f"SHOW OBJECTS LIKE {text_literal(name.name)} IN SCHEMA {schema}")
    return next((row for row in rows if row.get("name") == name.name), None)


def _rows(reading: Reading, statement: str) -> Sequence[dict[str, Any]]:
    with reading.statement(statement) as cursor:
        names = [column.name.lower() for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall() if isinstance(row, tuple)]
