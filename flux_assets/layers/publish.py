"""Publishing: one transaction, sent in one round trip, swaps the only partition of one public table or of several.

Versions that nobody needs any more are dropped here too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from threading import Event, Timer
from time import monotonic

import psycopg
from psycopg import errors, sql

from flux_assets.errors import PinnedError, reported
from flux_assets.layers import indexes
from flux_assets.layers.context import LoadOptions, VersionContext
from flux_assets.layers.schema_diff import Public
from flux_assets.layers.versions import LayerState, Version
from flux_assets.ledger.runs import Entry, Lease
from flux_assets.postgis.hanging import Hanging
from flux_assets.postgis.locking import LockRetries
from flux_assets.postgis.relations import Layer
from flux_assets.postgis.session import PROMISED_MS, Target, at_once, run
from flux_assets.sqlfiles import query

_PINNED = "FXPIN"  # the SQLSTATE that postgres_sync.refuse_pinned raises
# A wait for a standby for longer than the first is logged, and after the second the run continues without the standby.
_REPORTED_SECONDS, _STANDBY_SECONDS = 1.0, 60.0
_CANCEL_SECONDS = 5
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True)
class Publication:
    """What to publish: a version of a layer, by its public table as found, our lease and the ledger's row.

    The lease is not the version's own on a rollback. With a `pin`, the reason for it, the layer is pinned to the
    version; without, an earlier pin is respected.
    """

    layer: Layer
    public: Public
    version: Version
    lease: Lease
    entry: Entry
    pin: str | None = None


def publish(
    connection: psycopg.Connection,
    target: Target,
    publications: Sequence[Publication],
    patience: LockRetries,
    besides: Sequence[sql.Composed] = (),
) -> float:
    """Swap all versions in, or none; returns the milliseconds for which public names were locked exclusively.

    The statements `besides` run in the same transaction. Readers see the old version or the new one, whole, and wait
    for at most the lock's time-out, however many layers there are. Raises PublishError when a transaction that has read
    a table outlives the patience, when a newer lease exists, or, before any lock is taken, when attaching a version
    would build or scan anything; PinnedError when a layer is pinned to another version. A connection that is lost on
    the way does not leave open what was published: all of it was, or this raises.
    """
    found = sorted(publications, key=lambda each: each.layer.title)
    old, waiting_for = _swapped_out(connection, found)
    waiting_for += [oid for each in found if each.public.taking for oid in each.public.taking.hanging.locked]

    def statements() -> list[sql.Composable]:
        _refuse_unequal(connection, found)
        swaps = [part for each, going in zip(found, old, strict=True) for part in _swapping(each, going)]
        return [*_recording(found), *besides, *LockRetries.swap(connection, list(_locking(found, old)), swaps)]

    titles = ", ".join(each.layer.title for each in found)
    try:
        answers = patience.briefly(connection, statements, waiting_for=waiting_for, doing=f"publishing {titles}")
    except psycopg.Error as error:
        if overtaken := Lease.overtaken(error, error.diag.table_name or titles):
            raise overtaken from error
        if error.sqlstate == _PINNED:
            raise _pinned(error) from error
        if changed := Hanging.changed(error, titles):
            raise changed from error
        if connection.closed and _were_committed(target, found):
            patience.log(f"{titles}: the connection was lost after the commit; the new version is published")
            return 0.0
        raise
    [(locked, done)] = answers[-1]
    held = (done - locked) / _MILLISECOND if waiting_for else 0.0
    noting = [each.entry.locked(held / 1000) for each in found if waiting_for]
    released = _await_standbys(connection, titles, patience.log, noting) or done
    if not waiting_for:
        return 0.0
    if (held_ms := (released - locked) / _MILLISECOND) > PROMISED_MS:
        patience.log(
            f"{titles}: readers may have waited for up to {held_ms:.0f} ms, longer than the {PROMISED_MS} ms that they"
            " are promised: the server took long to swap or to commit (its disk, its processors, an event trigger)"
        )
    return float(held)


def _await_standbys(
    connection: psycopg.Connection, title: str, log: Callable[[str], None], noting: Sequence[sql.Composed]
) -> datetime | None:
    """Wait until the synchronous standbys, where there are any, have what was committed; a minute at most.

    What is to be noted of the publish is in the same round trip.

    A COMMIT that waits for a standby keeps its locks, for half a minute where the standby runs a long query: so what
    locks readers out commits without that wait, which follows here. Returns when the server began with it, by which
    time every lock is free; None where it could not be asked.
    """
    released: datetime
    begun, cancelled = monotonic(), Event()

    def cancel() -> None:
        cancelled.set()
        with suppress(psycopg.Error):
            connection.cancel_safe(timeout=_CANCEL_SECONDS)

    timer = Timer(_STANDBY_SECONDS, cancel)
    timer.daemon = True
    timer.start()
    try:
        try:
            # Cancelled while it waits, a commit succeeds with a warning.
            [[(released, _)]] = run(connection, [*noting, query("locking", "standby_wait")])
        finally:
            timer.cancel()
        seconds = monotonic() - begun
        if cancelled.is_set():
            # The following commits would each wait as long.
            connection.execute("SET synchronous_commit = 'local'")
            log(
                f"{title} is published here; synchronous standbys did not confirm it within {_STANDBY_SECONDS:.0f} s,"
                " and this run continues without them (pg_stat_replication on the primary says how far they are)"
            )
        elif seconds > _REPORTED_SECONDS:
            log(f"{title} is published; its synchronous standbys had it after {seconds:.1f} s")
    except psycopg.Error as error:
        log(f"{title} is published; whether standbys have it could not be asked: {reported(error)}")
        return None
    return released


def _pinned(error: psycopg.Error) -> PinnedError:
    name, version = error.diag.table_name, (error.diag.constraint_name or "")[:12]
    pinned = (error.diag.message_primary or "").removeprefix("pinned to version ")[:12]
    return PinnedError(
        f"{error.diag.schema_name}.{name} is pinned to version {pinned}, so version {version} was not published.",
        f"Run `flux-assets unpin {name}` and load again.",
    )


def _refuse_unequal(connection: psycopg.Connection, publications: Sequence[Publication]) -> None:
    """Raise where an attempt would do work under the lock: users go on adding indexes while a publish waits."""
    indexes.refuse_unequal(
        connection,
        [
            (each.layer, each.version.relation, each.public.oid)
            for each in publications
            if each.public.oid is not None and not each.public.changes
        ],
    )


def _recording(publications: Sequence[Publication]) -> list[sql.Composable]:
    """Make all statements that lock out no reader: leases first, so that who was overtaken writes nothing."""
    statements: list[sql.Composable] = [each.lease.holding() for each in publications]
    for each in publications:
        layer, entry, version = each.layer, each.entry, each.version
        statements += [
            version.refusing_pinned(layer) if each.pin is None else version.pinning(layer, each.pin),
            *version.making_current(layer),
            entry.loaded(version.rows, version=version.version, sync_type=entry.sync_type),
            layer.announcing("rolled back" if entry.sync_type == "ROLLBACK" else "published", version=version.version),
        ]
    return statements


def _locking(publications: Sequence[Publication], old: Sequence[sql.Identifier | None]) -> Iterator[sql.Composable]:
    """Yield the statements that lock all public tables, and all partitions that go or come.

    Whoever reads a view locks the view before what it reads: so are those of a table that gives way.
    """
    for each in publications:
        yield from each.public.taking.locking() if each.public.taking else ()
    there = [each.layer.public for each in publications if each.public.oid or each.public.taking]
    coming = [each.version.table for each in publications]
    lock = sql.SQL("LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE")
    yield from map(lock.format, (*there, *filter(None, old), *coming))


def _swapping(publication: Publication, old: sql.Identifier | None) -> list[sql.Composable]:
    layer, public = publication.layer, publication.public
    if public.taking is not None:
        return list(public.taking.swapping())
    statements: list[sql.Composable] = list(layer.create_public()) if public.oid is None else []
    if old is not None:
        statements.append(sql.SQL("ALTER TABLE {} DETACH PARTITION {}").format(layer.public, old))
    statements += public.altering(layer.public)
    statements.append(
        sql.SQL("ALTER TABLE {} ATTACH PARTITION {} DEFAULT").format(layer.public, publication.version.table)
    )
    return statements


def _were_committed(target: Target, publications: Sequence[Publication]) -> bool:
    """Tell what became of a swap whose answer was lost, and keep it from being done later."""
    with target.session("ledger") as session:
        for each in publications:
            session.execute(each.lease.revoking())
        return all(each.entry.succeeded(session) for each in publications)


def _swapped_out(
    connection: psycopg.Connection, publications: Sequence[Publication]
) -> tuple[list[sql.Identifier | None], list[int]]:
    """Return the partition that each public table has now, and the OIDs of all tables that the swap will lock."""
    going: list[sql.Identifier | None] = []
    locked: list[int] = []
    statement = query("publish", "swapped_out")
    names = [{"schema": sql.Literal(each.layer.schema), "name": sql.Literal(each.layer.name)} for each in publications]
    for found in run(connection, [statement.format(**name) for name in names]):
        partition, oids = found[0] if found else (None, [])
        going.append(sql.Identifier(*partition) if partition else None)
        locked += oids
    return going, locked


def clean_up(context: VersionContext, lease: Lease, state: LayerState, *, spare: int | None = None) -> LayerState:
    """Drop what nobody needs: published versions beyond those that are kept, rejected and interrupted ones.

    Returns the state afterwards. Whatever is still staging belongs to a dead process, for the layer's lease is ours:
    raises PublishError where it was overtaken meanwhile. `spare` is the lease of a version that must stay. A version
    that somebody is reading is left for the next run, and what is attached stays, whoever attached it.
    """
    kept = {*_worth_keeping(state, context.options), spare}
    dropped = []
    for version in sorted((*state.versions, *state.leftovers), key=lambda version: -version.lease):
        if version.current or version.is_attached or version.lease in kept:
            continue
        # An ejection that was killed may have left views on it.
        views = query("eject", "discard_views").format(relation=version.relation)
        drop = sql.SQL("DROP TABLE IF EXISTS {}").format(version.table)
        try:
            # The layer's lease is kept meanwhile, or this is refused. It gives up at once when somebody is reading the
            # table: dropping one with a foreign key locks the table that it points at, which others read.
            at_once(context.control, [lease.holding(), views, drop, version.dropping(context.layer)])
        except (errors.LockNotAvailable, errors.DependentObjectsStillExist) as error:
            context.log(f"version {version.relation} is still in use and stays for now: {error.diag.message_primary}")
            continue
        except psycopg.Error as error:
            if overtaken := Lease.overtaken(error, context.layer.title):
                raise overtaken from error
            raise
        dropped.append(version)
    return replace(state, versions=tuple(version for version in state.versions if version not in dropped))


def _worth_keeping(state: LayerState, options: LoadOptions) -> set[int]:
    """Return the leases of the earlier versions to keep: published ones with their tables, and a pinned one always.

    None stays behind the first that has no room. Another copy of the current version is no earlier version.
    """
    current = {version.version for version in state.versions if version.current}
    earlier = [
        version
        for version in state.versions
        if version.state == "published" and version.is_there and version.version not in current
    ]
    earlier.sort(key=lambda version: version.published_at or version.staged_at, reverse=True)
    kept = {version.lease for version in earlier if state.pin is not None and version.version == state.pin.version}
    room = math.inf if options.keep_bytes is None else options.keep_bytes
    for version in earlier[: options.keep_versions]:
        room -= version.bytes or 0
        if room < 0:
            break
        kept.add(version.lease)
    return kept
