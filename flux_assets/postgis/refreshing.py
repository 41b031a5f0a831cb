"""Refreshing the materialized views that read published tables, once these have changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic, sleep

import psycopg
from psycopg import errors, sql

from flux_assets.errors import reported
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.locking import LockHolder
from flux_assets.postgis.relations import PublicTable
from flux_assets.postgis.session import LOCK_TIMEOUT_MS, run
from flux_assets.sqlfiles import query

_SECONDS, _PAUSE_SECONDS = 10.0, 0.3
# Who waits to refresh concurrently keeps no reader waiting; who waits to refresh otherwise keeps every later one.
_PATIENCE_MS = {True: round(_SECONDS * 1000), False: LOCK_TIMEOUT_MS}


def refresh_views(
    session: psycopg.Connection,
    tables: Sequence[PublicTable],
    log: Callable[[str], None],
    warn: Callable[[str], None],
    stop: Stop,
) -> None:
    """Refresh the materialized views that read these tables of a schema, concurrently where they have a unique index.

    Of one that cannot be refreshed it is said to `warn` why: the tables have changed all the same. One without a unique
    index is tried again and again while it is being read, so that no reader waits for a refresh that has not begun.
    """
    asked = query("publish", "materialized_views").format(
        schema=tables[0].schema, names=[table.name for table in tables]
    )
    for oid, schema, name, is_ours, has_key in session.execute(asked).fetchall():
        title = f"materialized view {schema}.{name}"
        if not is_ours:
            warn(f"{title} is as old as its last REFRESH, for it belongs to somebody else")
            continue
        how = sql.SQL("CONCURRENTLY " if has_key else "")
        statements = [
            sql.SQL("BEGIN; SET LOCAL lock_timeout = {}").format(f"{_PATIENCE_MS[has_key]}ms"),
            sql.SQL("REFRESH MATERIALIZED VIEW {}{}").format(how, sql.Identifier(schema, name)),
            sql.SQL("COMMIT"),
        ]
        if reason := _refused(session, statements, oid, stop):
            warn(f"{title} could not be refreshed: {reason}")
        else:
            log(f"{title} is refreshed")


def _refused(session: psycopg.Connection, statements: Sequence[sql.Composable], oid: int, stop: Stop) -> str:
    """Run the statements, again where the view is locked; returns why they were refused at last, if they were."""
    deadline = monotonic() + _SECONDS
    while True:
        try:
            run(session, statements)
        except psycopg.Error as error:
            if session.closed or session.broken:
                raise
            session.execute("ROLLBACK")
            if not isinstance(error, errors.LockNotAvailable):
                return reported(error)
            if monotonic() >= deadline or stop.asked:
                return f"it is read by {'; '.join(map(str, LockHolder.find(session, [oid]))) or LockHolder.GONE}"
            sleep(_PAUSE_SECONDS)
        else:
            return ""
