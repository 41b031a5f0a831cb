"""The source of the sync: its change tokens, its mapping, its rows as of one instant."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Mapping as MappingOf
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from flux_assets.errors import FluxError, SourceError, WarehouseError
from flux_assets.retry import RetryPolicy
from flux_assets.snowflake.account import Account
from flux_assets.snowflake.columns import FoundColumn, Resolver
from flux_assets.snowflake.faults import Subject
from flux_assets.snowflake.mapping import Mapping, ObjectName, literal, render, tokens_template
from flux_assets.snowflake.overrides import Overrides, SourceOverride
from flux_assets.snowflake.rows import Rows
from flux_assets.snowflake.session import Connect, Session, connect_directly
from flux_assets.spec import DynamicTable

if TYPE_CHECKING:
    from snowflake.connector.cursor import SnowflakeCursor

_T = TypeVar("_T")
_Log = Callable[[str], None]
_KEYS_AT_ONCE = 1000
_LOGGER = logging.getLogger(__name__)
_TABLES = frozenset({"TABLE", "TRANSIENT"})
_FLAGS = ("is_dynamic", "is_iceberg", "is_hybrid", "is_external", "is_event")


@dataclass(frozen=True, kw_only=True)
class _Capabilities:
    """What a source can do; a capability is assumed until the source, probed once a connection, refuses it.

    `time_travel`: objects can be read as of an instant. `change_token`: whether an object changed is known without a
    warehouse. `snapshot_transaction`: all that one transaction reads is as of its beginning. The stand-in has that
    alone, and is not probed: a refused statement would end its transaction.
    """

    time_travel: bool = True
    change_token: bool = True
    snapshot_transaction: bool = False


class Source:
    """One session with the source. Errors are WarehouseError, or SourceError when one table's source is at fault.

    A passing fault ends the statement with a retryable WarehouseError: put what belongs together (the instant and all
    that is read as of it) into one `retrying`, which opens a new session and does all of it again. `capabilities` are
    known as far as they were probed.
    """

    def __init__(self, session: Session, overrides: Overrides, patience: RetryPolicy, log: _Log) -> None:
        stand_in = session.account.stand_in
        self.capabilities = _Capabilities(
            time_travel=not stand_in, change_token=not stand_in, snapshot_transaction=stand_in
        )
        self._session = session
        self._overrides = overrides
        self._patience = patience
        self._log = log
        self._ahead: dict[str, Mapping] = {}
        # By object: whether it can be read as of an instant, and whether it was when it was last read.
        self._travelling: dict[str, bool] = {}
        self._as_of: dict[str, bool] = {}

    @classmethod
    @contextmanager
    def open(
        cls,
        account: Account,
        overrides: Overrides,
        *,
        connect: Connect = connect_directly,
        find: Callable[[], Account] | None = None,
        log: _Log = _LOGGER.info,
        patience: RetryPolicy | None = None,
    ) -> Iterator[Source]:
        """Yield the source, signed in. Raises WarehouseError or SettingError.

        `find` returns where the account is now, and is called before a new session replaces a broken one.
        """
        session = Session(account, connect, find)
        source = cls(session, overrides, patience or RetryPolicy(), log)
        try:
            source.retrying(session.connection)
            yield source
        finally:
            session.reset()

    @property
    def account(self) -> Account:
        """The account that the source is in."""
        return self._session.account

    @property
    def has_warehouse(self) -> bool:
        """Whether the session has a warehouse to run queries with: the configured one, or the user's default."""
        return self.account.stand_in or bool(self.account.warehouse or self._session.connection().warehouse)

    def instant(self, statements: int = 2) -> datetime:
        """Begin a snapshot, and return the instant (UTC) that it is read as of, by the source's clock.

        A single statement is a snapshot by itself, younger by some milliseconds.
        """
        if self.capabilities.snapshot_transaction:
            if statements > 1:
                self._session.begin()
            # The stand-in runs on this machine and has its clock.
            return datetime.now(UTC)
        with self._session.cursor("SELECT SYSDATE()") as cursor:
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
        try:
            asked = render(tokens_template([(table, self._name(table)) for table in tables]), self.account)
            with self._session.cursor(asked) as cursor:
                row = cursor.fetchone() or ()
        except FluxError as refusal:
            if refusal.retryable:
                raise
            self.capabilities = replace(self.capabilities, change_token=False)
            self._log(f"Change tokens are unavailable, so all sources are read for changes. {refusal.problem}")
            return None
        if None in row or len(row) != len(tables):
            return None
        return {table.name: str(token) for table, token in zip(tables, row, strict=True)}

    def believed(self, tables: Sequence[DynamicTable], tokens: MappingOf[str, str]) -> dict[str, str]:
        """Return the tokens without those of `tables` whose objects may change while their tokens do not."""
        doubted = {table.name for table in tables if table.name in tokens and self.doubt(table)}
        return {name: token for name, token in tokens.items() if name not in doubted}

    def doubt(self, table: DynamicTable) -> str | None:
        """Return why the table's change token is not believed; None where it is. Wakes no warehouse."""
        if table.change_token is not None:
            return None if table.change_token else "change_token = false"
        name = self._name(table)
        try:
            doubt = self._why_not_believed(name)
        except FluxError as refusal:
            if refusal.retryable:
                raise
            doubt = f"its kind of object is unknown: {refusal.problem}"
        if doubt is not None:
            self._log(f"{name.sql(self.account)} is read even if its change token is the same: {doubt}")
        return doubt

    def _why_not_believed(self, name: ObjectName) -> str | None:
        """Return why the change token of an object is not believed; None for an ordinary table.

        Only an ordinary table's token covers all that can change its rows. That of a view is of the tables below it,
        while time, the role that reads or a function may change its rows. Those of external, Iceberg, hybrid, dynamic
        and shared objects, and of tables under a policy, are no better.
        """
        # The pattern ignores case, and takes an underscore for any character.
        listed = f"SHOW OBJECTS LIKE {literal(name.name)} IN SCHEMA {name.schema_sql(self.account)}"
        shown = next((row for row in self._listed(listed) if row.get("name") == name.name), None)
        if shown is None:
            return "SHOW OBJECTS does not list it"
        kind = str(shown.get("kind", "")).upper()
        if kind not in _TABLES:
            return f"it is of kind {kind or 'unknown'}"
        if flags := [flag for flag in _FLAGS if str(shown.get(flag, "")).upper() in {"Y", "TRUE"}]:
            return f"it is a table of another kind ({', '.join(flags)})"
        if not shown.get("owner"):
            return "it is shared by another account"
        described = self._listed(f"DESCRIBE TABLE {name.sql(self.account)}")
        if policies := sorted({str(row["policy name"]) for row in described if row.get("policy name")}):
            return f"it is under policy {', '.join(policies)}"
        return None

    def _listed(self, statement: str) -> Sequence[dict[str, Any]]:
        with self._session.cursor(statement) as cursor:
            names = [column.name.lower() for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall() if isinstance(row, tuple)]

    def look_ahead(self, tables: Sequence[DynamicTable]) -> None:
        """Resolve the mappings while the sync waits for something else, and prepare queries where tokens are missing.

        No warehouse wakes up. Errors are left to `mapping`, which then asks again.
        """
        for table in tables:
            try:
                self._ahead[table.name] = self.mapping(table)
            except FluxError as refusal:
                if refusal.retryable:
                    return
            else:
                if not self.capabilities.change_token:
                    self._ahead[table.name].prepare()

    def mappings(self, tables: Sequence[DynamicTable]) -> dict[str, str]:
        """Return digests of the mappings resolved ahead, by table: a change of columns alone changes no token.

        A table is absent when its mapping could not be resolved, or has been used already.
        """
        return {table.name: self._ahead[table.name].digest for table in tables if table.name in self._ahead}

    def mapping(self, table: DynamicTable) -> Mapping:
        """Return how the table's columns come from its source, as it is now. Raises SourceError when they cannot."""
        if ahead := self._ahead.pop(table.name, None):
            return ahead
        name = self._name(table)
        object_ = name.sql(self.account)
        with self._session.whole():
            found = self.columns(table)
            expressions = self._expressions(table, object_)
        resolver = Resolver(
            table=table,
            object=object_,
            object_template=name.template,
            found=found,
            override=self._override(table),
            expressions=expressions,
            config=self._overrides.shown,
        )
        return resolver.mapping()

    def columns(self, table: DynamicTable) -> tuple[FoundColumn, ...]:
        """Return the columns of a table's source object. Raises SourceError when there is none."""
        object_ = self._name(table).sql(self.account)
        with self._session.whole():
            return self._session.described(f"SELECT * FROM {object_}", Subject(table=table.name, object=object_))

    def _expressions(self, table: DynamicTable, object_: str) -> dict[str, FoundColumn]:
        """Return the kind of each configured expression. Each is compiled alone, so that an error names it."""
        found = {}
        for target, column in self._override(table).columns.items():
            if column.expression is not None:
                about = f"{table.name}.{target} (columns.{target} in {self._overrides.shown})"
                subject = Subject(table=about, object=object_, expression=column.expression)
                asked = f"SELECT ({column.expression}) AS A FROM {object_}"
                (found[target],) = self._session.described(asked, subject)
        return found

    def ask_travel(self, object_: str) -> None:
        """Probe objects until one can be read as of an instant; without any, the source as a whole cannot."""
        if self.account.stand_in or any(self._travelling.values()) or object_ in self._travelling:
            return
        try:
            asked = f"SELECT 1 AS A FROM {object_} AT(TIMESTAMP => CURRENT_TIMESTAMP())"
            self._session.described(asked, Subject(object=object_))
        except FluxError as refusal:
            if refusal.retryable:
                raise
            self._travelling[object_] = False
            self._log(f"{object_} cannot be read as of an instant, so it is read as of now. {refusal.problem}")
        else:
            self._travelling[object_] = True
        self.capabilities = replace(self.capabilities, time_travel=any(self._travelling.values()))

    def rows(self, mapping: Mapping, instant: datetime) -> Rows:
        """Return the rows to read, as of `instant`. The source is not queried before they are iterated."""
        text = partial(mapping.rows_query, self.account, instant)
        return Rows(mapping, partial(self._pieces, mapping, text), counted=True)

    def was_as_of(self, mapping: Mapping) -> bool:
        """Return whether an object's rows were last read as of their instant, not as of that moment."""
        return self._as_of.get(mapping.object, False)

    def existing(
        self, mapping: Mapping, keys: Sequence[tuple[object, ...]], instant: datetime, *, only_taken: bool = False
    ) -> set[tuple[object, ...]]:
        """Return those of the keys that the source object has; with `only_taken`, in rows to read alone."""
        found: set[tuple[object, ...]] = set()
        own = replace(mapping, columns=tuple(mapping.by_target[name] for name in mapping.table.key), change_column=None)
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            chunk = keys[start : start + _KEYS_AT_ONCE]
            text = partial(mapping.existing_query, chunk, self.account, instant, only_taken=only_taken)
            for batch in Rows(own, partial(self._pieces, own, text), only=mapping.table.key):
                found.update(zip(*(column.to_pylist() for column in batch.columns), strict=True))
        return found

    @contextmanager
    def _pieces(self, mapping: Mapping, text: Callable[..., str]) -> Iterator[Iterable[pa.Table]]:
        """Yield the result of the query `text(travel=…)`, as of the instant where the object supports it."""
        self._session.keep_snapshot()
        self.ask_travel(mapping.object)
        subject = Subject(table=mapping.table.name, object=mapping.object, reads_rows=True)
        with ExitStack() as stack:

            def opened(*, travel: bool) -> SnowflakeCursor:
                return stack.enter_context(self._session.cursor(text(travel=travel), subject))

            cursor = None
            if self._travelling.get(mapping.object, self.capabilities.time_travel):
                try:
                    cursor = opened(travel=True)
                except SourceError as refusal:
                    now = "is read as it is now, not as of the common instant"
                    self._log(f"{mapping.object} {now}. {refusal.problem}")
            self._as_of[mapping.object] = cursor is not None
            yield self._session.tables(opened(travel=False) if cursor is None else cursor)

    def retrying(self, work: Callable[[], _T]) -> _T:
        """Return the result of `work`, done again on a new session after a retryable error."""

        def again(error: BaseException) -> None:
            self._log(f"Retrying on a new session: {error.problem if isinstance(error, FluxError) else error}")
            self._session.renew()

        return self._patience.spend(work, again)

    def _override(self, table: DynamicTable) -> SourceOverride:
        return self._overrides.sources.get(table.source, SourceOverride())

    def _name(self, table: DynamicTable) -> ObjectName:
        return ObjectName.of(table, self._override(table).object)
