"""Whether the sync of a Dagster run is still alive, as the target database has it: its ledger rows and its session."""

from __future__ import annotations

from datetime import timedelta

import psycopg
from psycopg import errors

from flux_assets.postgis.connect import Target
from flux_assets.postgis.leases import STALE_SECONDS, SYNC

# A run imports and signs in before it is seen in the database, and draws and checks once it has gone from there.
_MARGIN = timedelta(minutes=2)
_NEWEST = """
SELECT run.status = 'RUNNING',
       postgres_sync.is_alive(run.backend_pid, run.backend_start)
           AND coalesce(held.seen_at > clock_timestamp() - %(stale)s, true),
       clock_timestamp() - run.completed_at
FROM postgres_sync.sync_status AS run
LEFT JOIN postgres_sync.layer_leases AS held
    ON held.schema_name = run.schema_name AND held.layer_name = %(sync)s AND held.holder_pid = run.backend_pid
WHERE run.schema_name = %(schema)s AND run.run_id = %(run_id)s
ORDER BY run.sync_id DESC LIMIT 1
"""


def is_dead(target: Target, run_id: str, age: timedelta) -> bool:
    """Tell whether nothing will come any more of a run that was started `age` ago.

    Raises TargetError or psycopg.Error when the database does not say.
    """
    given = {"schema": target.schema, "run_id": run_id, "sync": SYNC, "stale": timedelta(seconds=STALE_SECONDS)}
    with target.session("schedule") as session:
        row = _row(session, given)
    if row is None:
        return age > _MARGIN
    running, alive, since = row
    return not alive if running else since > _MARGIN


def _row(session: psycopg.Connection, given: dict[str, object]) -> tuple[bool, bool, timedelta] | None:
    try:
        return session.execute(_NEWEST, given).fetchone()
    except (errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName):
        return None  # no sync has ever come so far
