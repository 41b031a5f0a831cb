"""Whether the sync of a Dagster run is still alive, as the target database has it: its ledger rows and its session."""

from __future__ import annotations

from datetime import timedelta

import psycopg
from psycopg import errors

from flux_assets.ledger.leases import STALE_SECONDS, SYNC
from flux_assets.postgis.connect import Target

# A run imports and signs in before it is seen in the database, and judges and draws once it has gone from there.
_BEFORE, _AFTER = timedelta(minutes=2), timedelta(minutes=4)
_NEWEST = """
SELECT held.alive, run.status = 'RUNNING', run.is_holder, clock_timestamp() - run.completed_at
FROM (SELECT coalesce(bool_or(postgres_sync.is_alive(holder_pid, holder_start)
                              AND seen_at > clock_timestamp() - %(stale)s), false) AS alive
      FROM postgres_sync.layer_leases
      WHERE schema_name = %(schema)s AND layer_name = %(sync)s AND holder_pid IS NOT NULL) AS held
LEFT JOIN LATERAL (
    SELECT entry.status, entry.completed_at, holder.lease IS NOT NULL AS is_holder
    FROM postgres_sync.sync_status AS entry
    LEFT JOIN postgres_sync.layer_leases AS holder
        ON holder.schema_name = entry.schema_name AND holder.layer_name = %(sync)s
        AND (holder.holder_pid, holder.holder_start) = (entry.backend_pid, entry.backend_start)
    WHERE entry.schema_name = %(schema)s AND entry.run_id = %(run_id)s
    ORDER BY entry.sync_id DESC LIMIT 1) AS run ON true
"""


def is_dead(target: Target, run_id: str, age: timedelta, *, is_ours: bool) -> bool:
    """Tell whether nothing will come any more of a run that was started `age` ago.

    A sync that holds the lease, and gives signs of life, may be this run's, also before its rows are in the ledger.
    Where it is not sure that the run `is_ours`, only what the ledger knows of it counts. Raises TargetError or
    psycopg.Error when the database does not say.
    """
    given = {"schema": target.schema, "run_id": run_id, "sync": SYNC, "stale": timedelta(seconds=STALE_SECONDS)}
    with target.session("schedule") as session:
        is_held, is_running, is_holder, since = _row(session, given)
    if is_running is None:
        return is_ours and age > _BEFORE and not is_held
    if is_running:
        return not (is_held and is_holder)
    return since is None or since > _AFTER


def _row(
    session: psycopg.Connection, given: dict[str, object]
) -> tuple[bool, bool | None, bool | None, timedelta | None]:
    nothing = False, None, None, None
    try:
        return session.execute(_NEWEST, given).fetchone() or nothing
    except (errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName):
        return nothing  # no sync has ever come so far
