"""Which sync holds the lease: what another one reports of it, and whether the sync of a Dagster run is still alive."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

import psycopg
from psycopg import errors

from flux_assets.ledger.leases import STALE_SECONDS, SYNC, Holder, holder
from flux_assets.postgis.session import Target
from flux_assets.sqlfiles import query
from flux_assets.sync.result import SyncOptions

# A run imports and signs in before it is seen in the database, and judges and draws once it has gone from there.
_BEFORE, _AFTER = timedelta(minutes=2), timedelta(minutes=4)


@dataclass(frozen=True, kw_only=True)
class _UnderWay:
    """The sync that holds the lease: which tables it was asked for, and its Dagster run where it has one."""

    tables: frozenset[str] = frozenset()
    run_id: str | None = None


def who_syncs(session: psycopg.Connection, schema: str) -> str:
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
    found = session.execute(query("sync", "under_way"), [schema, held.pid]).fetchall() if held else []
    return _UnderWay(tables=frozenset(name for name, _ in found), run_id=next((run_id for _, run_id in found), None))


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
        return session.execute(query("sync", "newest_of_run"), given).fetchone() or nothing
    except (errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName):
        return nothing  # no sync has ever come so far
