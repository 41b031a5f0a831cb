"""What a sync says that did not get the lease: who has it, what was not done, and what has to be asked again."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import psycopg

from flux_assets.ledger.leases import SYNC, Holder, holder
from flux_assets.sync.result import SyncOptions

# The newest rows of the process: an earlier one of the same number may have died.
_UNDER_WAY = """
SELECT DISTINCT ON (layer_name) layer_name, run_id FROM postgres_sync.sync_status
WHERE schema_name = %s AND status = 'RUNNING' AND backend_pid = %s
  AND postgres_sync.is_alive(backend_pid, backend_start)
ORDER BY layer_name, sync_id DESC
"""


@dataclass(frozen=True, kw_only=True)
class _UnderWay:
    """The sync that holds the lease: which tables it was asked for, and its Dagster run where it has one."""

    tables: frozenset[str] = frozenset()
    run_id: str | None = None


def busy(session: psycopg.Connection, schema: str) -> str:
    """Say who holds the lease of all syncs into the schema."""
    held = holder(session, schema, SYNC)
    return _busy(schema, held, _under_way(session, schema, held))


def describe_busy(session: psycopg.Connection, schema: str, wanted: Collection[str], options: SyncOptions) -> str:
    """Say who holds the lease, that nothing of what was asked for was done, and what of it has to be asked again."""
    held = holder(session, schema, SYNC)
    under_way = _under_way(session, schema, held)
    said = f"{_busy(schema, held, under_way)} Nothing that was asked for here was done"
    if options.once:
        return f"{said}, and {' and '.join(options.once)} will not be kept: ask again when that sync has ended."
    if left := sorted(set(wanted) - under_way.tables):
        return f"{said}; {', '.join(left)} follow with the next tick, or when asked for again."
    return f"{said}: that sync brings the same tables up to date."


def _busy(schema: str, held: Holder | None, under_way: _UnderWay) -> str:
    of_run = f", of Dagster run {under_way.run_id}" if under_way.run_id else ""
    return f"Another sync into schema {schema} is running: {held or 'a process that has just ended'}{of_run}."


def _under_way(session: psycopg.Connection, schema: str, held: Holder | None) -> _UnderWay:
    """Nothing before that sync has noted what it is about."""
    found = session.execute(_UNDER_WAY, [schema, held.pid]).fetchall() if held else []
    return _UnderWay(tables=frozenset(name for name, _ in found), run_id=next((run_id for _, run_id in found), None))
