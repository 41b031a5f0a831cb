"""The sync's transaction: all tables change at once, or those that cannot stay as they were.

Here: the order of tables, a savepoint for each, one for those that follow from each other, columns that follow from
other tables, ledger and state, commit. Not here: the statements (postgis/merge.py, postgis/sync_state.py), and the
guard against a source that lost its rows (guard.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import psycopg
from psycopg import errors, sql
from psycopg.pq import TransactionStatus

from flux_assets.errors import FluxError, SyncError, TargetError, reported
from flux_assets.failpoints import reach
from flux_assets.ledger import entries
from flux_assets.ledger.leases import Lease, overtaken
from flux_assets.ledger.notify import announcing
from flux_assets.postgis import statistics
from flux_assets.postgis.batch import run
from flux_assets.postgis.errors import translate_error
from flux_assets.postgis.locking import AGAINST_READING, AGAINST_WRITING, GONE, holders
from flux_assets.step_timer import StepTimer
from flux_assets.sync import diff, parking, record
from flux_assets.sync.gate import mark_of
from flux_assets.sync.guard import HeldOf, guard
from flux_assets.sync.result import SyncOptions
from flux_assets.sync.table import TableSync

# Above this share of rows inserted and deleted, the planner's statistics no longer fit.
_STALE_SHARE = 0.1
# PostgreSQL's own 8 MB hold what is staged of this, and its differences.
_LARGE_BYTES = 2 << 20


@dataclass(frozen=True, kw_only=True)
class SyncContext:
    """What the steps of one sync share: the session, what tables exist here and of what kind, how to report.

    With `has_failures`, rows of the ledger are still to be closed after the commit, and the lease stays until then.
    """

    session: psycopg.Connection
    lease: Lease
    options: SyncOptions
    log: Callable[[str], None]
    present: Mapping[str, str]
    has_failures: bool
    clock: StepTimer = field(default_factory=StepTimer)


def write(desk: SyncContext, works: Sequence[TableSync], instant: datetime, held_of: HeldOf) -> datetime | None:
    """Write what differs, in one transaction, and close the ledger's rows; returns the time just before the commit.

    `held_of` says which of the given keys the source still holds. A table that cannot be written fails alone, or
    with those that it follows from where its columns could not follow; what is raised is raised for all of them, and
    then nothing was written.
    """
    groups = [group for group in _groups(works) if any(work.step == "read" or work.is_adrift for work in group)]
    if not groups:
        _close(desk, works, instant, [])
        return None
    try:
        opening: list[sql.Composable] = [*_room(works), sql.SQL("BEGIN; SET CONSTRAINTS ALL IMMEDIATE")]
        for work in works:
            if work.step == "read":
                _stage(desk, work, opening)
                opening = []
        for group in groups:
            _write_group(desk, group, opening, held_of)
            opening = []
        reach("sync.before_commit")
        with desk.clock.timed("commit"):
            # Nothing after the COMMIT: what was refused there would pass for a refused commit.
            visible = _close(desk, works, instant, [sql.SQL("SELECT clock_timestamp()"), sql.SQL("COMMIT")])
    except BaseException:
        _roll_back(desk.session)
        raise
    reach("sync.committed")
    for work in works:
        _analyze(desk, work)
    reach("sync.analyzed")
    return visible


def _room(works: Sequence[TableSync]) -> list[sql.SQL]:
    """Memory for temporary tables, where they need much: to have it costs a session a third of a millisecond."""
    large = sum(work.snapshot.bytes for work in works if work.snapshot) > _LARGE_BYTES
    return [sql.SQL("SET temp_buffers = '64MB'")] if large else []


def _groups(works: Sequence[TableSync]) -> list[list[TableSync]]:
    """The tables, those together that follow from each other."""
    groups: list[list[TableSync]] = []
    for work in works:
        apart = [group for group in groups if not any(_tied(work, other) for other in group)]
        tied = [other for group in groups if any(_tied(work, other) for other in group) for other in group]
        groups = [*apart, [*tied, work]]
    return groups


def _tied(work: TableSync, other: TableSync) -> bool:
    return work.name in other.live.table.origins or other.name in work.live.table.origins


def in_order(works: Sequence[TableSync]) -> list[TableSync]:
    """Tables that others are derived from come first."""
    names = {work.name for work in works}
    return sorted(works, key=lambda work: bool(names.intersection(work.live.table.origins)))


def _stage(desk: SyncContext, work: TableSync, opening: Sequence[sql.Composable]) -> None:
    """COPY what was read, before anything is locked: how long that takes, also when it stalls, is nobody's concern."""
    before = f"before staging {work.name}"
    try:
        with work.clock.timed("stage"):
            script = sql.SQL("; ").join([*opening, _savepoint(before)])
            diff.stage(desk.session, work.live, script, work.snapshot.chunks() if work.snapshot else ())
        reach(f"sync.staged:{work.name}")
    except (FluxError, psycopg.Error) as error:
        _give_up(desk, [work], error, at=work, to=before)


def _write_group(
    desk: SyncContext, group: Sequence[TableSync], begin: Sequence[sql.Composable], held_of: HeldOf
) -> None:
    opening = [*begin, _savepoint(_of_group(group))]
    for work in in_order(group):
        if work.step == "read":
            _merge(desk, work, opening, held_of)
            opening = []
    if opening:
        run(desk.session, opening)
    for work in group:
        if not _refreshed(desk, work, group):
            return
    reach("sync.refreshed")


def _savepoint(name: str) -> sql.Composed:
    return sql.SQL("SAVEPOINT {}").format(sql.Identifier(name))


def _back_to(name: str) -> sql.Composed:
    return sql.SQL("ROLLBACK TO SAVEPOINT {}").format(sql.Identifier(name))


def _of_group(group: Sequence[TableSync]) -> str:
    """The savepoint's name. Each has a name of its own: of two alike, going back would take the wrong one where the
    later was not made."""
    return f"group of {group[0].name}"


def _merge(
    desk: SyncContext,
    work: TableSync,
    opening: Sequence[sql.Composable],
    held_of: HeldOf,
    collision: parking.Collision | None = None,
) -> None:
    before = f"before {work.name}"
    try:
        with work.clock.timed("compare"):
            work.difference = diff.compare(desk.session, work.live, desk.present, [*opening, _savepoint(before)])
            guard(desk.session, work, held_of, accept_vanished=desk.options.accept_vanished)
        reach(f"sync.compared:{work.name}")
        desk.options.stop.check()
        with work.clock.timed("write"):
            if work.difference.rows:
                diff.write(desk.session, work.live, work.difference, collision)
        reach(f"sync.written:{work.name}")
        work.step = "written"
    except (errors.UniqueViolation, errors.ExclusionViolation) as error:
        if collision is None and parking.is_of(work.live, error):
            # What was compared goes back with the savepoint, and the lock that kept others from writing meanwhile.
            _merge(desk, work, [_back_to(before)], held_of, error)
        else:
            refused = parking.describe_collision(work.live, error) if parking.is_of(work.live, error) else error
            _give_up(desk, [work], refused, at=work, to=before)
    except (FluxError, psycopg.Error) as error:
        _give_up(desk, [work], error, at=work, to=before)


def _give_up(
    desk: SyncContext,
    works: Sequence[TableSync],
    error: FluxError | psycopg.Error,
    *,
    at: TableSync,
    to: str,
) -> None:
    """Back to before these tables, when the session still stands; the failure, met `at` one table, is theirs alone.

    One that was met before their savepoint was made is raised, for all tables.
    """
    in_transaction = {TransactionStatus.INERROR, TransactionStatus.INTRANS}
    if desk.options.stop.asked or desk.session.info.transaction_status not in in_transaction:
        raise error
    try:
        desk.session.execute(_back_to(to))
    except errors.InvalidSavepointSpecification:
        raise error from None
    for work in works:
        if isinstance(error, errors.LockNotAvailable):
            work.fail(_locked(desk, work, at))
        else:
            title = work.live.title
            work.fail(
                error if isinstance(error, FluxError) else translate_error(title, error, desk.options.stop, SyncError)
            )


def _locked(desk: SyncContext, work: TableSync, at: TableSync) -> SyncError:
    schema = at.live.schema
    locked = {name: holders(desk.session, schema, name, AGAINST_READING) for name in at.live.table.origins}
    if whole := [f"{schema}.{name} is locked by {who}" for name, who in locked.items() if who]:
        # Nothing else is known to have been waited for: rows that others hold may not be among those to be written.
        problem = (
            f"{work.live.title} cannot be written, for {'; '.join(whole)}, and {at.live.title} is computed from it."
        )
    else:
        who = holders(desk.session, schema, at.name, AGAINST_WRITING) or GONE
        where = "" if at is work else f" in {at.live.title}, which follows it,"
        problem = f"{work.live.title}: rows to be written{where} are locked by {who}."
    return SyncError(problem, "End that transaction; the next sync writes what this one could not.")


def _refreshed(desk: SyncContext, work: TableSync, group: Sequence[TableSync]) -> bool:
    """Whether columns derived from others of the group agree with them now, whoever asked for what.

    Where they cannot, the others stay as they were too: in no statement may the tables disagree.
    """
    statement = None if work.step == "written" else _refresh(desk, work, group)
    if statement is None:
        return True
    before = f"before refreshing {work.name}"
    try:
        with work.clock.timed("refresh"):
            locking = [diff.locking(work.live), mark_of(work.live)]
            try:
                [(work.locked_mark,)], *_, rows = run(desk.session, [_savepoint(before), *locking, statement])
                work.refreshed = len(rows)
            except (errors.UniqueViolation, errors.ExclusionViolation) as error:
                if not parking.is_of(work.live, error):
                    raise
                [[(work.locked_mark,)]] = run(desk.session, [_back_to(before), *locking])
                moved = _moved(desk, work, group)
                work.refreshed = diff.refresh_in_two_steps(desk.session, work.live, moved, error)
    except (FluxError, psycopg.Error) as error:
        if not work.is_fit and not isinstance(error, errors.LockNotAvailable):
            _give_up(desk, [], error, at=work, to=before)
            desk.log(
                f"{work.live.title} is not as declared, and what is computed in it could not follow: {reported(error)}"
            )
            return True
        concerned = [each for each in group if each.step == "written" or (each is work and each.entry)]
        _give_up(desk, concerned, error, at=work, to=_of_group(group))
        for each in group:
            each.refreshed = 0
        return False
    return True


def _refresh(desk: SyncContext, work: TableSync, group: Sequence[TableSync]) -> sql.Composed | None:
    """The statement for what is derived from tables that were written; from all, where somebody wrote into this one."""
    return diff.refresh(work.live, _moved(desk, work, group))


def _moved(desk: SyncContext, work: TableSync, group: Sequence[TableSync]) -> dict[str, str]:
    """The tables that were written or may have been, with their kinds."""
    moved = [each.name for each in group if each.difference.rows or each.is_adrift or work.is_adrift]
    return {name: desk.present[name] for name in moved}


def _close(
    desk: SyncContext, works: Sequence[TableSync], instant: datetime, ending: Sequence[sql.SQL]
) -> datetime | None:
    """Ledger and state of all tables, and `ending`, in one round trip.

    Raises TargetError when the connection is lost before the answer is there.
    """
    reporting = [work for work in works if work.step == "written"]
    script: list[sql.Composable] = [
        record.remember(work.live, work.seen(instant), wrote=work.changed) for work in reporting
    ]
    script += [statement for work in works for statement in _notes(work, instant)]
    if not script and not ending:
        return None
    # Last, for the lease's own signs of life wait for it.
    gives_back = not desk.has_failures and not any(work.step == "failed" or _is_stale(work) for work in works)
    script += [desk.lease.holding(), *([desk.lease.releasing()] if gives_back else []), *ending]
    try:
        answers = run(desk.session, script)
    except psycopg.Error as error:
        if overtaken(error):
            raise SyncError(
                "Another sync has begun since this one was interrupted, so this one writes nothing.",
                "Nothing to do: the newer sync brings the tables up to date.",
            ) from error
        if not desk.session.closed:
            raise
        raise TargetError(
            "The connection to the database was lost during the sync's commit, and it is unknown whether that"
            f" succeeded: {reported(error)}.",
            "See the ledger (v_sync_status: SUCCESS where it did). The next sync brings the tables up to date either"
            " way; run it when the server answers.",
        ) from error
    desk.lease.is_given_back = gives_back
    for work, [(rows,)] in zip(reporting, answers, strict=False):
        work.rows = rows
    return answers[-1][0][0] if ending else None


def _notes(work: TableSync, instant: datetime) -> Iterator[sql.Composed]:
    """Statements about one table. Its mark is noted only where it was right before: writes of others must show."""
    if work.refreshed and work.is_trusted:
        yield record.note_refresh(work.live)
    signs = work.last and (work.token, work.mapping) != (work.last.token, work.last.mapping)
    if work.step == "unchanged" and (signs or work.is_reading_noted):
        yield record.note_signs(work.live, work.token, work.mapping, work.at)
    if work.entry and work.step in {"written", "unchanged"}:
        yield entries.succeeding(work.entry, "DELTA" if work.changed else "UNCHANGED", work.synced(instant))
    if work.changed:
        yield announcing(work.live, "synced", sync_id=work.entry.sync_id if work.entry else None)


def _analyze(desk: SyncContext, work: TableSync) -> None:
    """What may fail without harm once the rows are there."""
    if not _is_stale(work):
        return
    try:
        with work.clock.timed("analyze"):
            statistics.analyze_own_rows(desk.session, work.live.public)
    except psycopg.Error as error:
        desk.log(f"{work.live.title} is synced; its statistics are left to the server, because of: {reported(error)}")


def _is_stale(work: TableSync) -> bool:
    """Tell whether so many rows came and went that the planner's statistics no longer fit."""
    return work.difference.inserts + work.difference.deletes > _STALE_SHARE * work.before


def _roll_back(session: psycopg.Connection) -> None:
    try:
        session.execute("ROLLBACK")
    except psycopg.Error:  # the session is gone, and the transaction with it
        session.close()
