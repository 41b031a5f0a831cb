"""The sync's transaction: all tables change at once, or those that cannot stay as they were."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import psycopg
from psycopg import errors, sql
from psycopg.pq import TransactionStatus

from flux_assets.checks.audit import AuditResult
from flux_assets.errors import FluxError, SyncError, abbreviated, reported
from flux_assets.ledger.runs import reach
from flux_assets.postgis.errors import translate_error
from flux_assets.postgis.locking import LockHolder
from flux_assets.postgis.session import run
from flux_assets.sync import record
from flux_assets.sync.diff import TableMerge
from flux_assets.sync.table import SyncContext, TableSync

# PostgreSQL's own 8 MB hold what is staged of this, and its differences.
_LARGE_BYTES = 2 << 20
_COLLISIONS = (errors.UniqueViolation, errors.ExclusionViolation)


def write(context: SyncContext, tables: Sequence[TableSync], instant: datetime) -> datetime | None:
    """Write what differs, in one transaction, and close the ledger's rows; returns the time just before the commit.

    A table that cannot be written fails alone, or with those that it follows from where its columns could not follow;
    what is raised is raised for all of them, and then nothing was written.
    """
    groups = [group for group in _groups(tables) if any(each.step == "read" or each.is_adrift for each in group)]
    if not groups:
        return record.close(context, tables, instant)
    try:
        # Room for temporary tables, where they need much: to have it costs a session a third of a millisecond.
        is_large = sum(table.read.snapshot.bytes for table in tables if table.read.snapshot) > _LARGE_BYTES
        opening: list[sql.Composable] = [sql.SQL("SET temp_buffers = '64MB'")] if is_large else []
        opening.append(sql.SQL("BEGIN; SET CONSTRAINTS ALL IMMEDIATE"))
        for table in tables:
            if table.step == "read":
                _stage(context, table, opening)
                opening = []
        for group in groups:
            _write_group(context, group, opening)
            opening = []
        reach("sync.before_commit")
        with context.clock.timed("commit"):
            # Nothing after the COMMIT: what was refused there would pass for a refused commit.
            ending = [sql.SQL("SELECT clock_timestamp()"), sql.SQL("COMMIT")]
            visible = record.close(context, tables, instant, ending)
    except BaseException:
        _roll_back(context.session)
        raise
    reach("sync.committed")
    for table in tables:
        _analyze(context, table)
    reach("sync.analyzed")
    return visible


def _groups(tables: Sequence[TableSync]) -> list[list[TableSync]]:
    """Return the tables that exist, those together that follow from each other."""
    groups: list[list[TableSync]] = []
    for table in tables:
        if table.state.exists:
            tied = [group for group in groups if any(_are_tied(table, other) for other in group)]
            apart = [group for group in groups if group not in tied]
            groups = [*apart, [*(other for group in tied for other in group), table]]
    return groups


def _are_tied(table: TableSync, other: TableSync) -> bool:
    return table.name in other.live.table.origins or other.name in table.live.table.origins


def _stage(context: SyncContext, table: TableSync, opening: Sequence[sql.Composable]) -> None:
    """COPY what was read, before anything is locked: how long that takes, also when it stalls, is nobody's concern."""
    before = f"before staging {table.name}"
    try:
        with table.read.clock.timed("stage"):
            script = sql.SQL("; ").join([*opening, _savepoint(before)])
            chunks = table.read.snapshot.chunks() if table.read.snapshot else ()
            TableMerge(context.session, table.live).stage(script, chunks)
        reach(f"sync.staged:{table.name}")
    except (FluxError, psycopg.Error) as error:
        _give_up(context, [table], error, at=table, to=before)


def _write_group(context: SyncContext, group: Sequence[TableSync], begin: Sequence[sql.Composable]) -> None:
    opening = [*begin, _savepoint(_of_group(group))]
    names = {table.name for table in group}
    for table in sorted(group, key=lambda each: bool(names.intersection(each.live.table.origins))):
        if table.step == "read":
            _merge(context, table, opening)
            opening = []
    if opening:
        run(context.session, opening)
    if all(_refreshed(context, table, group) for table in group):
        reach("sync.refreshed")


def _savepoint(name: str) -> sql.Composed:
    return sql.SQL("SAVEPOINT {}").format(sql.Identifier(name))


def _back_to(name: str) -> sql.Composed:
    return sql.SQL("ROLLBACK TO SAVEPOINT {}").format(sql.Identifier(name))


def _of_group(group: Sequence[TableSync]) -> str:
    """Name the group's savepoint as no table's is: going back would take the wrong one where the later was not made."""
    return f"group of {group[0].name}"


def _merge(
    context: SyncContext,
    table: TableSync,
    opening: Sequence[sql.Composable],
    collision: psycopg.IntegrityError | None = None,
) -> None:
    merge, before = TableMerge(context.session, table.live), f"before {table.name}"
    try:
        with table.read.clock.timed("compare"):
            table.difference = merge.compare(table.state.target.kinds, [*opening, _savepoint(before)])
            _guard(context, table, merge)
        reach(f"sync.compared:{table.name}")
        context.options.stop.check()
        with table.read.clock.timed("write"):
            if table.difference.rows:
                merge.write(table.difference, collision)
        reach(f"sync.written:{table.name}")
        table.step = "written"
    except _COLLISIONS as error:
        if collision is None and merge.is_own(error):
            # What was compared goes back with the savepoint, and the lock that kept others from writing meanwhile.
            _merge(context, table, [_back_to(before)], error)
        else:
            refused = merge.describe_collision(error) if merge.is_own(error) else error
            _give_up(context, [table], refused, at=table, to=before)
    except (FluxError, psycopg.Error) as error:
        _give_up(context, [table], error, at=table, to=before)


def _guard(context: SyncContext, table: TableSync, merge: TableMerge) -> None:
    """Raise SyncError when the source lost many rows, truncated or half-loaded, or when reading did.

    A row that is to be deleted is judged by the rule itself: the source does not hold it any more (it vanished, and
    many of those are refused unless that is accepted), or holds it closed or out of its window (it may go), or holds
    it as the rule still takes it: then the reading lost it, and nothing that was read is to be believed. The source is
    asked only where rows enough are to be deleted; a reading that was cut is found by its own count before.
    """
    last, snapshot, difference, source = (
        table.state.last,
        table.read.snapshot,
        table.difference,
        table.live.table.source,
    )
    held = (snapshot.rows if snapshot else 0) - difference.inserts + difference.deletes
    # Rows beyond those that the last sync left were put in by others, and are no loss of the source's.
    strange = max(0, held - last.rows) if last else 0
    declared = table.live.table
    allowed = declared.may_vanish(held - strange)
    # Where the source's rows are those of the last sync, others put or changed here whatever is to be deleted.
    is_as_it_was = last is not None and snapshot is not None and last.fingerprint == snapshot.fingerprint
    if difference.deletes <= allowed or is_as_it_was:
        return
    keys = merge.deleted_keys()
    there, taken = context.source.held(table.live.table, keys)
    if taken:
        shown = ", ".join(
            sorted("/".join(abbreviated(str(part), bare=True) for part in key) for key in taken)[
                : AuditResult.SAMPLE_KEYS
            ]
        )
        others = ", among others" if len(taken) > AuditResult.SAMPLE_KEYS else ""
        raise SyncError(
            f"{table.live.title}: {len(taken):,} of the {len(keys):,} rows that were not read are still in {source},"
            f" and are to be taken: reading lost them ({', '.join(table.live.table.key)} {shown}{others}).",
            "Nothing was deleted, and the next tick reads again. Where it stays so, look for what cuts results:"
            " SHOW PARAMETERS LIKE 'ROWS_PER_RESULTSET' FOR USER …, or a program between here and Snowflake.",
        )
    # Strange rows may be among those that the source holds, closed or out of their window, and count once.
    vanished = len(keys) - max(len(there), min(len(keys), strange))
    table.vanished = 0 if context.options.accept_vanished else vanished
    if table.vanished > allowed:
        raise SyncError(
            f"{table.live.title}: {vanished:,} of its {held:,} rows are gone from {source}, which looks truncated or"
            f" half-loaded (allowed: {declared.vanished_share:.0%}, or {declared.vanished_minimum} rows if that is less"
            " than half).",
            "If that is right, sync once with accept_vanished: true, or raise vanished_share in FLUX_CONFIG; the table"
            " is as it was.",
        )


def _refreshed(context: SyncContext, table: TableSync, group: Sequence[TableSync]) -> bool:
    """Bring columns derived from others of the group up to date, whoever asked for what; tell whether they agree now.

    Where they cannot, the others stay as they were too: in no statement may the tables disagree.
    """
    # Tables that were written or may have been; all of them, where somebody wrote into this one.
    moved = [each.name for each in group if each.difference.rows or each.is_adrift or table.is_adrift]
    follows = any(derived.from_table in moved and not derived.fills for derived in table.live.table.derived)
    if table.step == "written" or not follows:
        return True
    merge, before = TableMerge(context.session, table.live), f"before refreshing {table.name}"
    origins = {name: table.state.target.kinds[name] for name in moved}
    try:
        with table.read.clock.timed("refresh"):
            try:
                table.refreshed, table.locked_mark = merge.refresh(origins, _savepoint(before))
            except _COLLISIONS as error:
                if not merge.is_own(error):
                    raise
                table.refreshed, table.locked_mark = merge.refresh(origins, _back_to(before), error)
    except (FluxError, psycopg.Error) as error:
        if not table.state.is_fit and not isinstance(error, errors.LockNotAvailable):
            _give_up(context, [], error, at=table, to=before)
            context.log(
                f"{table.live.title} is not as declared, and what is computed in it could not follow: {reported(error)}"
            )
            return True
        asked_for = table.entry is not None and table.state.is_fit
        concerned = [each for each in group if each.step == "written" or (each is table and asked_for)]
        _give_up(context, concerned, error, at=table, to=_of_group(group))
        for each in group:
            each.refreshed, each.locked_mark = 0, ""
        return False
    return True


def _give_up(
    context: SyncContext, tables: Sequence[TableSync], error: FluxError | psycopg.Error, *, at: TableSync, to: str
) -> None:
    """Go back to before these tables, when the session is alive; the failure, met `at` one table, is theirs alone.

    One that was met before their savepoint was made is raised, for all tables.
    """
    in_transaction = {TransactionStatus.INERROR, TransactionStatus.INTRANS}
    if context.options.stop.asked or context.session.info.transaction_status not in in_transaction:
        raise error
    try:
        context.session.execute(_back_to(to))
    except errors.InvalidSavepointSpecification:
        raise error from None
    for table in tables:
        if isinstance(error, errors.LockNotAvailable):
            table.fail(_locked(context.session, table, at))
        elif isinstance(error, FluxError):
            table.fail(error)
        else:
            table.fail(translate_error(table.live.title, error, context.options.stop, SyncError))


def _locked(session: psycopg.Connection, table: TableSync, at: TableSync) -> SyncError:
    schema = at.live.schema
    locked = {name: LockHolder.describe(session, schema, name, "reading") for name in at.live.table.origins}
    if whole := [f"{schema}.{name} is locked by {who}" for name, who in locked.items() if who]:
        # Nothing else is known to have been waited for: rows that others hold may not be among those to be written.
        problem = (
            f"{table.live.title} cannot be written, for {'; '.join(whole)}, and {at.live.title} is computed from it."
        )
    else:
        who = LockHolder.describe(session, schema, at.name, "writing") or LockHolder.GONE
        where = "" if at is table else f" in {at.live.title}, which follows it,"
        problem = f"{table.live.title}: rows to be written{where} are locked by {who}."
    return SyncError(problem, "End that transaction; the next sync writes what this one could not.")


def _analyze(context: SyncContext, table: TableSync) -> None:
    """Collect statistics where they no longer fit, which may fail without harm: the rows are there."""
    if not table.is_stale:
        return
    try:
        with table.read.clock.timed("analyze"):
            table.live.analyze(context.session)
    except psycopg.Error as error:
        context.log(
            f"{table.live.title} is synced; its statistics are left to the server, because of: {reported(error)}"
        )


def _roll_back(session: psycopg.Connection) -> None:
    try:
        session.execute("ROLLBACK")
    except psycopg.Error:  # the session is gone, and the transaction with it
        session.close()
