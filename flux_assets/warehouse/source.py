"""The source of the sync: what it can do, its change tokens, its mapping, its rows as of one instant.

Here: open_source and the Source, which every module of this package serves. Not here: what is done with the rows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa

from flux_assets.errors import FluxError, SourceError, WarehouseError
from flux_assets.spec import DynamicTable
from flux_assets.warehouse import query
from flux_assets.warehouse.account import Account
from flux_assets.warehouse.columns import FoundColumn
from flux_assets.warehouse.connect import Connect, connect_directly
from flux_assets.warehouse.mapping import Mapping, ObjectName, Resolver
from flux_assets.warehouse.overrides import Overrides
from flux_assets.warehouse.retrying import Patience
from flux_assets.warehouse.rows import Rows
from flux_assets.warehouse.session import Session

if TYPE_CHECKING:
    from snowflake.connector.cursor import SnowflakeCursor

T = TypeVar("T")
Log = Callable[[str], None]
KEYS_AT_ONCE = 1000
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a source can do; something counts as possible until the source, asked once a connection, refuses it.

    `time_travel`: objects can be read as of an instant. `change_token`: it tells without a warehouse whether an
    object changed. `snapshot_transaction`: all that one transaction reads is as of its beginning.
    """

    time_travel: bool = True
    change_token: bool = True
    snapshot_transaction: bool = False


class Source:
    """One session with the source. Errors are WarehouseError, or SourceError when one table's source is at fault.

    A fault that can be cured ends the statement with a curable WarehouseError: put what belongs together (the instant
    and all that is read as of it) into one `retrying`, which makes a new session and does all of it again.
    """

    def __init__(self, session: Session, overrides: Overrides, patience: Patience, log: Log) -> None:
        self.capabilities = Capabilities(snapshot_transaction=session.account.stand_in)
        self._session = session
        self._overrides = overrides
        self._patience = patience
        self._log = log
        self._travelling: dict[str, bool] = {}
        # The session in which a transaction holds the snapshot, by its generation.
        self._snapshot_in: int | None = None

    @property
    def account(self) -> Account:
        """Where the source is."""
        return self._session.account

    def instant(self) -> datetime:
        """The instant (UTC) that a snapshot is read as of, by the source's clock; the snapshot begins here."""
        if self.capabilities.snapshot_transaction:
            self._begin_snapshot()
        with self._statement("SELECT SYSDATE()") as cursor:
            (now,) = cursor.fetchone() or (None,)
        if not isinstance(now, datetime):
            raise WarehouseError("The source does not tell its time.", "Try again.", curable=True)
        return now.replace(tzinfo=UTC)

    def tokens(self, tables: Sequence[DynamicTable]) -> dict[str, str] | None:
        """By table, a token of its source's content: another one means another content. None where there is none.

        One statement for all, which needs no warehouse. An object that is missing gives None for all: reading names it.
        """
        if not self.capabilities.change_token:
            return None
        self._session.connection()
        objects = [(table, ObjectName.of(table, self._overrides.of(table)).template) for table in tables]
        try:
            with self._statement(query.tokens_query(objects, self.account)) as cursor:
                row = cursor.fetchone()
        except (SourceError, WarehouseError) as refusal:
            if isinstance(refusal, WarehouseError) and refusal.curable:
                raise
            self.capabilities = replace(self.capabilities, change_token=False)
            self._say_refused("no change tokens, so the sources are read to see whether they changed", refusal)
            return None
        if row is None or any(token is None for token in row):
            return None
        return {table.name: str(token) for table, token in zip(tables, row, strict=True)}

    def mapping(self, table: DynamicTable) -> Mapping:
        """How the table's columns come from its source, as it is now. Raises SourceError when they cannot."""
        override = self._overrides.of(table)
        name = ObjectName.of(table, override)
        object_ = name.sql(self.account)
        with self._whole_snapshot():
            found = self._session.described(query.everything(object_), table=table.name, object_=object_)
            expressions = self._expressions(table, object_)
        self._ask_travel(object_)
        resolver = Resolver(
            table=table,
            override=override,
            object=object_,
            found=found,
            expressions=expressions,
            config=self._overrides.shown,
        )
        return resolver.mapping(name.template)

    def rows(self, mapping: Mapping, instant: datetime) -> Rows:
        """The rows taken, as of `instant`. Nothing is asked of the source before they are iterated."""

        def text(*, travel: bool) -> str:
            return query.rows_query(mapping, self.account, instant, travel=travel)

        return Rows(mapping, lambda: self._pieces(mapping, text))

    def existing(
        self, mapping: Mapping, keys: Sequence[tuple[object, ...]], instant: datetime
    ) -> set[tuple[object, ...]]:
        """Those of the keys that the source object holds at all, also in rows that are not taken."""
        found: set[tuple[object, ...]] = set()
        own = replace(mapping, columns=tuple(mapping.by_target[name] for name in mapping.table.key), change_column=None)
        for start in range(0, len(keys), KEYS_AT_ONCE):
            chunk = keys[start : start + KEYS_AT_ONCE]

            def text(*, travel: bool, chunk: Sequence[tuple[object, ...]] = chunk) -> str:
                return query.existing_query(own, chunk, self.account, instant, travel=travel)

            rows = Rows(own, lambda text=text: self._pieces(own, text), only=mapping.table.key)  # type: ignore[misc]
            for batch in rows:
                found.update(zip(*(column.to_pylist() for column in batch.columns), strict=True))
        return found

    def retrying(self, work: Callable[[], T]) -> T:
        """What `work` gives; done again, on a new session, when it ends with a fault that this can cure."""

        def again(error: BaseException) -> None:
            self._log(f"Trying again on a new session: {error}")
            self._session.reset()

        return self._patience.spend(work, again)

    def close(self) -> None:
        """End the session."""
        if self._snapshot_in == self._session.generation:
            self._end_snapshot()
        self._session.reset()

    def _expressions(self, table: DynamicTable, object_: str) -> dict[str, FoundColumn]:
        """What each configured expression yields. Each is asked alone, so that the error names the one that fails."""
        configured = self._overrides.of(table).columns
        found = {}
        for target, column in configured.items():
            if column.expression is not None:
                about = f"{table.name}.{target} (columns.{target} in {self._overrides.shown})"
                (found[target],) = self._session.described(
                    query.expression_probe(column.expression, object_), table=about, object_=object_
                )
        return found

    def _ask_travel(self, object_: str) -> None:
        """Ask until one object can be read as of an instant; without any, the source as a whole cannot."""
        if any(self._travelling.values()) or object_ in self._travelling:
            return
        try:
            with self._whole_snapshot():
                self._session.described(query.travel_probe(object_), object_=object_)
        except (SourceError, WarehouseError) as refusal:
            if isinstance(refusal, WarehouseError) and refusal.curable:
                raise
            self._travelling[object_] = False
            self._say_refused(
                f"{object_} cannot be read as of an instant, so tables are read one after another", refusal
            )
        else:
            self._travelling[object_] = True
        self.capabilities = replace(self.capabilities, time_travel=any(self._travelling.values()))

    @contextmanager
    def _pieces(self, mapping: Mapping, text: Callable[..., str]) -> Iterator[Iterable[pa.Table]]:
        """The result of a query as Arrow tables, as of the instant where the object can be read so."""
        self._keep_snapshot()
        with ExitStack() as stack:
            cursor = None
            if self._travelling.get(mapping.object, self.capabilities.time_travel):
                cursor = self._travelled(mapping, text(travel=True), stack)
            if cursor is None:
                cursor = stack.enter_context(self._about(mapping, text(travel=False)))
            # Microseconds, always: nanoseconds overflow in years such as 9999.
            yield cursor.fetch_arrow_batches(force_microsecond_precision=True)

    def _travelled(self, mapping: Mapping, statement: str, stack: ExitStack) -> SnowflakeCursor | None:
        """The cursor of a query as of an instant, or None when this object cannot be read so."""
        try:
            return stack.enter_context(self._about(mapping, statement))
        except SourceError as refusal:
            self._say_refused(f"{mapping.object} is read as it is now and not as of the common instant", refusal)
            return None

    def _about(self, mapping: Mapping, statement: str) -> AbstractContextManager[SnowflakeCursor]:
        return self._statement(statement, table=mapping.table.name, object_=mapping.object)

    @contextmanager
    def _statement(self, statement: str, *, table: str = "", object_: str = "") -> Iterator[SnowflakeCursor]:
        with ExitStack() as stack:
            with self._whole_snapshot():
                cursor = stack.enter_context(self._session.cursor(statement, table=table, object_=object_))
            yield cursor

    def _begin_snapshot(self) -> None:
        """A new snapshot; the transaction of an earlier one ends."""
        self._session.connection()
        if self._snapshot_in == self._session.generation:
            self._end_snapshot()
        with self._session.cursor("BEGIN"):
            self._snapshot_in = self._session.generation

    def _keep_snapshot(self) -> None:
        """A snapshot in this session too, when one was asked for and its session is gone."""
        self._session.connection()
        if self._snapshot_in is not None and self._snapshot_in != self._session.generation:
            self._begin_snapshot()

    def _end_snapshot(self) -> None:
        with suppress(FluxError), self._session.cursor("ROLLBACK"):
            pass
        self._snapshot_in = None

    @contextmanager
    def _whole_snapshot(self) -> Iterator[None]:
        """A refused statement ends the stand-in's transaction: begin another, so that other tables can be read."""
        try:
            yield
        except FluxError as refusal:
            curable = isinstance(refusal, WarehouseError) and refusal.curable
            if self._snapshot_in == self._session.generation and not curable:
                self._begin_snapshot()
            raise

    def _say_refused(self, consequence: str, refusal: FluxError) -> None:
        """Nobody expects these of the stand-in."""
        if not self.account.stand_in:
            self._log(f"{consequence}. {refusal.problem}")


@contextmanager
def open_source(  # noqa: PLR0913 - all but the first two by name
    account: Account,
    overrides: Overrides,
    *,
    connect: Connect = connect_directly,
    run_id: str | None = None,
    layer: str | None = None,
    log: Log = _LOGGER.info,
    patience: Patience | None = None,
) -> Iterator[Source]:
    """The source, signed in; `run_id` and `layer` go into the query tag. Raises WarehouseError or SettingError."""
    session = Session(account, account.arguments(run_id=run_id, layer=layer), connect)
    source = Source(session, overrides, patience or Patience(), log)
    try:
        source.retrying(session.connection)
        yield source
    finally:
        source.close()
