"""What the ledger says is wrong: of real syncs and loads that fail, are late, or died."""

from __future__ import annotations

import socket
from dataclasses import replace
from datetime import timedelta

import pytest

from flux_assets.alerting.incident import Observation, Policy, join_causes
from flux_assets.alerting.watching import Watch
from flux_assets.errors import FluxError
from flux_assets.postgis.session import Target
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows
from flux_assets_tests.synced import FAULTS, FEEDERS, Utility

POLES = made_up()


def watch(schema: str, *tables, policy: Policy | None = None) -> Watch:
    return Watch(
        schema=schema, tables=tables or (POLES, FAULTS, FEEDERS), policy=policy or Policy(),
        clean=lambda text: text.replace("hush", "***"),
    )  # fmt: skip


def seen(target: Target, *tables, policy: Policy | None = None) -> dict[str, Observation]:
    """What is wrong, by kind; one of each kind at most."""
    with target.session("test") as session:
        observed, _ = watch(target.schema, *tables, policy=policy).observed(session)
    found = join_causes(observed.wrong)
    assert len({each.kind for each in found}) == len(found)
    return {each.kind: each for each in found}


@pytest.fixture
def loader(target, tmp_path) -> Loader:
    return Loader(target, ReleaseFolder(tmp_path / "v1"))


@pytest.fixture
def failing(utility: Utility) -> Utility:
    """Synced once; then one of the sources is gone."""
    utility.tell("INSERT INTO FEEDERS VALUES ('A', 'Alder', 5), ('B', 'Birch', 6)")
    utility.synced()
    utility.tell("ALTER TABLE FEEDERS RENAME TO ELSEWHERE")
    return utility


def note(sql, table: str, status: str, minutes: float, message: str | None = None, run_id: str | None = None) -> None:
    """A row of the ledger that ended so long ago."""
    sql(
        "INSERT INTO postgres_sync.sync_status (layer_name, status, started_at, completed_at, error_message, run_id)"
        " SELECT %s, %s, at, at, %s, %s FROM (SELECT now() - %s * interval '1 minute') AS run (at)",
        table, status, message, run_id, minutes,
    )  # fmt: skip


def test_where_nothing_was_ever_loaded_nothing_is_wrong(target):
    assert seen(target) == {}


def test_where_all_is_well_nothing_is_wrong(utility, loader, target):
    loader.load(POLES, rows(3))
    utility.synced()
    assert seen(target) == {}


def test_a_sync_that_fails_again_and_again(failing, target):
    for number in (1, 2, 3):
        assert failing.failed(run_id=f"run-{number}").keys() == {"feeders"}
        one = seen(target)["sync"]
        assert (one.tables, one.ticks, one.ready, one.settled) == (("feeders",), number, number == 3, number == 3)
    assert one.run_id == "run-3"
    assert "does not exist" in one.problem
    assert "FLUX_CONFIG" in one.remedy
    failing.tell("ALTER TABLE ELSEWHERE RENAME TO FEEDERS")
    failing.synced()
    assert seen(target) == {}


def test_what_all_tables_suffer_from_is_one_thing(failing, target):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        failing.account = replace(failing.account, port=free.getsockname()[1])
    assert failing.failed().keys() == {"faults", "feeders"}
    one = seen(target)["sync"]
    assert (one.tables, one.cause) == (("faults", "feeders"), "Snowflake at # cannot be reached")


def test_a_cause_counts_from_when_it_began(failing, target, sql):
    sql("UPDATE postgres_sync.sync_status SET completed_at = now() - interval '1 hour'")
    for minutes, message in [(40, "A guard: 1."), (30, "A guard: 2."), (20, "It is away: x."), (10, "It is away: y.")]:
        note(sql, "feeders", "FAILED", minutes, message)
    one = seen(target)["sync"]
    assert (one.cause, one.problem, one.ticks) == ("It is away", "It is away: y.", 4)
    assert (one.ready, one.settled) == (True, False)
    assert seen(target, policy=Policy(after=2))["sync"].settled
    assert not seen(target, policy=Policy(after=timedelta(minutes=25)))["sync"].settled
    assert seen(target, policy=Policy(after=timedelta(minutes=15)))["sync"].settled


def test_minutes_instead_of_ticks(utility, target, sql):
    utility.synced()
    sql("UPDATE postgres_sync.sync_status SET completed_at = now() - interval '1 hour'")
    note(sql, "feeders", "FAILED", 14)
    assert not seen(target, policy=Policy(after=timedelta(minutes=15)))["sync"].ready
    note(sql, "feeders", "FAILED", 16)
    assert seen(target, policy=Policy(after=timedelta(minutes=15)))["sync"].ready


def test_secrets_stay_behind(utility, target, sql):
    utility.synced()
    note(sql, "feeders", "FAILED", -1, "It said hush. Never hush.")
    one = seen(target)["sync"]
    assert "hush" not in repr(one)
    assert one.problem == "It said ***."


def test_a_process_that_died(utility, target, sql):
    utility.synced()
    sql(
        "INSERT INTO postgres_sync.sync_status (layer_name, run_id, started_at, backend_pid, backend_start)"
        " VALUES ('poles', 'run-9', now() + interval '1 minute', 1, now())"
    )
    one = seen(target)["load"]
    assert (one.tables, one.run_id) == (("poles",), "run-9")
    assert "died" in one.problem
    sql("UPDATE postgres_sync.sync_status SET backend_pid = pid, backend_start = s.backend_start"
        " FROM pg_stat_activity AS s WHERE s.pid = pg_backend_pid() AND run_id = 'run-9'")  # fmt: skip
    assert seen(target) == {}, "it lives"


def test_a_load_that_fails_is_told_at_once_and_is_over_with_the_next(loader, target):
    loader.load(POLES, rows(3))
    with pytest.raises(FluxError) as caught:
        loader.load(POLES, [row | {"longitude": 999} for row in rows(3)])
    one = seen(target)["load"]
    assert (one.tables, one.ready, one.ticks) == (("poles",), True, 1)
    assert str(caught.value).startswith(one.problem)
    loader.load(POLES, rows(4))
    assert seen(target) == {}


@pytest.mark.parametrize("said", ["poles: stopped on request; what was there before stays.", "Stopped on request."])
def test_who_stops_a_load_knows(loader, target, sql, said):
    loader.load(POLES, rows(3))
    note(sql, "poles", "FAILED", -1, said)
    assert seen(target) == {}


def test_a_refused_rollback_says_nothing_of_the_table(loader, target, sql):
    loader.load(POLES, rows(3))
    note(sql, "poles", "FAILED", -1, "There is no earlier version.")
    sql("UPDATE postgres_sync.sync_status SET sync_type = 'ROLLBACK' WHERE status = 'FAILED'")
    assert seen(target) == {}


def test_who_gave_up_while_another_was_loading_has_not_failed_when_that_one_is_done(loader, target, sql):
    loader.load(POLES, rows(3))
    note(sql, "poles", "FAILED", 0, "Another process is loading it.")
    sql("UPDATE postgres_sync.sync_status SET completed_at = now() + interval '1 minute' WHERE status = 'SUCCESS'")
    assert seen(target) == {}


def test_a_layer_that_is_not_what_was_published(loader, target, sql):
    loader.load(POLES, rows(3))
    sql("DROP TABLE poles CASCADE")
    one = seen(target)["layer"]
    assert one.tables == ("poles",)
    assert "is gone" in one.problem


def test_a_picture_that_is_too_old(utility, target, sql):
    utility.synced()
    sql("UPDATE postgres_sync.sync_status SET source_instant = source_instant - interval '25 minutes'"
        " WHERE layer_name = 'feeders'")  # fmt: skip
    one = seen(target)["late"]
    assert (one.tables, one.symptom) == (("feeders",), True)
    assert one.problem == "Its data is 25 min old; 16 min are allowed."


def test_runs_of_which_the_ledger_knows_the_failure(utility, target, sql):
    utility.synced()
    note(sql, "feeders", "FAILED", 9, "x", "run-1")
    note(sql, "faults", "SUCCESS", 9, None, "run-1")
    with target.session("test") as session:
        assert watch("public").failed_on(session, ["run-1", "run-2"]) == {("run-1", "feeders")}
        assert watch("other").failed_on(session, ["run-1"]) == set()
        assert watch("public").failed_on(session, []) == set()
