"""What a sync records: rows of the ledger, the state that the next sync compares with, and the commit with them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

import psycopg
from psycopg import sql

from flux_assets.errors import FluxError, SyncError, TargetError, reported
from flux_assets.ledger.runs import Entry, Lease, StepTimer
from flux_assets.postgis.relations import LiveTable
from flux_assets.postgis.session import Target, prepare, run
from flux_assets.spec import DynamicTable
from flux_assets.sqlfiles import query
from flux_assets.sync.gate import mark_of
from flux_assets.sync.table import SyncContext, TableSync


def begin(
    session: psycopg.Connection,
    tables: Sequence[LiveTable],
    run_id: str | None,
    known: Sequence[sql.Composed] = (),
    *,
    under_way: bool = True,
) -> dict[str, Entry]:
    """Open a RUNNING ledger row for each of `tables`, after the statements that make declarations `known`.

    Rows of syncs that died are closed first, where any are `under_way`.
    """
    opening = Entry.opening(tables, "DELTA", run_id, close_dead=under_way)
    [opened] = run(session, [*known, *opening])
    return Entry.opened("DELTA", opened)


def refuse(
    tables: Sequence[DynamicTable], target: Target, error: FluxError, run_id: str | None, log: Callable[[str], None]
) -> None:
    """Note in the ledger that a sync of these tables could not begin, so that whoever asks it learns of it."""
    try:
        with target.session("ledger") as session:
            prepare(session, target.schema)
            opened = begin(session, [LiveTable(target.schema, table) for table in tables], run_id)
            _fail(session, dict.fromkeys(opened.values(), error))
    except (FluxError, psycopg.Error) as other:
        log(f"The ledger could not be reached, and does not know of this failure: {other}")


def close(
    context: SyncContext, tables: Sequence[TableSync], instant: datetime, ending: Sequence[sql.SQL] = ()
) -> datetime | None:
    """Write ledger and state of all tables, and run `ending`, in one round trip; returns the time that `ending` gives.

    Raises TargetError when the connection is lost before the answer is there.
    """
    lease, written = context.lease, [table for table in tables if table.step == "written"]
    script: list[sql.Composable] = [_state(table, instant) for table in written]
    script += [statement for table in tables for statement in _notes(table, instant, context.clock)]
    if not script and not ending:
        return None
    # Failures are recorded after the commit, and statistics collected: the lease stays until then.
    gives_back = not any((table.entry and table.step == "failed") or table.is_stale for table in tables)
    # Last, for the lease's own signs of life wait for it.
    script += [lease.holding(), *([lease.releasing()] if gives_back else []), *ending]
    try:
        answers = run(context.session, script)
    except psycopg.Error as error:
        if Lease.overtaken(error, "sync"):
            raise SyncError(
                "Another sync has begun since this one was interrupted, so this one writes nothing.",
                "Nothing to do: the newer sync brings the tables up to date.",
            ) from error
        if not context.session.closed:
            raise
        raise TargetError(
            "The connection to the database was lost during the sync's commit, and it is unknown whether that"
            f" succeeded: {reported(error)}.",
            "See the ledger (v_sync_status: SUCCESS where it did). The next sync brings the tables up to date either"
            " way; run it when the server answers.",
        ) from error
    lease.is_given_back = gives_back
    for table, [(rows,)] in zip(written, answers, strict=False):
        table.rows = rows
    return answers[-1][0][0] if ending else None


def close_failed(context: SyncContext, tables: Sequence[TableSync]) -> None:
    """Close the ledger's rows of what failed, through another session where the sync's is broken.

    Rows that a commit closed whose answer was lost are SUCCESS already, and stay so.
    """
    failed = {each.entry: each.error for each in tables if each.entry and each.error}
    if not failed:
        return
    session, lease = context.session, context.lease
    try:
        if session.closed or session.broken:
            with context.target.session("ledger") as other:
                # The lost session may still commit what it was sent, but not after this.
                other.execute(lease.ending_session())
                other.execute(lease.revoking())
                _fail(other, failed)
        else:
            _fail(session, failed)
    except (FluxError, psycopg.Error) as error:
        context.log(f"The ledger could not be written; its RUNNING rows are closed by the next sync: {error}")


def _fail(session: psycopg.Connection, failed: Mapping[Entry, FluxError]) -> None:
    for entry, error in failed.items():
        entry.fail(session, str(error))


def _state(table: TableSync, instant: datetime) -> sql.Composed:
    """Make a statement that notes what was read and what the table now looks like; it returns its number of rows.

    When readers last saw a change moves only where the sync wrote a row.
    """
    return query("sync", "note_sync").format(
        schema=table.live.schema,
        name=table.name,
        declaration=table.state.declared,
        token=table.token,
        mapping=table.read.mapping,
        fingerprint=table.read.snapshot.fingerprint if table.read.snapshot else "",
        origins=json.dumps(table.state.origins),
        shape=table.state.shape,
        source_instant=instant,
        source_changed_at=table.source_changed_at(instant),
        read_at=table.state.at,
        wrote=table.is_changed,
        relation=table.state.target.relations.get(table.name),
        mark=mark_of(table.live),
    )


def _notes(table: TableSync, instant: datetime, whole: StepTimer) -> Iterator[sql.Composed]:
    """Make statements about one table. Its mark is noted only where it was right before: writes of others must show."""
    live, last, name = table.live, table.state.last, {"schema": table.live.schema, "name": table.name}
    if table.refreshed and table.is_trusted:
        yield query("sync", "note_refresh").format(mark=mark_of(live), **name)
    if table.others and table.step in {"written", "unchanged"}:
        yield query("sync", "note_others").format(what=table.others, **name)
    has_new_signs = last is not None and (table.token, table.read.mapping) != (last.token, last.mapping)
    # The next sync has to know when the source was read, where it goes by that.
    is_token_or_age = table.token is not None or live.table.read_every is not None
    if table.step == "unchanged" and (has_new_signs or (table.read.snapshot is not None and is_token_or_age)):
        given = {"token": table.token, "mapping": table.read.mapping, "read_at": table.state.at}
        yield query("sync", "note_reading").format(**given, **name)
    if table.entry and table.step in {"written", "unchanged"}:
        yield table.entry.measured({**whole.seconds, **table.read.clock.seconds})
        yield table.entry.synced(
            "DELTA" if table.is_changed else "UNCHANGED",
            inserted=table.difference.inserts,
            updated=table.difference.updates + table.refreshed,
            deleted=table.difference.deletes,
            instant=instant,
            changed=table.source_changed_at(instant),
        )
    if table.is_changed:
        yield live.announcing("synced", sync_id=table.entry.sync_id if table.entry and table.state.is_fit else None)
