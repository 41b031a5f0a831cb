"""Leases: who may write a layer, or sync a schema, now.

A lease is a row that only the loader's role can lock. It is free when its holder's session has ended, and may be
overtaken after a minute without a heartbeat.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from flux_assets.errors import BusyError, PublishError
from flux_assets.postgis.liveness import beating
from flux_assets.postgis.locking import LockRetries
from flux_assets.postgis.relations import Layer
from flux_assets.postgis.session import Rows, Target, run
from flux_assets.sqlfiles import query

# Of all syncs, and of all whole releases, into a schema; no table is named like this.
SYNC, _RELEASE = "(sync)", "(release)"
_OVERTAKEN = "FX001"  # the SQLSTATE that postgres_sync.hold_lease raises
STALE_SECONDS = 60
_POLL_SECONDS = 0.5
_NOT_FLUSHED = sql.SQL("SET LOCAL synchronous_commit = off")


@dataclass(kw_only=True)
class Lease:
    """A lease that this process was given: of a layer, or of all syncs into a schema (`SYNC`).

    `is_given_back` once a transaction that held `releasing` was committed.
    """

    schema: str
    name: str
    number: int
    is_given_back: bool = False

    @staticmethod
    def acquiring(schema: str, name: str, *, flushed: bool = False) -> list[sql.Composable]:
        """Make the statements that take a lease where it is free; what the last returns is for `acquired`.

        One that is not `flushed` is free after a crash of the server that forgets it: its session is gone as well.
        """
        stale = timedelta(seconds=STALE_SECONDS)
        acquire = query("leases", "acquire").format(stale=stale, schema=schema, name=name)
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

    def holding(self) -> sql.Composed:
        """Make a query that keeps the lease until the transaction ends, or raises FX001 when it was overtaken."""
        return self._statement("hold")

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
    """The session that holds a lease; `silent_seconds` since its last sign of life."""

    pid: int
    application: str | None
    user: str | None
    silent_seconds: float

    def __str__(self) -> str:
        return f"process {self.pid} ({self.application}, user {self.user})"

    @staticmethod
    def of(connection: psycopg.Connection, schema: str, name: str) -> Holder | None:
        """Find the living session that holds a lease, None when nobody does."""
        row = connection.execute(query("leases", "holder"), [schema, name]).fetchone()
        return Holder(*row) if row else None


def overtaken(error: psycopg.Error) -> bool:
    """Tell whether a statement was refused because a newer lease exists."""
    return error.sqlstate == _OVERTAKEN


def overtaken_error(title: str) -> PublishError:
    """Say that another process has the layer now."""
    return PublishError(
        f"{title}: another load has begun since this one was interrupted, so this one does not publish.",
        "Nothing to do: the newer load publishes.",
    )


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
