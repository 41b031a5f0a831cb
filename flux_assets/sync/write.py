"""The sync's transaction: all tables change at once, or those that cannot stay as they were."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import psycopg
from psycopg import errors, sql
from psycopg.pq import TransactionStatus

from flux_assets.checks.audit import SAMPLE_KEYS
from flux_assets.errors import FluxError, SyncError, plainly, reported
from flux_assets.ledger.leases import Lease
from flux_assets.postgis.errors import translate_error
from flux_assets.postgis.locking import GONE, holders
from flux_assets.postgis.session import Target, run
from flux_assets.spec import DynamicTable
from flux_assets.steps import StepTimer, reach
from flux_assets.sync import diff, parking, record
from flux_assets.sync.gate import mark_of
from flux_assets.sync.reader import HeldRead
from flux_assets.sync.result import SyncOptions
from flux_assets.sync.table import TableSync

# Which of these keys of a table the source still holds, and which of those the rule still takes.
HeldOf = Callable[[DynamicTable, Sequence[tuple[object, ...]]], HeldRead]


def guard(session: psycopg.Connection, table: TableSync, held_of: HeldOf, *, accept_vanished: bool) -> None:
    """Raise SyncError when the source lost many rows, with the number left in the outcome, or when reading did.

    A row that is to be deleted is judged by the rule itself: the source does not hold it any more (it vanished, and
    many of those are refused unless that is accepted), or holds it closed or out of its window (it may go), or holds
    it as the rule still takes it: then the reading lost it, and nothing that was read is to be believed. The source is
    asked only where rows enough are to be deleted; a reading that was cut is found by its own count before.
    """
    last, snapshot, difference = table.state.last, table.outcome.snapshot, table.difference
    held = (snapshot.rows if snapshot else 0) - difference.inserts + difference.deletes
    # Rows beyond those that the last sync left were put in by others, and are no loss of the source's.
    strange = max(0, held - last.rows) if last else 0
    limit = table.live.table.vanished
    allowed = table.live.table.may_vanish(held - strange)
    # Where the source's rows are those of the last sync, others put or changed here whatever is to be deleted.
    is_as_it_was = last is not None and snapshot is not None and last.fingerprint == snapshot.fingerprint
    if difference.deletes <= allowed or is_as_it_was:
        return
    keys = diff.deleted_keys(session, table.live)
    found = held_of(table.live.table, keys)
    if found.taken:
        raise _lost(table, len(keys), found.taken)
    # Strange rows may be among those that the source holds, closed or out of their window, and count once.
    vanished = 0 if accept_vanished else len(keys) - max(len(found.there), min(len(keys), strange))
    table.lost(vanished)
    if vanished > allowed:
        raise SyncError(
            f"{table.live.title}: {vanished:,} of its {held:,} rows are gone from {table.live.table.source},"
            f" which looks truncated or half-loaded (allowed: {limit.share:.0%}, or {limit.minimum} rows if"
            " that is less than half).",
            "If that is right, sync once with accept_vanished: true, or raise vanished_share in FLUX_CONFIG; the table"
            " is as it was.",
        )


def _lost(table: TableSync, missing: int, taken: Collection[tuple[object, ...]]) -> SyncError:
    shown = ", ".join(sorted("/".join(plainly(str(part)) for part in key) for key in taken)[:SAMPLE_KEYS])
    others = ", among others" if len(taken) > SAMPLE_KEYS else ""
    return SyncError(
        f"{table.live.title}: {len(taken):,} of the {missing:,} rows that were not read are still in"
        f" {table.live.table.source}, and are to be taken: reading lost them ({', '.join(table.live.table.key)} {shown}"
        f"{others}).",
        "Nothing was deleted, and the next tick reads again. Where it stays so, look for what cuts results:"
        " SHOW PARAMETERS LIKE 'ROWS_PER_RESULTSET' FOR USER …, or a program between here and Snowflake.",
    )


# PostgreSQL's own 8 MB hold what is staged of this, and its differences.
_LARGE_BYTES = 2 << 20


@dataclass(frozen=True, kw_only=True)
class SyncContext:
    """What the steps of one sync share: its session and lease in the target, what was asked for, how to report."""

    target: Target
    session: psycopg.Connection
    lease: Lease
    options: SyncOptions
    log: Callable[[str], None]
    clock: StepTimer = field(default_factory=StepTimer)


def write(context: SyncContext, tables: Sequence[TableSync], instant: datetime, held_of: HeldOf) -> datetime | None:
    """Write what differs, in one transaction, and close the ledger's rows; returns the time just before the commit.

    `held_of` says which of the given keys the source still holds. A table that cannot be written fails alone, or
    with those that it follows from where its columns could not follow; what is raised is raised for all of them, and
    then nothing was written.
    """
    groups = [group for group in _groups(tables) if any(each.step == "read" or each.is_adrift for each in group)]
    if not groups:
        return record.close(context.session, context.lease, tables, instant)
    try:
        opening: list[sql.Composable] = [*_room(tables), sql.SQL("BEGIN; SET CONSTRAINTS ALL IMMEDIATE")]
        for table in tables:
            if table.step == "read":
                _stage(context, table, opening)
                opening = []
        for group in groups:
            _write_group(context, group, opening, held_of)
            opening = []
        reach("sync.before_commit")
        with context.clock.timed("commit"):
            # Nothing after the COMMIT: what was refused there would pass for a refused commit.
            ending = [sql.SQL("SELECT clock_timestamp()"), sql.SQL("COMMIT")]
            visible = record.close(context.session, context.lease, tables, instant, ending)
    except BaseException:
        _roll_back(context.session)
        raise
    reach("sync.committed")
    for table in tables:
        _analyze(context, table)
    reach("sync.analyzed")
    return visible


def _room(tables: Sequence[TableSync]) -> list[sql.SQL]:
    """Make room for temporary tables, where they need much: to have it costs a session a third of a millisecond."""
    large = sum(table.outcome.snapshot.bytes for table in tables if table.outcome.snapshot) > _LARGE_BYTES
    return [sql.SQL("SET temp_buffers = '64MB'")] if large else []


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
    snapshot = table.outcome.snapshot
    try:
        with table.clock.timed("stage"):
            script = sql.SQL("; ").join([*opening, _savepoint(before)])
            diff.stage(context.session, table.live, script, snapshot.chunks() if snapshot else ())
        reach(f"sync.staged:{table.name}")
    except (FluxError, psycopg.Error) as error:
        _give_up(context, [table], error, at=table, to=before)


def _write_group(
    context: SyncContext, group: Sequence[TableSync], begin: Sequence[sql.Composable], held_of: HeldOf
) -> None:
    opening = [*begin, _savepoint(_of_group(group))]
    names = {table.name for table in group}
    for table in sorted(group, key=lambda each: bool(names.intersection(each.live.table.origins))):
        if table.step == "read":
            _merge(context, table, opening, held_of)
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
    """Name the group's savepoint: of two with the same name, going back would take the wrong one where the later was
    not made."""
    return f"group of {group[0].name}"


def _merge(
    context: SyncContext,
    table: TableSync,
    opening: Sequence[sql.Composable],
    held_of: HeldOf,
    collision: parking.Collision | None = None,
) -> None:
    live, before = table.live, f"before {table.name}"
    try:
        with table.clock.timed("compare"):
            table.compared(diff.compare(context.session, live, table.state.present, [*opening, _savepoint(before)]))
            guard(context.session, table, held_of, accept_vanished=context.options.accept_vanished)
        reach(f"sync.compared:{table.name}")
        context.options.stop.check()
        with table.clock.timed("write"):
            if table.difference.rows:
                diff.write(context.session, live, table.difference, collision)
        reach(f"sync.written:{table.name}")
        table.written()
    except (errors.UniqueViolation, errors.ExclusionViolation) as error:
        if collision is None and parking.is_of(live, error):
            # What was compared goes back with the savepoint, and the lock that kept others from writing meanwhile.
            _merge(context, table, [_back_to(before)], held_of, error)
        else:
            refused = parking.describe_collision(live, error) if parking.is_of(live, error) else error
            _give_up(context, [table], refused, at=table, to=before)
    except (FluxError, psycopg.Error) as error:
        _give_up(context, [table], error, at=table, to=before)


def _refreshed(context: SyncContext, table: TableSync, group: Sequence[TableSync]) -> bool:
    """Bring columns derived from others of the group up to date, whoever asked for what; tell whether they agree now.

    Where they cannot, the others stay as they were too: in no statement may the tables disagree.
    """
    # Tables that were written or may have been; all of them, where somebody wrote into this one.
    moved = [each.name for each in group if each.difference.rows or each.is_adrift or table.is_adrift]
    origins = {name: table.state.present[name] for name in moved}
    statement = None if table.step == "written" else diff.refresh(table.live, origins)
    if statement is None:
        return True
    before = f"before refreshing {table.name}"
    try:
        with table.clock.timed("refresh"):
            locking = [diff.locking(table.live), mark_of(table.live)]
            try:
                [(mark,)], *_, rows = run(context.session, [_savepoint(before), *locking, statement])
                table.refreshed(len(rows), mark)
            except (errors.UniqueViolation, errors.ExclusionViolation) as error:
                if not parking.is_of(table.live, error):
                    raise
                [[(mark,)]] = run(context.session, [_back_to(before), *locking])
                table.refreshed(diff.refresh_in_two_steps(context.session, table.live, origins, error), mark)
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
            each.refreshed(0)
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
    locked = {name: holders(session, schema, name, "reading") for name in at.live.table.origins}
    if whole := [f"{schema}.{name} is locked by {who}" for name, who in locked.items() if who]:
        # Nothing else is known to have been waited for: rows that others hold may not be among those to be written.
        problem = (
            f"{table.live.title} cannot be written, for {'; '.join(whole)}, and {at.live.title} is computed from it."
        )
    else:
        who = holders(session, schema, at.name, "writing") or GONE
        where = "" if at is table else f" in {at.live.title}, which follows it,"
        problem = f"{table.live.title}: rows to be written{where} are locked by {who}."
    return SyncError(problem, "End that transaction; the next sync writes what this one could not.")


def _analyze(context: SyncContext, table: TableSync) -> None:
    """Collect statistics where they no longer fit, which may fail without harm: the rows are there."""
    if not table.is_stale:
        return
    try:
        with table.clock.timed("analyze"):
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
