"""Publishing: one transaction, sent in one round trip, swaps the public table's only partition and records it.

Versions that nobody needs any more are dropped here too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import psycopg
from psycopg import errors, sql

from flux_assets.postgis import catalog, ddl, equal, ledger, register, stage, takeover
from flux_assets.postgis.announcing import Kind, announcing
from flux_assets.postgis.connect import Target
from flux_assets.postgis.layer import VERSIONS, Layer, version_table
from flux_assets.postgis.leases import Lease, overtaken, overtaken_error
from flux_assets.postgis.ledger import Entry
from flux_assets.postgis.locking import Patience, briefly
from flux_assets.postgis.register import Version
from flux_assets.postgis.shape import Public


@dataclass(frozen=True)
class Swap:
    """What to publish, as what: the version, our lease (not the version's own on a rollback) and the ledger's row."""

    version: Version
    lease: Lease
    entry: Entry
    sync_type: str


def publish(
    connection: psycopg.Connection, target: Target, layer: Layer, public: Public, swap: Swap, patience: Patience
) -> float:
    """Swap the version in; returns the milliseconds for which the public name was locked exclusively.

    Readers see the old version or the new one, whole, and wait for at most the lock's time-out. Raises PublishError
    when a transaction that has read the table outlives the patience, when a newer lease exists, or, before any lock
    is taken, when attaching the version would build or scan anything. A connection that is lost on the way does not
    leave open whether the version was published: it was, or this raises.
    """
    old = register.default_partition(connection, layer)
    waiting_for = [found.oid for found in _locked_tables(connection, layer, old)]

    def statements() -> list[sql.Composable]:
        if public.oid is not None and not public.changes:
            # Before each attempt: users go on adding indexes while a publish waits.
            equal.refuse_unequal(connection, layer, swap.version.relation, public.oid)
        granting = [] if public.plain_oid is None else takeover.grants(connection, layer, public.plain_oid)
        return [*_recording(layer, swap), *_swapping(layer, public, swap, old), *granting, _CLOCK]

    try:
        answers = briefly(connection, statements, patience, waiting_for=waiting_for, doing=f"publishing {layer.title}")
    except psycopg.Error as error:
        if overtaken(error):
            raise overtaken_error(layer) from error
        if connection.closed and _was_committed(target, swap):
            patience.log(f"{layer.title}: the connection was lost once the version was published")
            return 0.0
        raise
    [(locked,)], [(done,)] = answers[-2:]
    return (done - locked).total_seconds() * 1000 if waiting_for else 0.0


_CLOCK = sql.SQL("SELECT clock_timestamp()")


def _was_committed(target: Target, swap: Swap) -> bool:
    """Tell what became of a swap whose answer was lost, and keep it from being done later."""
    with target.session("ledger") as session:
        session.execute(swap.lease.revoking())
        return ledger.succeeded(session, swap.entry)


def _recording(layer: Layer, swap: Swap) -> list[sql.Composable]:
    """Everything that locks out no reader."""
    kind: Kind = "rolled back" if swap.sync_type == "ROLLBACK" else "published"
    version = swap.version
    return [
        swap.lease.holding(),
        *register.making_current(layer, version),
        ledger.loaded(swap.entry, version.rows or 0, version=version.version, sync_type=swap.sync_type),
        announcing(layer, kind, version=version.version),
    ]


def _swapping(layer: Layer, public: Public, swap: Swap, old: tuple[str, str] | None) -> list[sql.Composable]:
    statements: list[sql.Composable] = []
    if public.oid is not None:
        # DETACH takes this lock anyway; taken first, what it costs readers is counted from its first moment.
        statements.append(sql.SQL("LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE").format(layer.public))
    if public.plain_oid is not None:
        statements.append(takeover.rename(layer))
    if public.oid is None:
        statements += ddl.create_public(layer)
    statements.insert(1, _CLOCK)
    if old is not None:
        statements.append(sql.SQL("ALTER TABLE {} DETACH PARTITION {}").format(layer.public, sql.Identifier(*old)))
    statements += [change(layer.public) for change in public.changes]
    statements.append(
        sql.SQL("ALTER TABLE {} ATTACH PARTITION {} DEFAULT").format(layer.public, version_table(swap.version.relation))
    )
    return statements


def _locked_tables(connection: psycopg.Connection, layer: Layer, old: tuple[str, str] | None) -> list[catalog.Relation]:
    names = [(layer.schema, layer.name), *([old] if old else [])]
    found = [relation for relation in (catalog.find(connection, *name) for name in names) if relation]
    return [*found, *(other for relation in found for other in catalog.looked_up(connection, relation.oid))]


def clean_up(
    connection: psycopg.Connection,
    layer: Layer,
    lease: Lease,
    keep: int,
    log: Callable[[str], None],
    *,
    spare: int | None = None,
) -> list[Version]:
    """Drop what nobody needs: versions beyond the `keep` newest published ones, rejected and interrupted ones.

    Whatever is still staging belongs to a dead process, for the layer's lease is ours: raises PublishError where it was
    overtaken meanwhile. `spare` is the lease of a version that must stay. A version that somebody is reading is left
    for the next run, and what is attached stays, whoever attached it.
    """
    attached = register.default_partition(connection, layer)
    found = [version for version in register.versions(connection, layer, with_leftovers=True) if not version.current]
    kept = {version.lease for version in _worth_keeping(connection, layer, found)[:keep]} | {spare}
    dropped = []
    for version in found:
        if version.lease in kept or attached == (VERSIONS, version.relation):
            continue
        try:
            stage.drop(connection, version.relation, lease.holding())
        except (errors.LockNotAvailable, errors.DependentObjectsStillExist) as error:
            log(f"version {version.relation} is still in use and stays for now: {error.diag.message_primary}")
            continue
        except psycopg.Error as error:
            if overtaken(error):
                raise overtaken_error(layer) from error
            raise
        register.mark_dropped(connection, layer, version)
        dropped.append(version)
    return dropped


def _worth_keeping(connection: psycopg.Connection, layer: Layer, found: list[Version]) -> list[Version]:
    """Published versions with their tables, the newest first; another copy of the current one is no earlier version."""
    current = {version.version for version in register.versions(connection, layer) if version.current}
    earlier = [v for v in found if v.state == "published" and v.version not in current]
    earlier.sort(key=lambda version: version.published_at or version.staged_at, reverse=True)
    return [version for version in earlier if catalog.find(connection, VERSIONS, version.relation)]
