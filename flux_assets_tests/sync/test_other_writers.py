"""The old loader or the old task still runs: status, check and alert name it, and say how to stop it."""

from __future__ import annotations

from time import monotonic, sleep

import psycopg
import pytest

from flux_assets.alerting.incident import Policy
from flux_assets.alerting.watching import Watch
from flux_assets.cli.status import drawn_statuses
from flux_assets.layers.status import audit_live, table_statuses
from flux_assets.ledger.status import TableStatus
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.session import Target
from flux_assets.sync.live_audit import AuditRequest, audit_tables
from flux_assets_tests.conftest import Sql
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows
from flux_assets_tests.sync_runs import filled
from flux_assets_tests.synced import FAULTS, FEEDERS, Utility

pytestmark = pytest.mark.bare

POLES = made_up()
TASK = "ALTER TASK POSTGRES_SYNC.TASK_DYNAMIC_POSTGRES_SYNC SUSPEND"
# What the old task does, at each of its runs.
TRUNCATED = """
CREATE TEMP TABLE kept AS TABLE faults; TRUNCATE faults;
INSERT INTO faults SELECT * FROM kept
"""


@pytest.fixture
def synced(utility: Utility) -> Utility:
    filled(utility).synced()
    return utility


@pytest.fixture
def loader(target, tmp_path) -> Loader:
    return Loader(target, ReleaseFolder(tmp_path / "v1"))


def as_others(target: Target, statements: str) -> None:
    """Run statements in a session of their own, whose end tells the statistics of them."""
    with psycopg.connect(target.conninfo, autocommit=True) as session:
        session.execute(statements)


def status_of(target: Target, table=FAULTS) -> TableStatus:
    (status,) = table_statuses(target, [table])
    return status


def alerts(target: Target, *tables) -> list[tuple]:
    watch = Watch(schema=target.schema, tables=tables or (FAULTS, FEEDERS), policy=Policy(), clean=str)
    with target.session("test") as session:
        observed, _ = watch.observed(session)
    return [(each.kind, each.tables, each.problem, each.remedy) for each in observed.wrong]


def only_writer(utility: Utility) -> tuple[bool, tuple[str, ...]]:
    request = AuditRequest(table=FAULTS, names=["only_writer"])
    (audit,) = audit_tables([request], utility.target, utility.source, Stop())["faults"].audits
    return audit.passed, audit.sample


def test_where_nobody_else_writes_nobody_is_named(synced: Utility) -> None:
    synced.tell("UPDATE FAULTS SET HOMES = 9")
    for options in ({}, {}, {"force": True}):
        synced.synced(**options)
        assert status_of(synced.target).others_wrote == ""
    assert only_writer(synced) == (True, ())
    assert alerts(synced.target) == []


@pytest.mark.parametrize(
    ("done", "found"),
    [
        (TRUNCATED, "rows that no sync wrote: 2 of 2"),
        ("UPDATE faults SET homes = 7 WHERE fault_id = 'F1'", "rows that no sync wrote: 1 of 2"),
        ("DELETE FROM faults WHERE fault_id = 'F1'", "rows taken out: 1"),
        ("DROP TABLE faults", "the table was replaced by another, or dropped"),
        ("ALTER TABLE faults RENAME TO f; CREATE TABLE faults (LIKE f INCLUDING ALL); INSERT INTO faults TABLE f",
         "the table was replaced by another, or dropped"),
    ],
    ids=["truncated", "updated", "deleted", "dropped", "replaced"],
)  # fmt: skip
def test_who_writes_between_two_syncs_is_named(done: str, found: str, synced: Utility, sql: Sql) -> None:
    as_others(synced.target, done)
    synced.synced()
    status = status_of(synced.target)
    assert (status.state, status.trusted, status.detail) == ("live", True, ""), "the sync has put it right"
    assert f"({found}): stop the old loader" in status.others_wrote
    assert TASK in status.others_wrote
    assert TASK in " ".join(drawn_statuses([status], terminal=False).split())
    passed, sample = only_writer(synced)
    assert (passed, sample) == (False, (status.others_wrote,))
    ((kind, tables, problem, remedy),) = alerts(synced.target)
    assert (kind, tables) == ("writers", ("faults",))
    assert found in problem
    assert remedy.startswith("Stop the old loader")
    assert any(f"others wrote it since the last sync ({found})" in line for line in synced.log)
    synced.synced()
    assert status_of(synced.target).others_wrote == status.others_wrote, "told for an hour"
    sql("UPDATE postgres_sync.sync_state SET others_wrote_at = others_wrote_at - interval '1 hour'")
    assert status_of(synced.target).others_wrote == ""
    assert alerts(synced.target) == []


@pytest.mark.parametrize("done", ["VACUUM FULL faults", "CLUSTER faults USING faults_pkey", "ANALYZE faults"])
def test_rows_that_only_moved_are_not_written(done: str, synced: Utility) -> None:
    synced.tell("UPDATE FAULTS SET HOMES = 9 WHERE FAULT_ID = 'F1'")
    synced.synced()
    as_others(synced.target, done)
    synced.synced()
    assert status_of(synced.target).others_wrote == ""


def test_a_table_that_took_the_place_of_ours_is_no_promise(synced: Utility) -> None:
    """The next sync refuses what the old sync would have made: who says that it fixes it is wrong."""
    as_others(synced.target, "DROP TABLE faults; CREATE TABLE faults (fault_id text PRIMARY KEY, feeder numeric)")
    status = status_of(synced.target)
    assert status.state == "broken"
    assert status.detail.endswith(
        "another table than the one that the last sync left; `flux-assets doctor` says what to do"
    )
    assert status.others_wrote.startswith("others did that: stop the old loader")
    assert "faults" in synced.failed()
    assert status_of(synced.target).detail == status.detail


def seen_broken(target: Target) -> TableStatus:
    """The state once the statistics of the other session have arrived."""
    until = monotonic() + 20
    while (status := status_of(target, POLES)).state != "broken":
        assert monotonic() < until
        sleep(0.05)
    return status


@pytest.mark.parametrize(
    ("done", "found"),
    [
        ("CREATE TEMP TABLE kept AS TABLE poles; TRUNCATE poles; INSERT INTO poles SELECT * FROM kept",
         "5 rows added, 0 changed or deleted"),
        ("UPDATE poles SET code = code + 100", "0 rows added, 5 changed or deleted"),
        ("DELETE FROM poles WHERE id = '000001'", "0 rows added, 1 changed or deleted"),
    ],
    ids=["truncated", "updated", "deleted"],
)  # fmt: skip
def test_a_layer_that_others_wrote_is_not_trusted(done: str, found: str, loader: Loader, target: Target) -> None:
    loader.load(POLES, rows(5))
    as_others(target, done)
    status = seen_broken(target)
    assert found in status.detail
    assert status.detail.endswith("load it again with force: true")
    assert "stop the old loader" in status.others_wrote
    ((kind, _, problem, remedy),) = alerts(target, POLES)
    assert (kind, found in problem, "Others did that: stop the old loader" in remedy) == ("layer", True, True)
    (audit,) = audit_live(POLES, target, ["only_writer"])
    assert (audit.passed, audit.sample) == (False, (status.others_wrote,))
    loader.load(POLES, force=True)
    status = status_of(target, POLES)
    assert (status.state, status.others_wrote) == ("live", "")
    (audit,) = audit_live(POLES, target, ["only_writer"])
    assert audit.passed
