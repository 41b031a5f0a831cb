"""Dynamic tables compared with Snowflake's own rows as of the last sync, computed columns included.

Where the source cannot be read as of that instant, it is read as it is now, and a difference proves less.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import psycopg
from psycopg import sql

from flux_assets.checks.audit import AuditResult, Numbers
from flux_assets.compare import match
from flux_assets.compare.match import MATCHES_SOURCE, Comparison, Match, judged
from flux_assets.errors import FluxError, SyncError
from flux_assets.postgis import relations
from flux_assets.postgis.errors import translate_error
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.relations import LiveTable
from flux_assets.postgis.session import Target
from flux_assets.snowflake.source import Source
from flux_assets.sqlfiles import query
from flux_assets.sync import gate
from flux_assets.sync.derived_columns import wanted_rows
from flux_assets.sync.diff import TableMerge
from flux_assets.sync.gate import LastSync
from flux_assets.sync.reader import OpenSource, Snapshot
from flux_assets.sync.setup import TableSetup
from flux_assets.sync.table import Family, TableState

_ATTEMPTS = 3
_WRITTEN = "rows here were written by others"
_LATER = "Not so, which the next sync may fix: sync the table and run the check again."
_BY_OTHERS = "Not so: somebody wrote to the table since the last sync. The next one fixes it."
_UNEXPLAINED = (
    "Not so, and nothing that happened since the last sync explains it. Sync it with force: true and run the check"
    " again; report it if the difference remains."
)


@dataclass(frozen=True, kw_only=True)
class _Context:
    session: psycopg.Connection
    source: Source
    family: Family
    schema: str
    stop: Stop
    log: Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class _State:
    """A table as a sync would find it now, what the last one left, and the source's instant of then."""

    table: TableState
    last: LastSync
    checked_at: datetime


@dataclass(frozen=True, kw_only=True)
class _Read:
    """The source's rows, by which mapping (a digest), and whether they are those of the instant that was asked for."""

    snapshot: Snapshot
    mapping: str
    as_of: bool


def match_source(
    wanted: Collection[str],
    family: Family,
    open_source: OpenSource,
    target: Target,
    stop: Stop,
    log: Callable[[str], None],
) -> Iterator[tuple[str, AuditResult | FluxError]]:
    """Compare the `wanted` tables of a family with their sources, in one session of either end.

    Yields each table's name with what was found, or why it could not be compared. Raises TargetError or WarehouseError
    when an end is unavailable, SyncError when stopped.
    """
    with open_source() as source, match.comparing(target, "source", stop) as session:
        context = _Context(session=session, source=source, family=family, schema=target.schema, stop=stop, log=log)
        for table in family.tables:
            if table.name in wanted:
                yield table.name, _outcome(context, LiveTable(target.schema, table))


def _outcome(context: _Context, live: LiveTable) -> AuditResult | FluxError:
    """Compare one table; return what goes wrong with it or its source, so that the others are compared all the same."""
    try:
        return _compared(context, live)
    except (FluxError, psycopg.Error) as error:
        reported = (
            error if isinstance(error, FluxError) else translate_error(live.title, error, context.stop, SyncError)
        )
        if context.stop.asked or context.session.closed or context.session.broken:
            raise reported from error
        explained = None if isinstance(error, FluxError) else TableSetup(context.session, live).explanation(error)
        return explained or reported


def _compared(context: _Context, live: LiveTable) -> AuditResult:
    for _ in range(_ATTEMPTS):
        if context.stop.asked:
            raise SyncError(f"{live.title}: stopped on request; nothing was changed.")
        state = _state(context, live)
        read = context.source.retrying(partial(_read, context, live, state))
        try:
            found = _judged(context, live, state, read)
        finally:
            read.snapshot.close()
        if found is not None:
            return found
        context.log(f"{live.title} was synced meanwhile; its source is read again.")
    raise SyncError(f"{live.title} was synced {_ATTEMPTS} times while it was compared.", "Run the check again.")


def _state(context: _Context, live: LiveTable) -> _State:
    target = gate.TargetState.read(context.session, context.schema, context.family.tables)
    last = target.last.get(live.name)
    if last is None or live.name not in target.kinds:
        raise TableSetup(context.session, live).absent(synced=last is not None)
    ((mark,),) = context.session.execute(gate.mark_of(live))
    table = TableState(live=live, family=context.family, target=target, mark=mark)
    ((noted,),) = context.session.execute(query("match", "last_source_instant"), [context.schema, live.name])
    return _State(table=table, last=last, checked_at=max(filter(None, [last.source_instant, noted])))


def _read(context: _Context, live: LiveTable, state: _State) -> _Read:
    """Read the rows that the rule took at the last sync, also those that have left their window since."""
    mapping = context.source.mapping(live.table)
    snapshot = Snapshot.take(context.source.rows(mapping, state.checked_at))
    return _Read(snapshot=snapshot, mapping=mapping.digest, as_of=context.source.was_as_of(mapping))


def _judged(context: _Context, live: LiveTable, state: _State, read: _Read) -> AuditResult | None:
    """Compare as of one snapshot of the target; None when a sync has written to the table since its state was read."""
    # Rolled back, so that the temporary tables are gone: it may be done again in this session.
    with context.session.transaction(force_rollback=True):
        merge = TableMerge(context.session, live)
        merge.stage(query("match", "whole_tables"), read.snapshot.chunks())
        now = _state(context, live)
        if (now.last.fingerprint, now.last.mark) != (state.last.fingerprint, state.last.mark):
            return None
        pair = Comparison(
            table=live.table,
            expected=sql.SQL("({})").format(wanted_rows(live, merge.incoming, now.table.target.kinds)),
            actual=live.own_rows,
            columns=merge.columns,
            exact=False,
            keyed=_is_keyed(merge),
        )
        return _result(now, read, pair.match(context.session))


def _is_keyed(merge: TableMerge) -> bool:
    """Tell whether no two of the source's rows share a key."""
    key = relations.names(merge.live.table.key)
    counted = sql.SQL("SELECT count(*) = count(DISTINCT ({})) FROM {} AS t").format(key, merge.incoming)
    ((is_keyed,),) = merge.session.execute(counted)
    return bool(is_keyed)


def _result(state: _State, read: _Read, found: Match) -> AuditResult:
    since = _later(state, read)
    by_others = state.table.is_written_by_others
    may_be_later = bool(since) and not by_others
    if by_others:
        since = [*since, _WRITTEN]
    circumstances: Numbers = {
        "last_sync": state.checked_at.isoformat(timespec="seconds"),
        "source_read": "as of the last sync" if read.as_of else "as it is now",
        "since_the_last_sync": "; ".join(since) or "nothing that explains a difference",
    }
    note = "" if found.same else _LATER if may_be_later else _BY_OTHERS if by_others else _UNEXPLAINED
    return judged(
        MATCHES_SOURCE,
        found.numbers("source") | circumstances,
        note,
        severity="WARN" if may_be_later else "ERROR",
        found=found,
    )


def _later(state: _State, read: _Read) -> list[str]:
    """Name what happened since the last sync that the next one is going to follow."""
    table, last = state.table, state.last
    happened = {
        "its declaration or configuration changed": last.declaration != table.declared,
        f"{', '.join(table.moved)} changed": bool(table.moved),
        "the source's columns changed": last.mapping not in {None, read.mapping},
        "the source's rows changed": not read.as_of and read.snapshot.fingerprint != last.fingerprint,
    }
    return [what for what, has_happened in happened.items() if has_happened]
