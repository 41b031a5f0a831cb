"""Others beside a run: readers that stay, runs at the same time, wrong clocks, silent networks, failing files and
sources, rot in what is published, and databases that are moved."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from flux_assets.compare.release import match_release
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.session import Target
from flux_assets.release.release import Release
from flux_assets_tests.faulting_proxy import Fault, faulting_proxy
from flux_assets_tests.faults.case import Case, started
from flux_assets_tests.faults.child import Child, Kind
from flux_assets_tests.faults.plugin import Judged
from flux_assets_tests.faults.world import NEW, OLD, World
from flux_assets_tests.made_layers import made_up

pytestmark = pytest.mark.faults
KINDS: tuple[Kind, ...] = ("load", "rollback", "sync", "compute", "adopt", "eject", "replace")


@pytest.mark.parametrize("hours", [-1, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_a_clock_that_is_wrong(world: World, judged: Judged, tmp_path: Path, kind: Kind, hours: int) -> None:
    with started(world, kind, f"a whole {kind}", f"clock {hours:+d} h", tmp_path) as case:
        case.outcome = case.ended(Child(case.job(clock_off=timedelta(hours=hours))), "the run")
        case.demand(case.outcome.ended_well, f"it ended otherwise: {case.outcome}")
        case.look("after the run", [case.brought])
    judged(case.verdict)


@pytest.mark.parametrize("kind", ["load", "rollback", "compute", "adopt", "eject"])
def test_a_reader_that_stays_delays_only_the_publish(world: World, judged: Judged, tmp_path: Path, kind: Kind) -> None:
    """It has read the table in a transaction, and is neither ended nor in another reader's way."""
    with started(world, kind, f"a whole {kind}", "an idle reader", tmp_path) as case, case.session() as idle:
        idle.execute("SET application_name = 'idle map'")
        with idle.transaction():
            asked = f"SELECT count(*) FROM {case.table}"
            count = idle.execute(asked).fetchone()
            case.refused(case.job(publish_wait=2), "idle map")
            case.demand(idle.execute(asked).fetchone() == count, "the reader saw a change")
        case.after = [OLD]
    judged(case.verdict)


SLOW = """
CREATE FUNCTION slow() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(5); END $$;
CREATE EVENT TRIGGER slow ON ddl_command_end WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION slow()
"""


def test_somebody_elses_trigger_keeps_readers_out_for_a_second_at_most(world: World, tmp_path: Path) -> None:
    """It runs under the lock of the publish, and is none of ours: the server ends it."""
    with started(world, "load", "a whole load", "a slow event trigger of others", tmp_path) as case:
        with case.session() as session:
            session.execute(SLOW)
            case.refused(case.job(publish_wait=0), "longer than the 1 s")
            session.execute("DROP EVENT TRIGGER slow")
        case.after = [OLD]
    assert case.verdict.wait_ms < 2_000 + case.verdict.noise_ms
    assert [problem for problem in case.verdict.problems if "a reader waited" not in problem] == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_older_snapshot_sees_whole_tables(world: World, judged: Judged, tmp_path: Path, kind: Kind) -> None:
    """It was taken before the run, through another table."""
    with started(world, kind, f"a whole {kind}", "an older snapshot", tmp_path) as case, case.session() as reader:
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT * FROM other")
        case.outcome = case.ended(Child(case.job()), "the run")
        case.demand(case.outcome.ended_well, f"it ended otherwise: {case.outcome}")
        answer = reader.execute(case.question.encode()).fetchone()
        whole = [state.answer for state in case.whole_states]
        case.demand(answer in whole, f"the older snapshot saw {answer}")
        reader.execute("COMMIT")
    judged(case.verdict)


@pytest.mark.parametrize("kind", KINDS)
def test_statements_that_are_cancelled_again_and_again(
    world: World, judged: Judged, tmp_path: Path, kind: Kind
) -> None:
    """An administrator, or a tool of theirs, cancels whatever the run has the server do."""
    cancelling = (
        "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity"
        " WHERE state = 'active' AND application_name LIKE 'flux_assets%' AND datname = current_database()"
    )
    with started(world, kind, f"a whole {kind}", "statements cancelled", tmp_path) as case:
        case.child = Child(case.job())
        with case.session() as session:
            cancelled = 0
            while case.child.process.is_alive() and cancelled < 10:
                cancelled += session.execute(cancelling).fetchone()[0]
        case.outcome = case.ended(case.child, "the run")
    judged(case.verdict)


BESIDE: list[tuple[Kind, str, Kind]] = [
    ("load", "load.leased", "load"), ("load", "load.copying", "load"), ("load", "load.before_swap", "rollback"),
    ("load", "load.swapped", "load"), ("rollback", "rollback.before_swap", "load"),
    ("rollback", "rollback.leased", "rollback"),
    ("sync", "sync.gated", "sync"), ("sync", "sync.read", "sync"), ("sync", "sync.written:faults", "sync"),
    ("sync", "sync.before_commit", "sync"), ("compute", "load.copying", "compute"),
    ("adopt", "load.before_swap", "adopt"), ("eject", "eject.prepared", "eject"),
    ("eject", "eject.prepared", "adopt again"), ("replace", "sync.begun", "replace"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "point", "other"), BESIDE)
def test_another_run_at_the_same_time_waits_or_is_turned_away(
    world: World, judged: Judged, tmp_path: Path, kind: Kind, point: str, other: Kind
) -> None:
    with started(world, kind, point, f"another {other} meanwhile", tmp_path) as case:
        case.start(point)
        beside = case.ended(Child(case.job(kind=other, publish_wait=1)), "the other run")
        turned_away = beside.word == "busy" or "BusyError" in beside.said
        nothing_to_do = point == "load.swapped" and beside.word == "unchanged"
        case.demand(turned_away or nothing_to_do, f"the other was not turned away: {beside}")
        case.finish()
        case.demand(case.outcome.ended_well, f"it ended otherwise: {case.outcome}")
        case.look("after the run", [case.brought])
    judged(case.verdict)


@pytest.mark.parametrize("kind", KINDS)
def test_four_at_once(world: World, judged: Judged, tmp_path: Path, kind: Kind) -> None:
    with started(world, kind, f"a whole {kind}", "four at once", tmp_path) as case:
        children = [Child(case.job()) for _ in range(4)]
        outcomes = [case.ended(child, "one of four") for child in children]
        case.demand(any(each.ended_well for each in outcomes), f"none ended well: {outcomes}")
        told = all(each.ended_well or each.word == "busy" or "no earlier version" in each.said for each in outcomes)
        case.demand(told, f"one ended otherwise: {outcomes}")
    judged(case.verdict)


@pytest.mark.parametrize(
    ("kind", "point"),
    [("load", "load.copying"), ("load", "load.before_swap"), ("rollback", "rollback.before_swap"),
     ("sync", "sync.read"), ("sync", "sync.written:faults"), ("sync", "sync.before_commit"),
     ("compute", "load.copying"), ("adopt", "load.before_swap"), ("eject", "eject.prepared"),
     ("eject", "eject.swapped"), ("replace", "sync.begun")],
)  # fmt: skip
def test_a_network_that_falls_silent_altogether(
    world: World, judged: Judged, tmp_path: Path, kind: Kind, point: str
) -> None:
    """Neither the connections that there are nor new ones get through."""
    with started(world, kind, point, "whole network silent", tmp_path) as case:
        case.start(point)
        case.wire.silence("up", "down", new_ones=True)
        case.finish()
    judged(case.verdict)


@pytest.mark.parametrize(
    ("kind", "point"),
    [("load", "load.copying"), ("load", "load.before_swap"), ("release", "load.swapped"),
     ("sync", "sync.staged:faults"), ("sync", "sync.written:faults"), ("sync", "sync.before_commit"),
     ("sync", "sync.committed"), ("compute", "load.copying"), ("adopt", "load.swapped"), ("eject", "eject.prepared"),
     ("eject", "eject.swapped")],
)  # fmt: skip
def test_a_connection_that_is_given_up_without_an_answer(
    world: World, judged: Judged, tmp_path: Path, kind: Kind, point: str
) -> None:
    """As on a busy server: the run ends before it knows what its session does, which may hold locks of the next run."""
    with started(world, kind, point, "silent towards the run, unanswered", tmp_path) as case:
        case.start(point, is_unanswered=True)
        case.wire.silence("down")
        case.finish()
    judged(case.verdict)


@pytest.mark.parametrize("kept", [0, 1000], ids=["emptied", "cut short"])
@pytest.mark.parametrize("point", ["load.resolved", "load.fetched", "load.copying"])
def test_a_release_file_that_shrinks_while_it_is_read(
    world: World, judged: Judged, tmp_path: Path, point: str, kept: int
) -> None:
    with started(world, "load", point, f"release file cut to {kept} bytes", tmp_path) as case:
        case.start(point)
        file = case.folder / world.releases[NEW].name
        with file.open("r+b") as there:
            there.truncate(kept)
        case.finish()
        case.release(NEW)
    judged(case.verdict)


@pytest.mark.parametrize(
    "fault",
    [Fault("reset", times=1), Fault("reset half-way", times=1), Fault("truncate", times=1), Fault("status", times=2),
     Fault("reset", times=3)],
    ids=["reset", "reset half-way", "truncated", "503 twice", "reset three times"],
)  # fmt: skip
def test_a_source_that_fails(
    world: World, judged: Judged, tmp_path: Path, fault: Fault, request: pytest.FixtureRequest
) -> None:
    name = f"source: {request.node.callspec.id}"
    account = world.accounts[NEW]
    with (
        started(world, "sync", "a whole sync", name, tmp_path) as case,
        faulting_proxy(int(account.port or 0), fault) as proxy,
    ):
        case.outcome = case.ended(Child(case.job(account=replace(account, port=proxy.port))), "the run")
    judged(case.verdict)


@pytest.mark.parametrize("how", ["a row changed in the version", "a byte flipped in the file"])
def test_rot_in_a_published_version_is_found_and_cured(world: World, judged: Judged, tmp_path: Path, how: str) -> None:
    with started(world, "load", "a published version", how, tmp_path) as case:
        case.child = Child(case.job())
        case.outcome = case.ended(case.child, "the run")
        case.demand(_matches(case), "it did not match its release before")
        if "byte" in how:
            _flip_a_byte(case)
        else:
            with case.session() as session:
                session.execute("UPDATE poles SET name = 'rotten' WHERE code = 1000")
        case.demand(not _matches(case), "matches_release did not find it")
        outcome = case.ended(Child(case.job(force=True)), "the cure")
        case.demand(outcome.word == "published" and _matches(case), f"it was not cured: {outcome}")
    judged(case.verdict)


def _matches(case: Case) -> bool:
    target = Target(conninfo=case.address())
    release = Release(str(case.folder), "v", case.folder / ".cache")
    [(_, found)] = match_release([made_up()], release, target, Stop(), lambda _: None)
    return bool(getattr(found, "passed", False))


def _flip_a_byte(case: Case) -> None:
    """In the middle of a name, behind the server's back."""
    with case.session() as session:
        [(relation,)] = session.execute("SELECT relid::oid FROM pg_partition_tree('poles') WHERE isleaf").fetchall()
        [(path,)] = session.execute("SELECT pg_relation_filepath(%s::oid)", [relation]).fetchall()
        session.execute("CHECKPOINT")
    case.world.stop("fast")
    file = case.world.cluster.data / path
    raw = file.read_bytes()
    there = raw.index(b"Pole c100")
    with file.open("r+b") as rotten:
        rotten.seek(there)
        rotten.write(b"Q")
    case.world.cluster.start()


@pytest.mark.parametrize("kind", KINDS)
def test_a_database_that_is_dumped_and_restored(world: World, judged: Judged, tmp_path: Path, kind: Kind) -> None:
    restored = world.restored()
    with started(world, kind, f"a whole {kind}", "dumped and restored before", tmp_path, database=restored) as case:
        case.look("after the restore", [case.state[OLD]])
        case.outcome = case.ended(Child(case.job()), "the run")
        case.demand(case.outcome.ended_well, f"it ended otherwise: {case.outcome}")
    judged(case.verdict)
