"""The state of every table: which version is live, since when, and whether it can be trusted.

Here: one row for each declared table, also one that the database does not know, and ages in words. Not here: the
judgement (view postgres_sync.v_table_status), reading it (postgis/overview.py) and showing it (console/shown.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from flux_assets.checks.audit import AuditResult
from flux_assets.layers import pins, versions
from flux_assets.layers.pins import Pin
from flux_assets.layers.versions import Version
from flux_assets.ledger import status
from flux_assets.ledger.status import TableStatus
from flux_assets.postgis.connect import Target
from flux_assets.postgis.names import Layer
from flux_assets.spec import DynamicTable, StaticTable


def table_statuses(target: Target, tables: Sequence[StaticTable | DynamicTable]) -> list[TableStatus]:
    """The state of each table, in the order given. Raises TargetError when the database cannot be reached."""
    with target.session("status") as session:
        known = status.statuses(session, target.schema)
        return [known.get(table.name) or _unknown(table) for table in tables]


def layer_versions(target: Target, tables: Sequence[StaticTable]) -> list[tuple[str, Version]]:
    """Each layer's versions that still have a table, the newest lease first."""
    with target.session("versions") as session:
        if not status.is_prepared(session):
            return []
        return [
            (table.name, version)
            for table in tables
            for version in versions.versions(session, Layer(target.schema, table))
        ]


def live_audits(target: Target, table: StaticTable) -> tuple[AuditResult, ...]:
    """What the audits found of the version that readers see, before it was published; nothing where there is none."""
    with target.session("audits") as session:
        if not status.is_prepared(session):
            return ()
        version = versions.live_version(session, Layer(target.schema, table))
        return tuple(AuditResult.from_json(stored) for stored in version.audits) if version else ()


def layer_pins(target: Target) -> dict[str, Pin]:
    """The pins of the target's layers by name."""
    with target.session("pins") as session:
        return pins.pins(session, target.schema)


def _unknown(table: StaticTable | DynamicTable) -> TableStatus:
    """Declared, and no load or sync has told the database of it."""
    if isinstance(table, DynamicTable):
        return TableStatus(table=table.name, kind="dynamic", state="not synced")
    return TableStatus(table=table.name, kind="static", state="never loaded")
