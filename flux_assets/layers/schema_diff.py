"""What must change on a public table before a version of the present declaration fits under it, and what only its users
can decide.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import LiteralString

import psycopg
import sqlalchemy as sa
from psycopg import sql

from flux_assets.errors import LayerError, SchemaChangeError
from flux_assets.layers.context import VersionContext
from flux_assets.layers.takeover import Takeover
from flux_assets.layers.versions import LayerState, PublicTable
from flux_assets.ledger.runs import Lease
from flux_assets.postgis import relations
from flux_assets.postgis.catalog import LiveColumn, Relation, Shape, refuse_folding_keys
from flux_assets.postgis.relations import VERSIONS, Layer
from flux_assets.spec import StaticTable
from flux_assets.sqlfiles import query


@dataclass(frozen=True)
class Public:
    """The public table as found: its OID (None before the first publish) and accepted changes still to be made.

    The changes are made to a new version while it is empty, and to the public table while no version is attached.
    `taking` over is the plan for a plain table of the same name, which gives way at the swap.
    """

    oid: int | None
    changes: tuple[sql.Composable, ...] = ()
    taking: Takeover | None = None

    def altering(self, table: sql.Identifier) -> list[sql.Composed]:
        """Make the statements that make the changes to one of the tables."""
        return [sql.SQL("ALTER TABLE {} {}").format(table, change) for change in self.changes]


@dataclass(frozen=True)
class _Difference:
    added: list[sa.Column[object]]
    removed: list[LiveColumn]
    retyped: list[tuple[LiveColumn, sa.Column[object]]]
    required: list[sa.Column[object]]
    relaxed: list[sa.Column[object]]


def reconcile(context: VersionContext, state: LayerState, lease: Lease) -> Public:
    """Make the public table fit the declaration as far as that loses nothing.

    Adds declared columns to it and to every kept version, and declared plain indexes.
    Raises LayerError for a table that is not ours, SchemaChangeError for a removed or retyped column that was not
    accepted, with the views that read it, PublishError when the lease was overtaken.
    """
    connection, layer, public = context.control, context.layer, state.public
    if not (public and public.shape.is_partitioned):
        Takeover.discard_left_over(connection, layer)
    if public is None:
        # A table that was renamed by hand may have taken along what protects its rows.
        if old := Relation.find(connection, layer.schema, layer.old_name):
            old.refuse_unprotected_copy(LayerError, layer.title, layer.old_title)
        return Public(None)
    if public.shape.kind == "r" and context.options.take_over:
        return _taking_over(context, public.oid)
    _refuse_foreign(connection, layer, public)
    refuse_folding_keys(LayerError, layer.title, layer.table.key, public.shape.columns)
    difference = _difference(layer.table, public.shape)
    _refuse_change(context, public, difference)
    if difference.added:
        _add_columns(context, state, public, difference.added, lease)
    for index in layer.public_indexes:
        if not any(live.is_declared(index) for live in public.shape.indexes):
            connection.execute(relations.create_index(layer.public, index))  # blocks no reader
    return Public(public.oid, _changes(difference, relax=context.options.accept_schema_change))


def _taking_over(context: VersionContext, oid: int) -> Public:
    plan = Takeover.planned(context.control, context.layer, oid, context.options)
    if refusal := plan.refusal():
        raise refusal
    plan.announce(context.log)
    return Public(None, changes=plan.changes, taking=plan)


def _refuse_foreign(connection: psycopg.Connection, layer: Layer, public: PublicTable) -> None:
    relation = Relation(connection, public.oid, public.shape.kind)
    if not public.shape.is_partitioned:
        take_over = (
            f"Run `flux-assets adopt {layer.name}`, or load with take_over: true: once the new table is ready, this one"
            f" becomes {layer.old_name}, with all its rows, and what hangs on it comes along."
        )
        by_hand = f"Rename it to {layer.old_name} and load again."
        raise LayerError(
            f"{layer.title} is {relation.kind_in_words} that flux_assets did not make; it is left as it is.",
            take_over if relation.kind == "r" else by_hand,
        )
    strategy, table = public.partitioning, layer.table
    expected = (table.key or table.column_names)[0]
    if strategy != ["l", expected]:
        raise LayerError(
            f"{layer.title} is partitioned by {strategy and strategy[1]}, where flux_assets expects LIST ({expected}).",
            f"Rename it (ALTER TABLE {layer.title} RENAME TO {layer.old_name}) and load again.",
        )
    if (key := tuple(public.primary_key)) != table.key:
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


def _changes(difference: _Difference, *, relax: bool) -> tuple[sql.Composed, ...]:
    """Return what comes after ALTER TABLE for each change. The tables are empty where this runs.

    So a USING clause converts nothing and only has to be accepted. A NOT NULL that is not declared may be a user's own:
    it stands unless the change is accepted, which is to `relax` it.
    """

    def each(clause: LiteralString, columns: Iterable[LiveColumn | sa.Column[object]]) -> list[sql.Composed]:
        return [sql.SQL(clause).format(sql.Identifier(column.name)) for column in columns]

    retyping = sql.SQL("ALTER COLUMN {} TYPE {kind} USING NULL::{kind}")
    return (
        *each("DROP COLUMN IF EXISTS {}", difference.removed),
        *(
            retyping.format(sql.Identifier(ours.name), kind=sql.SQL(relations.type_name(ours)))
            for _, ours in difference.retyped
        ),
        *each("ALTER COLUMN {} SET NOT NULL", difference.required),
        *each("ALTER COLUMN {} SET NOT NULL", (column for column in difference.added if not column.nullable)),
        *each("ALTER COLUMN {} DROP NOT NULL", difference.relaxed if relax else ()),
    )


def _refuse_change(context: VersionContext, public: PublicTable, difference: _Difference) -> None:
    """Raise SchemaChangeError for removed or retyped columns: nobody accepted that, or it cannot be done."""
    layer = context.layer
    touched = [column.name for column in difference.removed] + [theirs.name for theirs, _ in difference.retyped]
    if not touched:
        return
    changes = [f"column {column.name} ({column.type}) is no longer declared" for column in difference.removed]
    changes += [
        f"column {theirs.name} is {theirs.type} and declared as {relations.type_name(ours)}"
        for theirs, ours in difference.retyped
    ]
    changed = f"{layer.title}: {'; '.join(changes)}."
    asked = query("catalog", "dependent_views"), [public.oid, public.oid, public.oid, touched]
    views = [name for (name,) in context.control.execute(*asked)]
    reading = f" Views read it: {', '.join(views)}." if views else ""
    key = public.partitioning[1] if public.partitioning else None
    if key in touched:
        raise SchemaChangeError(
            f"{changed} {key} is the partition key, which PostgreSQL cannot change.{reading}",
            f"Rename the table (ALTER TABLE {layer.title} RENAME TO {layer.old_name}) and load again.",
        )
    if views:
        raise SchemaChangeError(
            f"{changed}{reading}",
            "Change or drop those views first; flux_assets never drops what others made. Then load with"
            " accept_schema_change: true.",
        )
    if not context.options.accept_schema_change:
        raise SchemaChangeError(
            changed,
            "Load with accept_schema_change: true to change the public table when the new version is published;"
            " versions kept from before can then no longer be rolled back to.",
        )


def _add_columns(
    context: VersionContext, state: LayerState, public: PublicTable, added: list[sa.Column[object]], lease: Lease
) -> None:
    layer = context.layer
    earlier = (version.table for version in state.versions if not version.current)
    statement = sql.SQL("ALTER TABLE IF EXISTS {} {}")
    column = sql.SQL("ADD COLUMN IF NOT EXISTS {} {}")
    columns = sql.SQL(", ").join(
        column.format(sql.Identifier(each.name), sql.SQL(relations.type_name(each))) for each in added
    )
    script = [lease.holding(), *(statement.format(table, columns) for table in (layer.public, *earlier))]
    doing = f"adding columns to {layer.title}"
    try:
        context.patience.briefly(context.control, lambda: script, waiting_for=[public.oid], doing=doing)
    except psycopg.Error as error:
        if overtaken := Lease.overtaken(error, layer.title):
            raise overtaken from error
        raise
