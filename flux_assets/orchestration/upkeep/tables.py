"""What Dagster's API does not remove from its PostgreSQL storage, removed by SQL: no other module knows its tables.

Each statement deletes what is left over at the time, so that the next upkeep continues one that was interrupted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import cast

import dagster as dg
import sqlalchemy as sa
from dagster_postgres import PostgresEventLogStorage

# Revisions of Dagster's schema that these statements were written for.
REVISIONS = frozenset({"29b539ebc72a"})
TABLES = ("runs", "run_tags", "event_logs", "asset_event_tags", "asset_check_executions", "job_ticks", "asset_keys")
_BATCH = 5_000
_RUN_IS_GONE = "run_id <> '' AND NOT EXISTS (SELECT FROM runs WHERE runs.run_id = leftover.run_id)"
# The newest of each kind stays, whoever it belongs to: the UI, the freshness daemon and our own steps look it up.
_NEWEST_CHECKS = "SELECT max(id) FROM asset_check_executions GROUP BY asset_key, check_name, execution_status"
_NEWEST_RUNLESS = "SELECT max(id) FROM event_logs WHERE run_id = '' GROUP BY asset_key, dagster_event_type"
_LEFTOVERS = {
    "check evaluations": (
        "asset_check_executions",
        f"({_RUN_IS_GONE} OR run_id = '' AND create_timestamp < :before) AND id NOT IN ({_NEWEST_CHECKS})",
    ),
    # Where a deletion was interrupted between the run and its events.
    "events of deleted runs": ("event_logs", f"{_RUN_IS_GONE} AND timestamp < :before"),
    "events of no run": ("event_logs", f"run_id = '' AND timestamp < :before AND id NOT IN ({_NEWEST_RUNLESS})"),
    "tags of events": (
        "asset_event_tags",
        "NOT EXISTS (SELECT FROM event_logs WHERE event_logs.id = leftover.event_id)",
    ),
    "ticks": (
        "job_ticks",
        "timestamp < :before AND NOT EXISTS"
        " (SELECT FROM instigators WHERE instigators.selector_id = leftover.selector_id)",
    ),
}


def is_known(instance: dg.DagsterInstance) -> bool:
    """Return whether the instance keeps its history in PostgreSQL, in tables of a form that this module knows."""
    return isinstance(instance.event_log_storage, PostgresEventLogStorage) and revision(instance) in REVISIONS


def revision(instance: dg.DagsterInstance) -> str | None:
    """Return the revision of the storage's schema; None where it has none."""
    found, _heads = instance.event_log_storage.alembic_version() or (None, None)
    return found


def runs_of_latest_checks(instance: dg.DagsterInstance) -> frozenset[str]:
    """Return the runs with the latest evaluation of a check: the UI leads from the check to its run."""
    with _connected(instance) as connection:
        query = f"SELECT DISTINCT run_id FROM asset_check_executions WHERE id IN ({_NEWEST_CHECKS})"  # noqa: S608
        return frozenset(connection.execute(sa.text(query)).scalars())


def remove_leftovers(instance: dg.DagsterInstance, before: datetime) -> Mapping[str, int]:
    """Delete what belongs to no run any more, in batches; the number of rows by kind. `before` is aware."""
    with _connected(instance) as connection:
        naive = before.astimezone(UTC).replace(tzinfo=None)
        return {kind: sum(_deleted(connection, *what, naive)) for kind, what in _LEFTOVERS.items()}


def vacuum(instance: dg.DagsterInstance) -> None:
    """Free the space of deleted rows for new ones; it blocks nothing, and files keep their size."""
    with _connected(instance) as connection:
        for table in TABLES:
            connection.execute(sa.text(f"VACUUM (ANALYZE) {table}"))


def size(instance: dg.DagsterInstance) -> int:
    """Return the bytes of the storage's database."""
    with _connected(instance) as connection:
        return int(connection.execute(sa.text("SELECT pg_database_size(current_database())")).scalar_one())


@contextmanager
def _connected(instance: dg.DagsterInstance) -> Iterator[sa.Connection]:
    """Open a session in which each statement is a transaction of its own, as the storage opens them."""
    with cast("PostgresEventLogStorage", instance.event_log_storage).index_connection() as connection:
        yield connection


def _deleted(connection: sa.Connection, table: str, condition: str, before: datetime) -> Iterator[int]:
    """Yield row counts of batch after batch, until one is not full."""
    statement = sa.text(
        f"DELETE FROM {table} WHERE id IN"  # noqa: S608 - constants of this module
        f" (SELECT id FROM {table} AS leftover WHERE {condition} LIMIT {_BATCH})"
    )
    given = {"before": before} if ":before" in condition else {}
    while True:
        count = connection.execute(statement, given).rowcount
        yield count
        if count < _BATCH:
            return
