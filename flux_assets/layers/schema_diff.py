"""What must change on a public table before a version of the present declaration fits under it, and what only its users
can decide.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import psycopg
import sqlalchemy as sa
from psycopg import sql

from flux_assets.errors import LayerError, SchemaChangeError
from flux_assets.layers import takeover
from flux_assets.layers.versions import LayerState, PublicTable
from flux_assets.ledger.leases import Lease, overtaken, overtaken_error
from flux_assets.ledger.status import foreign_kind
from flux_assets.postgis import catalog, relations
from flux_assets.postgis.catalog import LiveColumn, Shape, refuse_folding_keys, refuse_unprotected_copy
from flux_assets.postgis.locking import LockRetries, briefly
from flux_assets.postgis.relations import PARTITIONED, VERSIONS, Layer, version_table
from flux_assets.postgis.session import run
from flux_assets.spec import StaticTable
from flux_assets.sqlfiles import query

Change = Callable[[sql.Identifier], sql.Composed]


@dataclass(frozen=True)
class Public:
    """The public table as found: its OID (None before the first publish) and accepted changes still to be made.

    The changes are made to a new version while it is empty, and to the public table while no version is attached.
    `plain_oid` is a plain table of the same name that gives way at the swap.
    """

    oid: int | None
    changes: tuple[Change, ...] = ()
    plain_oid: int | None = None


@dataclass(frozen=True)
class _Difference:
    added: list[sa.Column[object]]
    removed: list[LiveColumn]
    retyped: list[tuple[LiveColumn, sa.Column[object]]]
    required: list[sa.Column[object]]
    relaxed: list[sa.Column[object]]


def reconcile(  # noqa: PLR0913 - what every step needs, and what may be asked of it
    connection: psycopg.Connection,
    layer: Layer,
    state: LayerState,
    lease: Lease,
    patience: LockRetries,
    *,
    accept_change: bool = False,
    take_over: bool = False,
) -> Public:
    """Make the public table fit the declaration as far as that loses nothing.

    Adds declared columns to it and to every kept version, and declared plain indexes.
    Raises LayerError for a table that is not ours, SchemaChangeError for a removed or retyped column that was not
    accepted, with the views that read it, PublishError when the lease was overtaken.
    """
    public = state.public
    if public is None:
        _refuse_unprotected(connection, layer)
        return Public(None)
    if public.shape.kind == "r" and take_over:
        takeover.announce(connection, layer, public.oid, patience.log)
        return Public(None, plain_oid=public.oid)
    _refuse_foreign(connection, layer, public)
    refuse_folding_keys(LayerError, layer.title, layer.table.key, public.shape.columns)
    difference = _difference(layer.table, public.shape)
    changes = _accepted_changes(connection, layer, public, difference, accept_change=accept_change)
    if difference.added:
        _add_columns(connection, layer, state, difference.added, lease, patience)
    _add_plain_indexes(connection, layer, public.shape)
    return Public(public.oid, changes)


def keeps_declared_columns(layer: Layer, state: LayerState) -> bool:
    """Tell whether the public table still has every declared column with its type, whatever else users added."""
    if state.public is None:
        return False
    difference = _difference(layer.table, state.public.shape)
    return not difference.added and not difference.retyped


def has_columns(connection: psycopg.Connection, layer: Layer, relation: str, state: LayerState) -> bool:
    """Tell whether a version made earlier has the columns that the public table will have once it is attached."""
    found = catalog.find(connection, VERSIONS, relation)
    wanted: dict[str, tuple[str, str | None]] = {c.name: (relations.type_name(c), None) for c in layer.table.columns}
    if state.public is not None and state.public.shape.kind == PARTITIONED:
        there = state.public.shape.columns
        wanted |= {c.name: (c.bare_type, c.collation) for c in there if c.generated}
        wanted |= {c.name: (wanted[c.name][0], c.collation) for c in there if c.name in wanted}
    if found is None:
        return False
    return wanted == {c.name: (c.bare_type, c.collation) for c in catalog.columns(connection, found.oid)}


def refresh_comments(connection: psycopg.Connection, layer: Layer, state: LayerState) -> None:
    """Bring the public table's comments up to date, touching only those that differ; a new table has them."""
    public = state.public
    if public is None or public.shape.kind != PARTITIONED:
        return
    live: dict[str | None, str | None] = {column.name: column.comment for column in public.shape.columns}
    live[None] = public.comment
    wanted: dict[str | None, str | None] = {None: layer.table.description}
    wanted |= {column.name: column.comment for column in layer.table.columns}
    statements = zip(wanted, layer.comments(), strict=True)
    if outdated := [statement for name, statement in statements if live.get(name) != wanted[name]]:
        run(connection, outdated)


def _refuse_unprotected(connection: psycopg.Connection, layer: Layer) -> None:
    """Raise LayerError where a table that was renamed by hand took along what protects its rows."""
    if old := catalog.find(connection, layer.schema, layer.old_name):
        refuse_unprotected_copy(LayerError, connection, layer.title, layer.old_title, old.oid)


def _refuse_foreign(connection: psycopg.Connection, layer: Layer, public: PublicTable) -> None:
    kind = public.shape.kind
    if kind == "r":
        refuse_unprotected_copy(LayerError, connection, layer.title, layer.title, public.oid)
    if kind != PARTITIONED:
        take_over = (
            f"Load with take_over: true: once the new table is ready, this one becomes {layer.old_name}, with"
            " all its rows, and its grants are repeated."
        )
        by_hand = f"Rename it to {layer.old_name} and load again."
        raise LayerError(
            f"{layer.title} is {foreign_kind(kind)} that flux_assets did not make; it is left as it is.",
            take_over if kind == "r" else by_hand,
        )
    strategy, table = public.partitioning, layer.table
    expected = (table.key or table.column_names)[0]
    if strategy != ("l", expected):
        raise LayerError(
            f"{layer.title} is partitioned by {strategy and strategy[1]}, where flux_assets expects LIST ({expected}).",
            f"Rename it (ALTER TABLE {layer.title} RENAME TO {layer.old_name}) and load again.",
        )
    if (key := public.primary_key) != table.key:
        raise LayerError(
            f"{layer.title} has the primary key ({', '.join(key)}), where ({', '.join(table.key)}) is declared.",
            f"Rename it (ALTER TABLE {layer.title} RENAME TO {layer.old_name}) and load again.",
        )
    found, default = public.partitions, public.default_partition
    if len(found) > 1 or (found and (default is None or default[0] != VERSIONS)):
        raise LayerError(
            f"{layer.title} has partitions that flux_assets did not make: {', '.join(found)}.",
            "Detach them; a layer is one version under a DEFAULT partition.",
        )
    if keys := public.inbound_keys:
        raise LayerError(
            f"Foreign keys point at {layer.title}, so no version can be swapped out: {', '.join(keys)}.",
            "Drop them; the audit `relationships` judges references without blocking a publish.",
        )


def _difference(table: StaticTable, public: Shape) -> _Difference:
    live = {column.name: column for column in public.columns}
    shared = [(live[column.name], column) for column in table.columns if column.name in live]
    return _Difference(
        added=[column for column in table.columns if column.name not in live],
        removed=[column for name, column in live.items() if name not in table.column_names and not column.generated],
        retyped=[pair for pair in shared if pair[0].bare_type != relations.type_name(pair[1])],
        required=[ours for theirs, ours in shared if not ours.nullable and not theirs.not_null],
        relaxed=[ours for theirs, ours in shared if ours.nullable and theirs.not_null],
    )


def _accepted_changes(
    connection: psycopg.Connection, layer: Layer, public: PublicTable, difference: _Difference, *, accept_change: bool
) -> tuple[Change, ...]:
    touched = [column.name for column in difference.removed] + [theirs.name for theirs, _ in difference.retyped]
    said = [f"column {column.name} ({column.type}) is no longer declared" for column in difference.removed]
    said += [
        f"column {theirs.name} is {theirs.type} and declared as {relations.type_name(ours)}"
        for theirs, ours in difference.retyped
    ]
    if said:
        _refuse_change(connection, layer, public, touched, "; ".join(said), accept_change=accept_change)
    return (
        *(_dropping(column.name) for column in difference.removed),
        *(_retyping(ours) for _, ours in difference.retyped),
        *(_requiring(column.name) for column in difference.required),
        *(_requiring(column.name) for column in difference.added if not column.nullable),
        # A NOT NULL that is not declared may be a user's own: it stands unless the change is accepted.
        *(_relaxing(column.name) for column in difference.relaxed if accept_change),
    )


def _refuse_change(
    connection: psycopg.Connection,
    layer: Layer,
    public: PublicTable,
    touched: list[str],
    said: str,
    *,
    accept_change: bool,
) -> None:
    asked = query("catalog", "dependent_views"), [public.oid, public.oid, public.oid, touched]
    views = [name for (name,) in connection.execute(*asked)]
    partition = public.partitioning
    reading = f" Views read it: {', '.join(views)}." if views else ""
    if partition and partition[1] in touched:
        raise SchemaChangeError(
            f"{layer.title}: {said}. {partition[1]} is the partition key, which PostgreSQL cannot change.{reading}",
            f"Rename the table (ALTER TABLE {layer.title} RENAME TO {layer.old_name}) and load again.",
        )
    if views:
        raise SchemaChangeError(
            f"{layer.title}: {said}.{reading}",
            "Change or drop those views first; flux_assets never drops what others made. Then load with"
            " accept_schema_change: true.",
        )
    if not accept_change:
        raise SchemaChangeError(
            f"{layer.title}: {said}.",
            "Load with accept_schema_change: true to change the public table when the new version is published;"
            " versions kept from before can then no longer be rolled back to.",
        )


def _dropping(name: str) -> Change:
    return lambda on: sql.SQL("ALTER TABLE {} DROP COLUMN IF EXISTS {}").format(on, sql.Identifier(name))


def _retyping(column: sa.Column[object]) -> Change:
    # Both tables are empty where this runs: the USING clause converts nothing and only has to be accepted.
    statement = "ALTER TABLE {{}} ALTER COLUMN {{}} TYPE {kind} USING NULL::{kind}".format(
        kind=relations.type_name(column)
    )
    return lambda on: sql.SQL(statement).format(on, sql.Identifier(column.name))


def _requiring(name: str) -> Change:
    return lambda on: sql.SQL("ALTER TABLE {} ALTER COLUMN {} SET NOT NULL").format(on, sql.Identifier(name))


def _relaxing(name: str) -> Change:
    return lambda on: sql.SQL("ALTER TABLE {} ALTER COLUMN {} DROP NOT NULL").format(on, sql.Identifier(name))


def _add_columns(
    connection: psycopg.Connection,
    layer: Layer,
    state: LayerState,
    added: list[sa.Column[object]],
    lease: Lease,
    patience: LockRetries,
) -> None:
    kept = [version for version in state.versions if not version.current]
    waiting_for = [state.public.oid] if state.public else []
    tables = [layer.public, *(version_table(version.relation) for version in kept)]

    statement = sql.SQL("ALTER TABLE IF EXISTS {} {}")
    columns = sql.SQL(", ").join(
        sql.SQL("ADD COLUMN IF NOT EXISTS {} {}").format(
            sql.Identifier(column.name), sql.SQL(relations.type_name(column))
        )
        for column in added
    )
    script = [lease.holding(), *(statement.format(table, columns) for table in tables)]
    try:
        briefly(connection, lambda: script, patience, waiting_for=waiting_for, doing=f"adding columns to {layer.title}")
    except psycopg.Error as error:
        if overtaken(error):
            raise overtaken_error(layer.title) from error
        raise


def _add_plain_indexes(connection: psycopg.Connection, layer: Layer, public: Shape) -> None:
    """Add the declared plain indexes that the public table lacks; readers are not blocked while they are built."""
    for index in layer.public_indexes:
        if not any(live.is_declared(index) for live in public.indexes):
            connection.execute(relations.create_index(layer.public, index))
