"""The state of every table, and audits of the published ones."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from psycopg import sql

from flux_assets.checks.audit import AuditResult, Case
from flux_assets.checks.audits import audits_of
from flux_assets.checks.live_audits import all_audits_of
from flux_assets.errors import LayerError
from flux_assets.layers.versions import Pin, Version
from flux_assets.ledger.status import TableStatus
from flux_assets.postgis.catalog import Relation, count_rows
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.relations import Layer, own_rows
from flux_assets.postgis.session import Target
from flux_assets.spec import DynamicTable, StaticTable
from flux_assets.spec.facts import Volume
from flux_assets.sqlfiles import query


def table_statuses(target: Target, tables: Sequence[StaticTable | DynamicTable]) -> list[TableStatus]:
    """Return the state of each table, in the order given. Raises TargetError when the database cannot be reached."""
    with target.session("status") as session:
        known = TableStatus.read(session, target.schema)
        return [known.get(table.name) or _unknown(table) for table in tables]


def layer_versions(target: Target, tables: Sequence[StaticTable]) -> list[tuple[str, Version]]:
    """Return each layer's versions that still have a table, the newest lease first."""
    with target.session("versions") as session:
        if not TableStatus.is_prepared(session):
            return []
        return [
            (table.name, version) for table in tables for version in Version.known(session, Layer(target.schema, table))
        ]


def live_audits(target: Target, table: StaticTable) -> tuple[AuditResult, ...]:
    """Return what the audits found of the version that readers see, before it was published."""
    with target.session("audits") as session:
        if not TableStatus.is_prepared(session):
            return ()
        version = Version.live(session, Layer(target.schema, table))
        return tuple(AuditResult.from_json(stored) for stored in version.audits) if version else ()


def layer_pins(target: Target) -> dict[str, Pin]:
    """Return the pins of the target's layers by name."""
    with target.session("pins") as session:
        if Relation.find(session, "postgres_sync", "layer_pins") is None:  # the ledger is of an earlier release
            return {}
        asking = query("versions", "pins").format(schema=sql.Literal(target.schema), name=sql.NULL)
        return {row[0]: Pin(*row) for row in session.execute(asking)}


def _unknown(table: StaticTable | DynamicTable) -> TableStatus:
    """Return the status of a declared table that no load or sync has told the database of."""
    if isinstance(table, DynamicTable):
        return TableStatus(table=table.name, kind="dynamic", state="not synced")
    return TableStatus(table=table.name, kind="static", state="never loaded")


def audit_live(
    table: StaticTable, target: Target, names: Collection[str] | None = None, stop: Stop | None = None
) -> tuple[AuditResult, ...]:
    """Run a layer's audits, or those named, on the published table. Raises LayerError when there is none."""
    layer, stop = Layer(target.schema, table), stop or Stop()
    with target.prepared(layer.title, f"audit {table.name}", stop) as session:
        relation = Relation.find(session, layer.schema, layer.name)
        if relation is None:
            raise LayerError(f"{layer.title} has not been published yet.", "Load it first.")
        current = Version.live(session, layer)
        registered = current.rows if current else None
        rows = own_rows(layer.public, relation.kind)
        # Counting takes a while of a large table, and only the audits of rows need it.
        counts = names is None or any(audit.name in names for audit in audits_of(table))
        case = Case(
            connection=session,
            layer=layer,
            relation=layer.public,
            rows=count_rows(session, rows) if counts or not registered else registered,
            promised_rows=registered,
            alone=relation.kind != "p",
            volume=target.volumes.get(table.name, Volume()),
        )
        wanted = [audit for audit in all_audits_of(table) if names is None or audit.name in names]
        found = tuple(audit.run(case) for audit in wanted)
        case.note_dropped_keys(found)
        return found
