"""Auditing the published table, on demand.

Here: the case that the live table makes. Not here: the audits (postgis/audits.py), and auditing what is staged
(candidate.py).
"""

from __future__ import annotations

from collections.abc import Collection

from flux_assets.checks import audits
from flux_assets.checks.audit import AuditResult, Case
from flux_assets.errors import LayerError
from flux_assets.layers import versions
from flux_assets.postgis import catalog
from flux_assets.postgis.bootstrap import prepare
from flux_assets.postgis.connect import Stop, Target
from flux_assets.postgis.errors import translated
from flux_assets.postgis.names import PARTITIONED, Layer, own_rows_by_kind
from flux_assets.spec import StaticTable


def audit_live(
    table: StaticTable, target: Target, names: Collection[str] | None = None, stop: Stop | None = None
) -> tuple[AuditResult, ...]:
    """Run a layer's audits, or those named, on the published table. Raises LayerError when there is none."""
    layer, stop = Layer(target.schema, table), stop or Stop()
    with translated(layer, stop), target.session(f"audit {table.name}", stop) as session:
        prepare(session, target.schema)
        relation = catalog.find(session, layer.schema, layer.name)
        if relation is None:
            raise LayerError(f"{layer.title} has not been published yet.", "Load it first.")
        current = versions.live_version(session, layer)
        registered = current.rows if current else None
        rows = own_rows_by_kind(layer.public, relation.kind)
        case = Case(
            connection=session,
            layer=layer,
            relation=layer.public,
            rows=registered if _none_counts(table, names) and registered else catalog.count_rows(session, rows),
            promised_rows=registered,
            alone=relation.kind != PARTITIONED,
        )
        return audits.run_live_audits(case, names)


def _none_counts(table: StaticTable, names: Collection[str] | None) -> bool:
    """Whether none of the audits asked for needs the rows counted: that takes a while of a large table."""
    return names is not None and not {audit.name for audit in audits.audits_of(table)} & set(names)
