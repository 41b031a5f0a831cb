"""Reading one session's source as of one instant, in whichever way the source supports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from flux_assets.errors import FluxError, SourceError
from flux_assets.retry import is_retryable
from flux_assets.snowflake import query
from flux_assets.snowflake.account import Account
from flux_assets.snowflake.mapping import Mapping, ObjectName
from flux_assets.snowflake.quoting import text_literal
from flux_assets.snowflake.session import Session
from flux_assets.snowflake.translating import NOTHING, Subject

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
