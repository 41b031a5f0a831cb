"""Publishing: one short transaction swaps the public table's only partition.

Here: the swap with its ledger and register rows, and dropping versions that nobody needs. Not here: making a
version fit (shape.py, equal.py) or good (audit.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import psycopg
from psycopg import errors, sql

from flux_assets.postgis import catalog, ddl, equal, ledger, pins, register, stage, takeover
from flux_assets.postgis.announcing import Kind, announcing
from flux_assets.postgis.layer import VERSIONS, Layer, version_table
from flux_assets.postgis.ledger import Entry
from flux_assets.postgis.locking import Patience, in_short_transaction
from flux_assets.postgis.register import Version
from flux_assets.postgis.retention import Retention, worth_keeping
from flux_assets.postgis.shape import Public


@dataclass(frozen=True)
class Swap:
    """What to publish, as what: the version, our lease (not the version's own on a rollback) and the ledger's row.

    With a `pin`, the reason for it, the layer is pinned to the version; without, an earlier pin is respected.
    """

    version: Version
    lease: int
    entry: Entry
    sync_type: str
    pin: str | None = None


def publish(connection: psycopg.Connection, layer: Layer, public: Public, swap: Swap, patience: Patience) -> float:
    """Swap the version in; returns the milliseconds for which the public name was locked exclusively.

    Readers see the old version or the new one, whole, and wait for at most the lock's time-out. Raises PublishError
    when a transaction that has read the table outlives the patience, when a newer lease exists, or, before any lock
    is taken, when attaching the version would build or scan anything; PinnedError when the layer is pinned to another.
    """
    old = register.default_partition(connection, layer)
    waiting_for = [found.oid for found in locked_tables(connection, layer, old)]
    locked_at = 0.0

    def work() -> None:
        nonlocal locked_at
        record(connection, layer, public, swap)
        granting = [] if public.plain_oid is None else takeover.grants(connection, layer, public.plain_oid)
        locked_at = 0.0
        for statement in (*swapping(layer, public, swap, old), *granting):
            connection.execute(statement)
            locked_at = locked_at or perf_counter()

    in_short_transaction(connection, work, patience, waiting_for=waiting_for, doing=f"publishing {layer.title}")
    return (perf_counter() - locked_at) * 1000 if waiting_for else 0.0


def record(connection: psycopg.Connection, layer: Layer, public: Public, swap: Swap) -> None:
    """Within the publish transaction, before any lock that readers meet: register, pin, ledger, notification."""
    register.hold_newest(connection, layer, swap.lease)
    with pins.refusal_told(layer, swap.version.version):
        wanted = swap.version.version
        connection.execute(pins.refusing(layer, wanted) if swap.pin is None else pins.pinning(layer, wanted, swap.pin))
    if public.oid is not None and not public.changes:
        # Here, and not before the first attempt: users go on adding indexes while a publish waits.
        equal.refuse_unequal(connection, layer, swap.version.relation, public.oid)
    register.make_current(connection, layer, swap.version)
    ledger.succeed(
        connection, swap.entry, swap.version.rows or 0, version=swap.version.version, sync_type=swap.sync_type
    )
    kind: Kind = "rolled back" if swap.sync_type == "ROLLBACK" else "published"
    connection.execute(announcing(layer, kind, version=swap.version.version))


def swapping(layer: Layer, public: Public, swap: Swap, old: tuple[str, str] | None) -> list[sql.Composed]:
    """The statements that lock the public table and swap its partition."""
    statements: list[sql.Composed] = []
    if public.oid is not None:
        # DETACH takes this lock anyway; taken first, what it costs readers is counted from its first moment.
        statements.append(sql.SQL("LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE").format(layer.public))
    if public.plain_oid is not None:
        statements.append(takeover.rename(layer))
    if public.oid is None:
        statements += ddl.create_public(layer)
    if old is not None:
        statements.append(sql.SQL("ALTER TABLE {} DETACH PARTITION {}").format(layer.public, sql.Identifier(*old)))
    statements += [change(layer.public) for change in public.changes]
    statements.append(
        sql.SQL("ALTER TABLE {} ATTACH PARTITION {} DEFAULT").format(layer.public, version_table(swap.version.relation))
    )
    return statements


def locked_tables(connection: psycopg.Connection, layer: Layer, old: tuple[str, str] | None) -> list[catalog.Relation]:
    """The tables of which a swap takes locks."""
    names = [(layer.schema, layer.name), *([old] if old else [])]
    found = [relation for relation in (catalog.find(connection, *name) for name in names) if relation]
    return [*found, *(other for relation in found for other in catalog.looked_up(connection, relation.oid))]


def clean_up(
    connection: psycopg.Connection,
    layer: Layer,
    keep: Retention,
    log: Callable[[str], None],
    *,
    spare: int | None = None,
) -> list[Version]:
    """Drop what nobody needs: published versions that are not to `keep`, rejected and interrupted ones.

    Call it while holding the layer's lease, so that whatever is still staging belongs to a dead process. `spare` is
    the lease of a version that must stay. A version that somebody is reading is left for the next run, and what is
    attached stays, whoever attached it.
    """
    attached = register.default_partition(connection, layer)
    found = [version for version in register.versions(connection, layer, with_leftovers=True) if not version.current]
    kept = {*worth_keeping(connection, layer, found, keep), spare}
    dropped = []
    for version in found:
        if version.lease in kept or attached == (VERSIONS, version.relation):
            continue
        try:
            stage.drop(connection, version.relation)
        except (errors.LockNotAvailable, errors.DependentObjectsStillExist) as error:
            log(f"version {version.relation} is still in use and stays for now: {error.diag.message_primary}")
            continue
        register.mark_dropped(connection, layer, version)
        dropped.append(version)
    return dropped
