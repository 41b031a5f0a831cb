"""What a run has of its own: its row in the ledger, its lease, and its steps.

A lease says who may write a layer, or sync a schema, now. It is a row that only the loader's role can lock. It is free
when its holder's session has ended, and may be overtaken after a minute without a heartbeat.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic, perf_counter
from typing import ClassVar

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from flux_assets.errors import BusyError, PublishError, bounded
from flux_assets.postgis.liveness import beating
from flux_assets.postgis.locking import LockRetries
from flux_assets.postgis.relations import Layer, PublicTable
from flux_assets.postgis.session import Rows, Target, run
from flux_assets.spec import Declaration, DynamicTable
from flux_assets.sqlfiles import query
from flux_assets.telemetry import span

_RELEASE = "(release)"  # of all whole releases into a schema; no table is named like this
_OVERTAKEN = "FX001"  # the SQLSTATE that postgres_sync.hold_lease raises
_POLL_SECONDS = 0.5
_NOT_FLUSHED = sql.SQL("SET LOCAL synchronous_commit = off")


@dataclass
class StepTimer:
    """Seconds by step; steps may overlap. `total` counts from the creation of the timer, `labels` say what it times."""

    seconds: dict[str, float] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    _begun: float = field(default_factory=perf_counter)

    @property
    def total(self) -> float:
        return perf_counter() - self._begun

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Add the duration of the block to a step, and have it in the logs and as a span."""
        begun = perf_counter()
        try:
            with span(step, step=step, **self.labels):
                yield
        finally:
            self.seconds[step] = self.seconds.get(step, 0.0) + perf_counter() - begun


# Called with the name of each point that the process reaches. Only tests add to it.
hooks: list[Callable[[str], None]] = []


def reach(point: str) -> None:
    """Call the hooks with the name of the point that the run has reached."""
    for hook in hooks:
        hook(point)


@dataclass(frozen=True)
class Entry:
    """A row of postgres_sync.sync_status that this process opened, as every load, sync and rollback does."""

    sync_id: int
    sync_type: str

    @classmethod
    def opening(
        cls, tables: Sequence[PublicTable], sync_type: str, run_id: str | None, *, close_dead: bool = True
    ) -> list[sql.Composed]:
        """Make statements that open a RUNNING row for each table; what the last returns is for `opened`.

        The row is gone from RUNNING when the process of the connection is: rows whose process is gone are closed first.
        """
        of_tables: dict[str, object] = {"schema": tables[0].schema, "names": [table.name for table in tables]}
        said = "The process ended without finishing; closed by a later run."
        dead = [query("entries", "close_dead").format(said=said, **of_tables)] if close_dead else []
        return [*dead, query("entries", "open").format(kind=sync_type, run_id=run_id, **of_tables)]

    @classmethod
    def opened(cls, sync_type: str, found: Rows) -> dict[str, Entry]:
        """Return the rows by the name of their table."""
        return {name: cls(sync_id, sync_type) for sync_id, name in found}

    def loaded(self, rows: int | None, *, version: str, sync_type: str, published: bool = True) -> sql.Composed:
        """Make a statement that closes a load's row as SUCCESS; the layer has `rows` now."""
        known, changed = rows or 0, (rows or 0) if published else 0
        return self._closing("SUCCESS", sync_type, rows=known, changed=changed, version=version)

    def synced(
        self,
        sync_type: str,
        *,
        inserted: int,
        updated: int,
        deleted: int,
        instant: datetime,
        changed: datetime | None,
    ) -> sql.Composed:
        """Make a statement that closes a sync's row as SUCCESS; it belongs into the sync's transaction.

        The source was read as of `instant` and last `changed` then; both are aware times.
        """
        return query("entries", "close_synced").format(
            sync_id=self.sync_id,
            kind=sync_type,
            inserted=inserted,
            updated=updated,
            deleted=deleted,
            instant=instant,
            changed=changed,
        )

    def measured(self, seconds: Mapping[str, float]) -> sql.Composed:
        """Make a statement that notes in the row how long the steps took."""
        noted = json.dumps({step: round(took, 4) for step, took in seconds.items()})
        return query("entries", "measured").format(sync_id=self.sync_id, step_seconds=noted)

    def locked(self, seconds: float) -> sql.Composed:
        """Make a statement that notes in a publish's row for how long it locked readers out."""
        return query("entries", "locked").format(sync_id=self.sync_id, lock_seconds=seconds)

    def held(self, live: str, held: str, rows: int | None) -> sql.Composed:
        """Make a statement that closes the row of a load that left version `held` unpublished, for `live` is pinned."""
        return query("entries", "close_held").format(sync_id=self.sync_id, version=live, held=held, rows=rows or 0)

    def fail(self, connection: psycopg.Connection, message: str) -> None:
        """Close the row as FAILED with the error's message."""
        connection.execute(self._closing("FAILED", self.sync_type, error=bounded(message)))

    def succeeded(self, connection: psycopg.Connection) -> bool:
        """Tell whether the row was closed as SUCCESS."""
        asking = "SELECT status = 'SUCCESS' FROM postgres_sync.sync_status WHERE sync_id = %s"
        row = connection.execute(asking, [self.sync_id]).fetchone()
        return bool(row and row[0])

    def forgotten(self) -> sql.Composed:
        """Make a statement that removes the row: there was nothing to do, and the table has never been loaded."""
        return query("entries", "forget").format(sync_id=self.sync_id)

    def _closing(self, status: str, sync_type: str, **known: object) -> sql.Composed:
        values = {"rows": None, "changed": None, "version": None, "error": None, **known}
        return query("entries", "close").format(sync_id=self.sync_id, status=status, sync_type=sync_type, **values)


def register_declarations(
    schema: str,
    declared: Sequence[Declaration],
    used: Sequence[Declaration],
    known: Set[tuple[object, ...]] | None = None,
) -> list[sql.Composed]:
    """Make statements, without rows, that note the tables `declared` for a schema, and those alone.

    SQL says by them which table to trust. The `used` ones are noted besides; when nobody says what is declared, nothing
    is forgotten. None where that is what is `known` already (`known` in registry.sql), as far as that was asked.
    """
    tables = {table.name: table for table in (*declared, *used)}
    rows = [_registered(table, place) for place, table in enumerate(tables.values(), 1)]
    if known is not None and (known == set(rows) if declared else known >= set(rows)):
        return []
    statements = []
    if rows:
        columns = dict(
            zip(("names", "kinds", "places", "late", "still"), map(list, zip(*rows, strict=True)), strict=True)
        )
        statements.append(query("registry", "keep").format(schema=schema, **columns))
    if declared:
        statements.append(query("registry", "forget").format(schema=schema, names=list(tables)))
    return statements


def _registered(table: Declaration, place: int) -> tuple[object, ...]:
    if isinstance(table, DynamicTable):
        return table.name, "dynamic", place, table.freshness.fail, table.freshness.still
    return table.name, "static", place, None, None


@dataclass(kw_only=True)
class Lease:
    """A lease that this process was given: of a layer, or of all syncs into a schema (`SYNC`).

    `is_given_back` once a transaction that held `releasing` was committed. One without a sign of life is `STALE`.
    """

    SYNC: ClassVar[str] = "(sync)"  # no table is named like this
    STALE: ClassVar[timedelta] = timedelta(seconds=60)

    schema: str
    name: str
    number: int
    is_given_back: bool = False

    @staticmethod
    def acquiring(schema: str, name: str, *, flushed: bool = False) -> list[sql.Composable]:
        """Make the statements that take a lease where it is free; what the last returns is for `acquired`.

        One that is not `flushed` is free after a crash of the server that forgets it: its session is gone as well.
        """
        acquire = query("leases", "acquire").format(stale=Lease.STALE, schema=schema, name=name)
        return [acquire] if flushed else [_NOT_FLUSHED, acquire]

    @staticmethod
    def acquired(connection: psycopg.Connection, schema: str, name: str, found: Rows) -> Lease | None:
        """Return the lease, None where it was not free; the ledger's rows of a holder that was overtaken are closed."""
        if not found:
            return None
        number, since = found[0]
        if since is not None:
            # Its process cannot say how its run ended, or says it after ours. Not in the statement before, which holds
            # the lease: a sync's commit locks rows of the ledger first.
            said = "The process gave no sign of life for a minute; a later run took its place."
            connection.execute(query("entries", "close_silent").format(since=since, said=said))
        return Lease(schema=schema, name=name, number=number)

    @contextmanager
    def held(self, connection: psycopg.Connection, target: Target) -> Iterator[None]:
        """Give signs of life while the block runs, and the lease back at its end.

        The server notices the end of a session only after its client has gone on, to the next load or sync perhaps.
        """
        try:
            with beating(target.conninfo, self.beating().as_string(connection)):
                yield
        finally:
            # One that cannot be given back is free when its session has ended.
            idle = not connection.closed and connection.info.transaction_status == TransactionStatus.IDLE
            if idle and not self.is_given_back:
                with suppress(psycopg.Error):
                    run(connection, [_NOT_FLUSHED, self.releasing()])

    @staticmethod
    def overtaken(error: psycopg.Error, title: str) -> PublishError | None:
        """Say that another process has the layer now, where a statement was refused because a newer lease exists."""
        if error.sqlstate != _OVERTAKEN:
            return None
        overtaken = PublishError(
            f"{title}: another load has begun since this one was interrupted, so this one does not publish.",
            "Nothing to do: the newer load publishes.",
        )
        overtaken.retryable = True
        return overtaken

    def holding(self) -> sql.Composed:
        """Make a query that keeps the lease until the transaction ends, or raises FX001 when it was overtaken."""
        return self._statement("hold")

    def keep(self, connection: psycopg.Connection, statements: Sequence[sql.Composable] = ()) -> None:
        """Run statements, in one transaction, that only the holder may. Raises PublishError when it was overtaken."""
        try:
            run(connection, [self.holding(), *statements])
        except psycopg.Error as error:
            raise Lease.overtaken(error, f"{self.schema}.{self.name}") or error from error

    def beating(self) -> sql.Composed:
        """Make a statement that gives a sign of life."""
        return self._statement("beat")

    def releasing(self) -> sql.Composed:
        """Make a statement that gives the lease back; without effect when it was overtaken."""
        return self._statement("release")

    def revoking(self) -> sql.Composed:
        """Make a statement that lets nothing be written under this lease any more.

        It waits for a transaction that holds the lease: what that did is known afterwards.
        """
        return self._statement("revoke")

    def ending_session(self) -> sql.Composed:
        """Make a statement that ends the holder's session where it waits for its client within a transaction.

        For a holder that has lost the connection: locks of what it left open would be in the way of the next sync.
        """
        return self._statement("end_holder")

    def _statement(self, name: str) -> sql.Composed:
        return query("leases", name).format(schema=self.schema, name=self.name, lease=self.number)


@dataclass(frozen=True)
class Holder:
    """The session that holds a lease."""

    pid: int
    application: str | None
    user: str | None

    def __str__(self) -> str:
        return f"process {self.pid} ({self.application}, user {self.user})"

    @staticmethod
    def of(connection: psycopg.Connection, schema: str, name: str) -> Holder | None:
        """Find the living session that holds a lease, None when nobody does."""
        row = connection.execute(query("leases", "holder"), [schema, name]).fetchone()
        return Holder(*row) if row else None


@contextmanager
def leased(
    connection: psycopg.Connection, target: Target, patience: LockRetries, layer: Layer | None = None
) -> Iterator[Lease]:
    """Hold the layer's lease, or that of whole releases into the schema, and give signs of life meanwhile.

    Two whole releases would wait for each other's layers. Waits while another process holds the lease; raises BusyError
    naming that when the patience is over. The lease is flushed, so that its number is never given again: versions are
    named by it.
    """
    schema, name = (layer.schema, layer.name) if layer else (target.schema, _RELEASE)
    busy = f"{layer.title if layer else 'A whole release'} is being loaded"
    deadline, is_told = monotonic() + patience.seconds, False
    acquiring = Lease.acquiring(schema, name, flushed=True)
    while (lease := Lease.acquired(connection, schema, name, run(connection, acquiring)[0])) is None:
        is_over = monotonic() >= deadline
        if is_over or not is_told:
            who = Holder.of(connection, schema, name) or "another process"
            if is_over:
                raise BusyError(f"{busy} by {who}.", "Wait for it to end, or stop it, and run this load again.")
            patience.log(f"{busy} by {who}; waiting up to {patience.seconds:.0f} s for it")
            is_told = True
        patience.stop.wait(_POLL_SECONDS)
    with lease.held(connection, target):
        yield lease
