"""The state of tables, each state brought about for real."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep

import pytest

from flux_assets.errors import FluxError, LayerError, TargetError
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.rollback import rollback, unpin
from flux_assets.layers.status import layer_versions, table_statuses
from flux_assets.ledger.status import TableStatus
from flux_assets.spec.facts import Freshness
from flux_assets.sync.result import SyncOptions
from flux_assets.sync.setup import set_up_tables
from flux_assets.tables import dynamic_tables
from flux_assets.words import in_words
from flux_assets_tests.cases import CASE_FILES
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows
from flux_assets_tests.synced import FAULTS, FEEDERS, Utility

PATIENCE = 60
POLES = made_up()
# A load as the engine begins it, in a process of its own that can be killed.
RUNNING = """
import sys, time
from flux_assets.postgis.session import prepare
from flux_assets.postgis.session import Target
from flux_assets.postgis.relations import Layer
from flux_assets_tests.leasing import open_entry
from flux_assets_tests.made_layers import made_up
with Target(conninfo=sys.argv[1]).session("load poles") as session:
    prepare(session, "public")
    open_entry(session, Layer("public", made_up()), "FULL", "run-7")
    print(session.info.backend_pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def loader(target, tmp_path) -> Loader:
    return Loader(target, ReleaseFolder(tmp_path / "v1"))


@contextmanager
def load_under_way(target) -> Iterator[subprocess.Popen]:
    command = [sys.executable, "-c", RUNNING, target.conninfo]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parent, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def killed(process: subprocess.Popen, sql) -> None:
    backend = int(process.stdout.readline())
    process.kill()
    process.wait()
    until = monotonic() + PATIENCE
    while sql("SELECT FROM pg_stat_activity WHERE pid = %s", backend):
        assert monotonic() < until
        sleep(0.02)


def state(target, table=POLES) -> TableStatus:
    (status,) = table_statuses(target, [table])
    return status


def test_nothing_is_made_by_looking(target, sql):
    assert (state(target).state, state(target).wrong) == ("never loaded", False)
    assert state(target).detail == ""
    assert layer_versions(target, [POLES]) == []
    assert sql("SELECT FROM pg_namespace WHERE nspname IN ('postgres_sync', 'flux_versions')") == []


def test_live(loader, target):
    result = loader.load(POLES, rows(7), run_id="run-1")
    status = state(target)
    assert (status.state, status.detail, status.wrong) == ("live", "", False)
    assert (status.version, status.rows, status.release_tag, status.run_id) == (result.version, 7, "v1", "run-1")
    assert timedelta(0) <= datetime.now(UTC) - status.checked_at < timedelta(seconds=PATIENCE)
    assert 0 <= status.checked_age_seconds < PATIENCE


def test_an_unchanged_load_counts_as_the_last_one(loader, target):
    loader.load(POLES, rows(7))
    first = state(target)
    loader.load(POLES)
    second = state(target)
    assert second.checked_at > first.checked_at
    assert (second.published_at, second.source_changed_at) == (first.published_at, first.source_changed_at)


def test_tables_come_in_the_order_asked_for(loader, target):
    loader.load(POLES, rows(3))
    other = made_up("masts")
    assert [(s.table, s.state) for s in table_statuses(target, [other, POLES])] == [
        ("masts", "never loaded"),
        ("poles", "live"),
    ]


def test_a_failed_load_says_why_and_what_is_still_served(loader, target):
    version = loader.load(POLES, rows(3)).version
    last = state(target).checked_at
    with pytest.raises(FluxError) as raised:
        loader.load(POLES, "id,code\nx,not a number\n")
    status = state(target)
    assert (status.state, status.trusted, status.detail) == ("live", True, ""), "readers see what they saw before"
    assert (status.last_attempt, status.attempt_failed, status.wrong) == ("failed", True, False)
    assert str(raised.value).splitlines()[0] in status.last_attempt_detail
    assert f"still serving version {version[:12]}" in status.last_attempt_detail
    assert status.last_attempt_at > last
    assert 0 <= status.last_attempt_age_seconds < PATIENCE
    assert (status.version, status.checked_at) == (version, last)
    loader.load(POLES, rows(4))
    assert (state(target).state, state(target).last_attempt) == ("live", "succeeded")


def test_a_table_that_is_damaged_and_whose_load_failed_is_both(loader, target, sql):
    loader.load(POLES, rows(3))
    with pytest.raises(FluxError):
        loader.load(POLES, "")
    sql("ALTER TABLE poles RENAME TO other")
    status = state(target)
    assert (status.state, status.trusted, status.last_attempt) == ("broken", False, "failed")
    assert status.detail == "table public.poles is gone; load it again"


def test_a_failed_first_load(loader, target):
    with pytest.raises(FluxError):
        loader.load(POLES, "")
    status = state(target)
    assert (status.state, status.trusted, status.last_attempt) == ("never loaded", None, "failed")
    assert "nothing was published before" in status.last_attempt_detail
    assert state(target).checked_at is None


def test_a_load_under_way_and_one_whose_process_died(loader, target, sql):
    version = loader.load(POLES, rows(3)).version
    with load_under_way(target) as process:
        until = monotonic() + PATIENCE
        while state(target).last_attempt != "under way":
            assert monotonic() < until
            sleep(0.05)
        assert (state(target).state, state(target).wrong, state(target).run_id) == ("live", False, "run-7")
        assert f"still serving version {version[:12]}" in state(target).last_attempt_detail
        killed(process, sql)
    status = state(target)
    assert (status.state, status.wrong) == ("live", False)
    assert (status.last_attempt, status.attempt_failed) == ("interrupted", True)
    assert f"still serving version {version[:12]}" in status.last_attempt_detail
    loader.load(POLES, rows(3))
    assert state(target).state == "live"


def test_a_run_that_gave_up_does_not_hide_the_one_under_way(loader, target, sql):
    """The one that gave up began later."""
    with load_under_way(target) as process:
        process.stdout.readline()
        with pytest.raises(FluxError):
            loader.load(POLES, "")
        assert state(target).last_attempt == "under way"


def test_a_refused_rollback_says_nothing_about_the_table(loader, target):
    loader.load(POLES, rows(3))
    with pytest.raises(LayerError):
        rollback(POLES, target, LoadOptions(), lambda _: None)
    assert state(target).state == "live"


def test_a_rolled_back_table_is_live_and_says_so_until_a_load_found_it_right(loader, target):
    first = loader.load(POLES, rows(3)).version
    second = loader.load(POLES, rows(4)).version
    rollback(POLES, target, LoadOptions(), lambda _: None)
    assert (state(target).state, state(target).version, state(target).wrong) == ("live", first, False)
    held = "no load publishes another version before `flux-assets unpin poles`"
    assert state(target).detail == f"pinned just now (rolled back from version {second[:12]}): {held}"
    # Again: from the version that it went back to.
    rollback(POLES, target, LoadOptions(), lambda _: None)
    assert state(target).detail == f"pinned just now (rolled back from version {first[:12]}): {held}"
    rollback(POLES, target, LoadOptions(), lambda _: None)
    unpin(POLES, target)
    after = "the next load publishes what the release holds"
    assert state(target).detail == f"rolled back just now from version {second[:12]}; {after}"
    assert loader.load(POLES, rows(3)).outcome == "unchanged"
    assert (state(target).version, state(target).detail) == (first, "")


DAMAGE = {
    "ALTER TABLE poles DETACH PARTITION {version}": "is not attached to public.poles",
    "ALTER TABLE poles DETACH PARTITION {version}; CREATE TABLE mine PARTITION OF poles DEFAULT": "mine is attached",
    "TRUNCATE {version}": "public.poles is empty",
    "CREATE TABLE mine PARTITION OF poles FOR VALUES IN ('mine')": "partitions that flux_assets did not make",
    "DROP TABLE poles": "table public.poles is gone",
    "ALTER TABLE poles RENAME TO other; CREATE TABLE poles (id text)": "is a plain table now",
    "ALTER TABLE poles RENAME TO other; CREATE VIEW poles AS SELECT 1 AS id": "is a view now",
}


@pytest.mark.parametrize("statements", DAMAGE)
def test_a_table_that_was_changed_by_hand_is_not_to_be_trusted(statements, loader, target, sql):
    loader.load(POLES, rows(3))
    ((version,),) = sql("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'poles'::regclass")
    sql(statements.format(version=version))
    status = state(target)
    assert (status.state, status.wrong) == ("broken", True)
    assert DAMAGE[statements] in status.detail
    if not status.detail.endswith("; `flux-assets doctor` says what to do"):
        assert status.detail.endswith("; load it again")
        loader.load(POLES)
        assert state(target).state == "live"


def test_what_has_a_layers_name_before_its_first_load(loader, target, sql):
    knowing = Loader(replace(target, declared=(made_up("masts"), POLES)), loader.source)
    knowing.load(made_up("masts"), rows(1))
    sql("CREATE TABLE poles (id text)")
    assert (state(target).state, state(target).wrong) == ("never loaded", False)
    assert "a plain table of another origin" in state(target).detail


def test_another_schema_is_another_table(loader, target, sql):
    loader.load(POLES, rows(3))
    sql("CREATE SCHEMA gis")
    elsewhere = type(target)(conninfo=target.conninfo, schema="gis")
    assert state(elsewhere).state == "never loaded"
    assert layer_versions(elsewhere, [POLES]) == []


def test_synced_tables_that_no_sync_has_met(loader, target):
    loader.load(POLES, rows(3))
    assert {status.state for status in table_statuses(target, dynamic_tables())} == {"not synced"}
    assert {status.kind for status in table_statuses(target, dynamic_tables())} == {"dynamic"}


def test_versions_are_listed_newest_first(loader, target):
    first = loader.load(POLES, rows(3)).version
    second = loader.load(POLES, rows(4)).version
    assert [(name, v.version, v.current, v.rows, v.state) for name, v in layer_versions(target, [POLES])] == [
        ("poles", second, True, 4, "published"),
        ("poles", first, False, 3, "published"),
    ]


def test_a_publish_between_two_glances_is_no_damage(loader, target, sql):
    """Looked at again and again while versions are swapped: what is seen is always one version, whole."""
    loader.load(POLES, rows(3))
    command = [sys.executable, "-c", SWAPPING, target.conninfo]
    loader.load(POLES, rows(4))
    seen = set()
    with subprocess.Popen(command, cwd=Path(__file__).parent, stdout=subprocess.PIPE) as process:
        while process.poll() is None:
            seen.add(state(target).state)
    assert process.returncode == 0
    assert seen == {"live"}
    assert seen


SWAPPING = """
import sys
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.rollback import rollback
from flux_assets.postgis.session import Target
from flux_assets_tests.made_layers import made_up
for _ in range(15):
    rollback(made_up(), Target(conninfo=sys.argv[1]), LoadOptions(), print)
"""


@pytest.fixture
def synced(utility) -> Utility:
    """Two tables in step with a source that has not changed since."""
    utility.tell("INSERT INTO FEEDERS VALUES ('A', 'Alder', 5), ('B', 'Birch', 6)")
    utility.synced()
    return utility


def aged(sql, table: str, **spans: str) -> None:
    """Move times of a table's last success into the past."""
    for column, span in spans.items():
        sql(
            f"UPDATE postgres_sync.sync_status SET {column} = {column} - interval '{span}' WHERE sync_id ="
            " (SELECT max(sync_id) FROM postgres_sync.sync_status WHERE layer_name = %s AND status = 'SUCCESS')",
            table,
        )


def test_a_synced_table_is_live(synced):
    status = state(synced.target, FEEDERS)
    assert (status.state, status.trusted, status.kind, status.rows, status.version) == (
        "live",
        True,
        "dynamic",
        2,
        None,
    )
    assert 0 <= status.lag_seconds < PATIENCE


def test_unchanged_and_looked_at_is_live(synced):
    before = state(synced.target, FEEDERS)
    assert synced.synced()["feeders"].outcome == "unchanged"
    assert state(synced.target, FEEDERS).state == "live"
    assert state(synced.target, FEEDERS).checked_at > before.checked_at


def test_a_source_that_stands_still_is_worth_a_look_and_no_fault(synced, sql):
    aged(sql, "feeders", source_changed_at="25 hours")
    status = state(synced.target, FEEDERS)
    assert (status.state, status.trusted, status.wrong) == ("still", True, False)
    assert status.detail == "its source has not changed for 1 day"
    assert state(synced.target, FAULTS).state == "live"


def test_a_table_that_nobody_syncs_any_more_is_late(synced, sql):
    aged(sql, "feeders", source_instant="17 minutes", source_changed_at="30 hours")
    status = state(synced.target, FEEDERS)
    assert (status.state, status.wrong) == ("late", True)
    assert status.detail == "expected within 16 minutes; is dynamic_sync_schedule running?"
    assert int(status.lag_seconds // 60) == 17
    sql(
        "INSERT INTO postgres_sync.sync_status (layer_name, status, backend_pid, backend_start)"
        " SELECT 'feeders', 'RUNNING', pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
    )
    assert state(synced.target, FEEDERS).state == "late", "one that hangs brings nothing"
    assert "a sync is under way, begun just now" in state(synced.target, FEEDERS).detail


def test_how_late_is_late_is_said_by_the_declaration(synced, sql):
    aged(sql, "feeders", source_instant="17 minutes", source_changed_at="2 hours")
    patient = Freshness(warn=timedelta(hours=1), fail=timedelta(hours=2), still=timedelta(hours=1))
    synced.tables = (FAULTS, replace(FEEDERS, freshness=patient))
    synced.synced("faults")
    assert state(synced.target, FEEDERS).state == "still"


def test_a_sync_that_failed(synced, sql):
    sql("ALTER TABLE feeders ADD CHECK (homes < 10)")
    synced.tell("UPDATE FEEDERS SET HOMES = 50")
    error = synced.failed()["feeders"]
    status = state(synced.target, FEEDERS)
    assert (status.state, status.trusted, status.last_attempt, status.failures_last_hour) == ("live", True, "failed", 1)
    assert status.last_error == error.splitlines()[0]
    assert status.last_attempt_detail == f"just now: {status.last_error} (it shows the source of just now)"
    assert state(synced.target, FAULTS).last_attempt == "succeeded"
    aged(sql, "feeders", source_instant="17 minutes", source_changed_at="30 hours")
    status = state(synced.target, FEEDERS)
    assert (status.state, status.trusted, status.last_attempt) == ("late", False, "failed")
    assert status.detail == "expected within 16 minutes; its last sync failed"


def test_a_failure_that_is_over_is_still_told_for_an_hour(synced, sql):
    sql(
        "INSERT INTO postgres_sync.sync_status (layer_name, status, started_at, completed_at, error_message)"
        " SELECT 'feeders', 'FAILED', at, at, E' no route to Snowflake\\nTry again.'"
        " FROM (SELECT now() - minutes * interval '1 minute' FROM unnest(ARRAY[50, 20, 120]) AS minutes) AS run (at)"
    )
    status = state(synced.target, FEEDERS)
    assert (status.state, status.failures_last_hour, status.last_error) == ("live", 2, "no route to Snowflake")
    assert (status.detail, status.last_attempt) == ("", "succeeded")
    assert status.last_attempt_detail == "failed 2 times in the last hour, at last: no route to Snowflake"


@pytest.mark.parametrize("length", [120, 121, 500])
def test_of_a_failure_that_is_over_the_beginning_is_told(synced, sql, length):
    sql(
        "INSERT INTO postgres_sync.sync_status (layer_name, status, started_at, completed_at, error_message)"
        " SELECT 'feeders', 'FAILED', at, at, repeat('x', %s) FROM (SELECT now() - interval '1 minute') AS run (at)",
        length,
    )
    status = state(synced.target, FEEDERS)
    said = "x" * 120 + (" …" if length > 120 else "")
    assert (status.last_attempt_detail, status.last_error) == (f"failed once in the last hour: {said}", "x" * length)


SYNCED_DAMAGE = {
    "DROP TABLE feeders": "table public.feeders is gone",
    "ALTER TABLE feeders RENAME TO other; CREATE VIEW feeders AS SELECT 1": "public.feeders is a view now",
    "TRUNCATE feeders": "public.feeders is empty, and the last sync left 2 rows",
}


@pytest.mark.parametrize("statements", SYNCED_DAMAGE)
def test_a_synced_table_that_was_changed_by_hand(statements, synced, sql):
    sql(statements)
    status = state(synced.target, FEEDERS)
    assert (status.state, status.wrong) == ("broken", True)
    assert SYNCED_DAMAGE[statements] in status.detail
    if "VIEW" in statements:
        assert status.detail.endswith("; `flux-assets doctor` says what to do")
    else:
        assert status.detail.endswith("; the next sync fixes it")
        synced.synced()
        assert state(synced.target, FEEDERS).state == "live"


def test_a_synced_table_without_rows_is_not_broken(synced, sql):
    assert (state(synced.target, FAULTS).rows, state(synced.target, FAULTS).state) == (0, "live")


@pytest.mark.parametrize("how", ["a load", "a sync", "the set-up"])
def test_every_declared_table_is_known_once_any_was_loaded_or_synced(how, loader, utility, sql):
    """SQL users have no declarations: they see a row for each all the same."""
    masts = made_up("masts")
    target = replace(utility.target, declared=(masts, POLES, FEEDERS, FAULTS))
    if how == "a load":
        Loader(target, loader.source).load(POLES, rows(3))
    else:
        utility.target = target
        done = utility.sync() if how == "a sync" else set_up_tables(utility.family.tables, target, SyncOptions(), print)
        assert done
    found = dict(sql("SELECT layer_name, state FROM postgres_sync.v_table_status"))
    assert list(found) == ["masts", "poles", "feeders", "faults"]
    expected = {"a load": {"poles": "live"}, "a sync": {"feeders": "live", "faults": "live"}, "the set-up": {}}
    nothing = {"masts": "never loaded", "poles": "never loaded", "feeders": "not synced", "faults": "not synced"}
    assert found == nothing | expected[how]
    assert sql("SELECT count(*) FROM postgres_sync.v_table_status WHERE trusted IS NULL") == [(4 - len(expected[how]),)]


def test_a_table_that_is_declared_no_more_is_listed_no_more(loader, target, sql):
    Loader(replace(target, declared=(POLES, made_up("masts"))), loader.source).load(POLES, rows(3))
    Loader(replace(target, declared=(POLES,)), loader.source).load(POLES)
    assert sql("SELECT layer_name FROM postgres_sync.v_table_status") == [("poles",)]


def test_who_looks_keeps_no_version_from_being_published(loader, target):
    """A dashboard that leaves its transaction open has locked none of the tables that it was told of."""
    loader.load(POLES, rows(3))
    with target.session("dashboard") as session, session.transaction():
        session.execute("SELECT * FROM postgres_sync.v_table_status").fetchall()
        result = loader.load(POLES, rows(4), publish_wait=timedelta(0))
    assert result.outcome == "published"


def test_who_looks_does_not_wait_for_a_table_that_is_locked(loader, target):
    """While somebody rewrites a table is when others ask whether it can be trusted."""
    loader.load(POLES, rows(3))
    with target.session("rewriter") as rewriter, target.session("look") as session, rewriter.transaction():
        rewriter.execute("LOCK TABLE public.poles IN ACCESS EXCLUSIVE MODE")
        session.execute("SET lock_timeout = '1s'")
        assert session.execute("SELECT state FROM postgres_sync.v_table_status").fetchall() == [("live",)]


@pytest.mark.bare
def test_a_ledger_of_an_earlier_release_is_said_to_be_one(target, sql):
    sql((CASE_FILES / "ledger_revision_2.sql").read_text())
    with pytest.raises(TargetError, match="made by an earlier release"):
        table_statuses(target, [POLES])


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "just now"), (59.9, "just now"), (60, "1 minute ago"), (7199, "1 hour ago"), (7200, "2 hours ago"),
        (86400, "1 day ago"), (864000, "10 days ago"), (-3, "just now"),
    ],
)  # fmt: skip
def test_ages_in_words(seconds, words):
    assert in_words(seconds) == words
