"""The source of the sync: its change tokens, its mapping, its rows as of one instant."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Mapping as MappingOf
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from flux_assets.errors import FluxError, SourceError, WarehouseError, plainly
from flux_assets.retry import RetryPolicy, is_retryable
from flux_assets.snowflake import query
from flux_assets.snowflake.account import Account
from flux_assets.snowflake.columns import FoundColumn, arrow_type, cast, in_microseconds
from flux_assets.snowflake.faults import Subject
from flux_assets.snowflake.mapping import Mapping, ObjectName, Resolver
from flux_assets.snowflake.overrides import Overrides
from flux_assets.snowflake.session import (
    Capabilities,
    Connect,
    Log,
    Reading,
    Session,
    connect_directly,
    why_not_believed,
)
from flux_assets.spec import DynamicTable

# A result of the stand-in is one piece; in pieces of this size a million rows take as little memory as a thousand.
BATCH_ROWS = 65_536
_Opened = Callable[[], AbstractContextManager[Iterable[pa.Table | pa.RecordBatch]]]


class Rows:
    """Batches in the declared target types and in the order of `table.source_filled`; to be iterated once.

    `only` are the columns to read, when not all. Rows are `counted` where the last column has the number of rows that
    the query found: reading them raises SourceError at the end when fewer came. `rows`, `bytes` (as they arrived) and
    `newest_change` (UTC, of the source's change column) grow as it is iterated.
    """

    def __init__(
        self, mapping: Mapping, opened: _Opened, only: Sequence[str] | None = None, *, counted: bool = False
    ) -> None:
        columns = [mapping.table.table.columns[name] for name in only or mapping.table.source_filled]
        self.schema = pa.schema([pa.field(column.name, arrow_type(column)) for column in columns])
        self.rows = 0
        self.bytes = 0
        self.newest_change: datetime | None = None
        self._mapping = mapping
        self._columns = columns
        self._places = {column.target: place for place, column in enumerate(mapping.columns)}
        self._opened = opened
        self._counted = counted
        self._found = 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        with self._opened() as pieces:
            for piece in pieces:
                for batch in _in_batches(piece):
                    yield self._taken(batch)
        if self._counted:
            _require_found(self._mapping.table.name, self._mapping.object, self.rows, self._found)

    def _taken(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        self.rows += batch.num_rows
        self.bytes += batch.nbytes
        if self._mapping.change_column is not None:
            self._note_change(batch.column(len(self._mapping.columns)))
        if self._counted and batch.num_rows:
            self._found = int(batch.column(batch.num_columns - 1)[0].as_py())
        return pa.record_batch([self._column(batch, place) for place in range(len(self._columns))], schema=self.schema)

    def _column(self, batch: pa.RecordBatch, place: int) -> pa.Array[Any]:
        column = self._columns[place]
        if column.name not in self._places:
            nulls: pa.Array[Any] = pa.nulls(batch.num_rows, self.schema.field(place).type)
            return nulls
        arrived = batch.column(self._places[column.name])
        return cast(column, arrived, self._mapping.table.name, lambda rows: self._keys(batch, rows))

    def _keys(self, batch: pa.RecordBatch, rows: Sequence[int]) -> list[str]:
        columns = [batch.column(self._places[name]) for name in self._mapping.table.key]
        return ["/".join(plainly(str(column[row].as_py())) for column in columns) for row in rows]

    def _note_change(self, changed: pa.Array[Any]) -> None:
        found: datetime | None = pc.max(in_microseconds(changed)).as_py()
        if found is not None:
            newest = found.replace(tzinfo=UTC)
            self.newest_change = max(newest, self.newest_change or newest)


def _in_batches(piece: pa.Table | pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    if isinstance(piece, pa.Table):
        yield from piece.to_batches(max_chunksize=BATCH_ROWS)
        return
    for start in range(0, piece.num_rows, BATCH_ROWS):
        yield piece.slice(start, BATCH_ROWS)


def _require_found(table: str, object_: str, received: int, found: int) -> None:
    """Raise SourceError unless as many rows came as the query itself counted: a limit cut off the others."""
    if received != found:
        raise SourceError(
            f"{table}: the query found {found:,} rows in {object_}, and Snowflake gave {received:,} of them: a limit"
            " cuts results.",
            "Look for it with SHOW PARAMETERS LIKE 'ROWS_PER_RESULTSET' FOR USER …; then ALTER USER … UNSET"
            " ROWS_PER_RESULTSET; or remove it from the account, or from a program between here and Snowflake. The"
            " table is as it was.",
        )


_T = TypeVar("_T")
_KEYS_AT_ONCE = 1000
_LOGGER = logging.getLogger(__name__)


class Source:
    """One session with the source. Errors are WarehouseError, or SourceError when one table's source is at fault.

    A passing fault ends the statement with a retryable WarehouseError: put what belongs together (the instant and all
    that is read as of it) into one `retrying`, which opens a new session and does all of it again.
    """

    def __init__(self, session: Session, overrides: Overrides, patience: RetryPolicy, log: Log) -> None:
        self._session = session
        self._reading = Reading(session, log)
        self._overrides = overrides
        self._patience = patience
        self._log = log
        self._ahead: dict[str, Mapping] = {}

    @property
    def account(self) -> Account:
        """The account that the source is in."""
        return self._session.account

    @property
    def capabilities(self) -> Capabilities:
        """What the source can do, as far as it was probed."""
        return self._reading.capabilities

    @property
    def has_warehouse(self) -> bool:
        """Whether the session has a warehouse to run queries with: the configured one, or the user's default."""
        return self.capabilities.snapshot_transaction or self._session.has_warehouse

    def instant(self, statements: int = 2) -> datetime:
        """Begin a snapshot, and return the instant (UTC) that it is read as of, by the source's clock.

        A single statement is a snapshot by itself, younger by some milliseconds.
        """
        if self.capabilities.snapshot_transaction:
            if statements > 1:
                self._reading.begin()
            # The stand-in runs on this machine and has its clock.
            return datetime.now(UTC)
        with self._reading.statement("SELECT SYSDATE()") as cursor:
            (now,) = cursor.fetchone() or (None,)
        if not isinstance(now, datetime):
            raise WarehouseError("Snowflake did not return its current time.", "Try again.", retryable=True)
        return now.replace(tzinfo=UTC)

    def tokens(self, tables: Sequence[DynamicTable]) -> dict[str, str] | None:
        """Return by table a token of its source's content, which changes with it; None where there are no tokens.

        One statement asks for all, and needs no warehouse. A missing object gives None for all: reading names it.
        """
        if not self.capabilities.change_token:
            return None
        self._session.connection()
        objects = [(table, ObjectName.of(table, self._overrides.of(table)).literal_template) for table in tables]
        try:
            with self._reading.statement(query.tokens_query(objects, self.account)) as cursor:
                row = cursor.fetchone() or ()
        except FluxError as refusal:
            if is_retryable(refusal):
                raise
            self._reading.without_token(refusal)
            return None
        if None in row or len(row) != len(tables):
            return None
        return {table.name: str(token) for table, token in zip(tables, row, strict=True)}

    def believed(self, tables: Sequence[DynamicTable], tokens: MappingOf[str, str]) -> dict[str, str]:
        """Return the tokens without those of `tables` whose objects may change while their tokens do not."""
        return {
            name: token
            for name, token in tokens.items()
            if not any(table.name == name and self.doubt(table) for table in tables)
        }

    def doubt(self, table: DynamicTable) -> str | None:
        """Return why the table's change token is not believed; None where it is. Wakes no warehouse."""
        if table.tokens.change_token is not None:
            return None if table.tokens.change_token else "change_token = false"
        name = ObjectName.of(table, self._overrides.of(table))
        try:
            doubt = why_not_believed(self._reading, name, self.account)
        except FluxError as refusal:
            if is_retryable(refusal):
                raise
            doubt = f"its kind of object is unknown: {refusal.problem}"
        if doubt is not None:
            self._log(f"{name.sql(self.account)} is read even if its change token is the same: {doubt}")
        return doubt

    def look_ahead(self, tables: Sequence[DynamicTable]) -> None:
        """Resolve the mappings while the sync waits for something else, and prepare queries where tokens are missing.

        No warehouse wakes up. Errors are left to `mapping`, which then asks again.
        """
        for table in tables:
            try:
                self._ahead[table.name] = self.mapping(table)
            except FluxError as refusal:
                if is_retryable(refusal):
                    return
            else:
                if not self.capabilities.change_token:
                    query.prepare_rows(self._ahead[table.name])

    def mappings(self, tables: Sequence[DynamicTable]) -> dict[str, str]:
        """Return digests of the mappings resolved ahead, by table: a change of columns alone changes no token.

        A table is absent when its mapping could not be resolved, or has been used already.
        """
        return {table.name: self._ahead[table.name].digest for table in tables if table.name in self._ahead}

    def mapping(self, table: DynamicTable) -> Mapping:
        """Return how the table's columns come from its source, as it is now. Raises SourceError when they cannot."""
        if ahead := self._ahead.pop(table.name, None):
            return ahead
        override = self._overrides.of(table)
        name = ObjectName.of(table, override)
        object_ = name.sql(self.account)
        with self._reading.whole():
            found = self._session.described(query.everything(object_), Subject(table=table.name, object=object_))
            expressions = self._expressions(table, object_)
        resolver = Resolver(
            table=table,
            override=override,
            object=object_,
            found=found,
            expressions=expressions,
            config=self._overrides.shown,
        )
        return resolver.mapping(name.template)

    def ask_travel(self, mapping: Mapping) -> None:
        """Probe whether the source can be read as of an instant, as reading it does by itself."""
        self._reading.ask_travel(mapping.object)

    def rows(self, mapping: Mapping, instant: datetime) -> Rows:
        """Return the rows to read, as of `instant`. The source is not queried before they are iterated."""
        text = partial(query.rows_query, mapping, self.account, instant)
        return Rows(mapping, partial(self._reading.pieces, mapping, text), counted=True)

    def was_as_of(self, mapping: Mapping) -> bool:
        """Return whether an object's rows were last read as of their instant, not as of that moment."""
        return self._reading.was_as_of(mapping)

    def existing(
        self, mapping: Mapping, keys: Sequence[tuple[object, ...]], instant: datetime, *, only_taken: bool = False
    ) -> set[tuple[object, ...]]:
        """Return those of the keys that the source object has; with `only_taken`, in rows to read alone."""
        found: set[tuple[object, ...]] = set()
        own = replace(mapping, columns=tuple(mapping.by_target[name] for name in mapping.table.key), change_column=None)
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            chunk = keys[start : start + _KEYS_AT_ONCE]
            text = partial(query.existing_query, mapping, chunk, self.account, instant, only_taken=only_taken)
            for batch in Rows(own, partial(self._reading.pieces, own, text), only=mapping.table.key):
                found.update(zip(*(column.to_pylist() for column in batch.columns), strict=True))
        return found

    def retrying(self, work: Callable[[], _T]) -> _T:
        """Return the result of `work`, done again on a new session after a retryable error."""

        def again(error: BaseException) -> None:
            self._log(f"Retrying on a new session: {error.problem if isinstance(error, FluxError) else error}")
            self._session.renew()

        return self._patience.spend(work, again)

    def _expressions(self, table: DynamicTable, object_: str) -> dict[str, FoundColumn]:
        """Return the kind of each configured expression. Each is compiled alone, so that an error names it."""
        configured = self._overrides.of(table).columns
        found = {}
        for target, column in configured.items():
            if column.expression is not None:
                about = f"{table.name}.{target} (columns.{target} in {self._overrides.shown})"
                probe = query.expression_probe(column.expression, object_)
                subject = Subject(table=about, object=object_, expression=column.expression)
                (found[target],) = self._session.described(probe, subject)
        return found


@contextmanager
def open_source(  # noqa: PLR0913 - all but the first two by name
    account: Account,
    overrides: Overrides,
    *,
    connect: Connect = connect_directly,
    find: Callable[[], Account] | None = None,
    run_id: str | None = None,
    layer: str | None = None,
    log: Log = _LOGGER.info,
    patience: RetryPolicy | None = None,
) -> Iterator[Source]:
    """Yield the source, signed in; `run_id` and `layer` go into the query tag. Raises WarehouseError or SettingError.

    `find` returns where the account is now, and is called before a new session replaces a broken one.
    """
    session = Session(account, partial(Account.arguments, run_id=run_id, layer=layer), connect, find)
    source = Source(session, overrides, patience or RetryPolicy(), log)
    try:
        source.retrying(session.connection)
        yield source
    finally:
        session.reset()
