"""The dynamic tables as assets, of a made-up utility: what a run records, and what it does when a table fails."""

from __future__ import annotations

import datetime as dt

import dagster as dg
import pytest
from dagster import DagsterEventType as Event
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from flux_assets.checks.sync_audits import ALWAYS_JUDGED, sync_audits
from flux_assets.layers.status import table_statuses
from flux_assets.orchestration import sync_assets
from flux_assets.orchestration.checks import JUDGED_AT
from flux_assets.orchestration.sync_assets import STEP
from flux_assets.settings import load_settings
from flux_assets.sync import sync
from flux_assets_tests.leasing import someone_else
from flux_assets_tests.running import Run, run_assets
from flux_assets_tests.sync_runs import definitions, fault, filled, tick
from flux_assets_tests.synced import FAULTS, FEEDERS, Utility


@pytest.fixture
def running(reached: Utility) -> Utility:
    """Two faults on two feeders, and settings that lead to both ends."""
    return filled(reached)


@pytest.fixture
def defs() -> dg.Definitions:
    return definitions()


def asked(**config: bool) -> dict:
    return {"ops": {STEP: {"config": config}}}


def figures(run: Run, name: str) -> dict:
    return {key: value.value for key, value in run.materialized()[name].metadata.items()}


def test_all_are_synced_in_one_step(defs, instance, running, sql):
    run = run_assets(defs, instance, "faults", "feeders")
    assert run.succeeded
    assert run.steps(Event.STEP_SUCCESS) == [STEP]
    assert list(run.materialized()) == ["faults", "feeders"]
    assert sql("SELECT feeder, faults FROM feeders ORDER BY 1") == [("A", 1), ("B", 1)]
    shown = figures(run, "faults")
    assert (shown["dagster/row_count"], shown["rows_read"], shown["rows_inserted"]) == (2, 2, 2)
    assert (shown["rows_updated"], shown["rows_deleted"], shown["rows_unchanged"]) == (0, 0, 0)
    assert shown["outcome"] == "changed"
    assert shown["gate"] == "first sync"
    assert shown["bytes"] > 0
    assert {"gate", "connect", "read", "stage", "compare", "write", "commit"} <= shown["step_seconds"].keys()
    assert shown["source_changed_at"] <= shown["checked_at"]
    assert shown["change_age_seconds"] >= 0
    assert {outcome.passed for (asset, _), outcome in run.checks().items() if asset == "faults"} == {True}
    assert {name for asset, name in run.checks() if asset == "faults"} == {audit.name for audit in sync_audits(FAULTS)}


@pytest.mark.parametrize(
    ("seen_at", "lag", "told"),
    [
        (dt.datetime(2024, 1, 5, 10, 5, 30, 400_000, tzinfo=dt.UTC), 330.4, "330 s behind the source"),
        # The source's clock is ahead of ours.
        (dt.datetime(2024, 1, 5, 9, 59, 59, tzinfo=dt.UTC), 0.0, "0 s behind the source"),
    ],
)
def test_lag_is_the_age_of_the_newest_change_when_readers_could_see_it(
    defs, instance, running, target, monkeypatch, seen_at, lag, told
):
    running.tell(
        "ALTER TABLE FAULTS ADD COLUMN UPDATED_AT TIMESTAMP_NTZ; UPDATE FAULTS SET UPDATED_AT = '2024-01-05 10:00:00';"
        "UPDATE FAULTS SET UPDATED_AT = '2024-01-05 09:00:00' WHERE FAULT_ID = 'F2'"
    )
    write = sync.write
    monkeypatch.setattr(sync, "write", lambda *given: (write(*given), seen_at)[1])
    run = tick(defs, instance)
    changed_at = dt.datetime(2024, 1, 5, 10, tzinfo=dt.UTC)
    shown = figures(run, "faults")
    assert (shown["change_age_seconds"], shown["published_at"]) == (lag, seen_at.timestamp())
    assert shown["source_changed_at"] == changed_at.timestamp()
    assert any(line.startswith("faults: 2 inserted") and told in line for line in run.lines())
    (status,) = table_statuses(target, [FAULTS])
    assert status.source_changed_at == changed_at
    again = figures(tick(defs, instance), "faults")
    assert "change_age_seconds" not in again, "nothing arrived"
    assert again["source_changed_at"] == changed_at.timestamp()


def test_the_ledger_names_the_run(defs, instance, running, sql):
    run = run_assets(defs, instance, "faults")
    assert sql("SELECT DISTINCT run_id FROM postgres_sync.sync_status") == [(run.run_id,)]


def test_one_can_be_synced_alone_and_those_computed_from_it_follow(defs, instance, running, sql):
    run_assets(defs, instance, "faults", "feeders")
    running.tell(fault(3))
    run = run_assets(defs, instance, "faults")
    assert list(run.materialized()) == ["faults"]
    assert sql("SELECT feeder, faults FROM feeders ORDER BY 1") == [("A", 2), ("B", 1)]
    assert any(line.startswith("feeders: 1 rows follow") for line in run.lines())


def test_an_unchanged_tick_is_recorded_with_the_same_version(defs, instance, running):
    first = tick(defs, instance)
    again = tick(defs, instance)
    assert list(again.materialized()) == ["faults", "feeders"]
    assert figures(again, "faults")["outcome"] == "unchanged"
    for name in ("faults", "feeders"):
        versions = [run.materialized()[name].tags["dagster/data_version"] for run in (first, again)]
        assert versions[0] == versions[1]


def test_a_written_table_has_another_version(defs, instance, running):
    first = tick(defs, instance)
    running.tell(fault(3))
    again = tick(defs, instance)
    versions = [run.materialized()["faults"].tags["dagster/data_version"] for run in (first, again)]
    assert versions[0] != versions[1]


def test_every_tick_reports_every_check_and_plans_none(defs, instance, running):
    """Dagster's pages call a check not evaluated unless it came with the newest materialisation."""
    everything = {(table.name, audit.name) for table in (FAULTS, FEEDERS) for audit in sync_audits(table)}
    for _ in range(2):
        run = tick(defs, instance)
        assert set(run.checks()) == everything
        assert not run.events(Event.ASSET_CHECK_EVALUATION_PLANNED)


def test_what_nobody_wrote_is_judged_once_an_hour_and_told_at_every_tick(defs, instance, running, monkeypatch):
    tick(defs, instance)
    judged = {key for key, outcome in tick(defs, instance).checks().items() if JUDGED_AT not in outcome.metadata}
    read = {"columns"}
    assert judged == {(table.name, name) for table in (FAULTS, FEEDERS) for name in ALWAYS_JUDGED | read}
    running.tell(fault(3, place="0, 0"))
    changed = tick(defs, instance).checks()["faults", "within"]
    assert (changed.passed, JUDGED_AT in changed.metadata) == (False, False)
    first, second = (tick(defs, instance).checks()["faults", "within"] for _ in range(2))
    assert (first.passed, first.metadata["zero_zero"], first.description) == (
        False, changed.metadata["zero_zero"], changed.description,
    )  # fmt: skip
    assert first.metadata[JUDGED_AT] == second.metadata[JUDGED_AT]
    monkeypatch.setattr(sync_assets, "_SECONDS_BETWEEN_JUDGEMENTS", -1)
    assert not [outcome for outcome in tick(defs, instance).checks().values() if JUDGED_AT in outcome.metadata]


def test_rows_that_nobody_wrote_are_judged_when_what_they_belong_to_went(defs, instance, running):
    first = tick(defs, instance)
    assert first.checks()["faults", "all_assigned"].passed
    running.tell("DELETE FROM FEEDERS WHERE FEEDER = 'B'")
    run = tick(defs, instance)
    assert figures(run, "faults")["outcome"] == "unchanged"
    assert not run.checks()["faults", "all_assigned"].passed
    assert JUDGED_AT in run.checks()["faults", "unique"].metadata


def test_a_source_that_stood_still_is_told_although_nothing_was_done(defs, instance, running, sql):
    """What time alone moves is judged after every sync, without asking the source again."""
    tick(defs, instance)
    sql("UPDATE postgres_sync.sync_state SET source_changed_at = source_changed_at - interval '2 days'")
    told = tick(defs, instance).checks()
    for key in (("faults", "lag"), ("feeders", "lag")):
        assert (told[key].passed, told[key].severity) == (False, dg.AssetCheckSeverity.WARN)


def test_what_checks_recorded_without_being_selected_say_is_what_the_ui_shows(defs, instance, running):
    run = tick(defs, instance)
    key = dg.AssetCheckKey(dg.AssetKey("faults"), "within")
    record = instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
    assert (record.run_id, record.evaluation.passed) == (run.run_id, True)
    assert not [line for line in run.lines() if "not selected. Letting it through" in line]


def test_force_reads_and_compares_an_unchanged_source(defs, instance, running):
    run_assets(defs, instance, "faults", "feeders")
    forced = run_assets(defs, instance, "faults", "feeders", run_config=asked(force=True))
    assert figures(forced, "faults")["gate"] == "asked for"


def test_a_truncated_source_is_refused_until_it_is_accepted(defs, instance, running, sql):
    running.tell("".join(fault(number) for number in range(10, 40)))
    run_assets(defs, instance, "faults", "feeders")
    running.tell("DELETE FROM FAULTS WHERE FAULT_ID <> 'F1'")
    run = run_assets(defs, instance, "faults", "feeders")
    assert not run.succeeded
    assert list(run.materialized()) == ["feeders"]
    assert red(run) == []
    assert {name for asset, name in run.checks() if asset == "faults"} == {audit.name for audit in sync_audits(FAULTS)}
    assert "31 of its 32 rows" in attempted(run, "faults")["not_published/row_count"].value
    assert "accept_vanished: true" in run.failure(STEP)
    accepted = run_assets(defs, instance, "faults", "feeders", run_config=asked(accept_vanished=True))
    assert accepted.succeeded
    assert sql("SELECT count(*) FROM faults") == [(1,)]


def red(run: Run) -> list[tuple[str, str]]:
    """Checks that say that a table is not to be trusted."""
    error = dg.AssetCheckSeverity.ERROR
    return [key for key, outcome in run.checks().items() if not outcome.passed and outcome.severity is error]


def attempted(run: Run, name: str) -> dict:
    """What a failed attempt has left on the asset's page."""
    (event,) = run.events(Event.ASSET_OBSERVATION)
    assert event.asset_key == dg.AssetKey(name)
    return event.asset_observation_data.asset_observation.metadata


@pytest.mark.parametrize(
    ("script", "check", "key"),
    [(fault(1), "unique", "F1"), (fault(9).replace("'F9'", "NULL"), "not_null", "OPEN")],
)
def test_refused_keys_are_told_of_the_attempt_and_not_of_what_readers_see(defs, instance, running, script, check, key):
    tick(defs, instance)
    running.tell(script)
    run = tick(defs, instance)
    assert key in attempted(run, "faults")[f"not_published/{check}"].value
    assert ("faults", check) not in run.checks()
    assert red(run) == []
    assert not run.succeeded


def test_a_missing_source_fails_its_table_alone(defs, instance, running, sql):
    tick(defs, instance)
    running.tell("DROP TABLE FEEDERS;" + fault(3))
    run = tick(defs, instance)
    assert run.status == dg.DagsterRunStatus.FAILURE
    assert list(run.materialized()) == ["faults"]
    assert sql("SELECT count(*) FROM faults") == [(3,)]
    failed = {key: outcome for key, outcome in run.checks().items() if not outcome.passed}
    assert list(failed) == [("feeders", "columns")]
    assert "FEEDERS" in failed["feeders", "columns"].metadata["sample"].value
    assert "feeders" in run.failure(STEP)
    assert "Stack Trace" not in run.failure(STEP)
    second = tick(defs, instance).checks()
    told = {name for asset, name in second if asset == "feeders"}
    assert told == {"columns"} | ALWAYS_JUDGED, "nothing was materialised, so what was said before still stands"
    assert second["feeders", "recent_failures"].metadata["failed"].value == 2


def test_several_failures_are_told_together(defs, instance, running):
    running.tell("DROP TABLE FEEDERS; DROP TABLE FAULTS")
    told = tick(defs, instance).failure(STEP)
    assert "FEEDERS" in told
    assert "FAULTS" in told


def test_a_missing_optional_column_is_a_warning(defs, instance, running, sql):
    running.tell("ALTER TABLE FEEDERS DROP COLUMN TITLE")
    run = run_assets(defs, instance, "faults", "feeders")
    assert run.succeeded
    outcome = run.checks()["feeders", "columns"]
    assert (outcome.passed, outcome.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "title" in outcome.metadata["sample"].value
    assert figures(run, "feeders")["missing_columns"] == "title"


def test_the_loser_of_the_lock_ends_well_and_records_nothing(defs, instance, running, target):
    with someone_else(target.conninfo):
        run = run_assets(defs, instance, "faults", "feeders")
    assert run.succeeded
    assert run.materialized() == {}
    assert any("(another, user" in line for line in run.lines())
    assert not [line for line in run.lines() if "did not yield" in line]


def test_what_the_loser_of_the_lock_was_asked_for_once_is_told_and_asked_for_again(
    defs, instance, running, sql, target
):
    running.tell("".join(fault(number) for number in range(10, 40)))
    tick(defs, instance)
    running.tell("DELETE FROM FAULTS WHERE FAULT_ID <> 'F1'")
    once = asked(accept_vanished=True, force=True)
    with someone_else(target.conninfo):
        run = run_assets(defs, instance, "faults", "feeders", run_config=once)
    (said,) = [line for line in run.lines() if "(another, user" in line]
    assert "force: true and accept_vanished: true will not be kept: ask again when that sync has ended." in said
    assert not tick(defs, instance).succeeded, "nobody has accepted it yet"
    assert sql("SELECT count(*) FROM faults") == [(32,)]
    assert run_assets(defs, instance, "faults", "feeders", run_config=once).succeeded
    assert sql("SELECT count(*) FROM faults") == [(1,)]


def test_checks_alone_judge_the_live_table_without_a_sync(defs, instance, running, sql):
    run_assets(defs, instance, "faults", "feeders")
    running.tell(fault(3))
    sql("DELETE FROM faults WHERE fault_id = 'F2'")
    names = [("faults", name) for name in ("row_count", "within", "columns", "unique")]
    run = run_assets(defs, instance, checks=names)
    assert run.succeeded
    assert run.materialized() == {}
    assert sql("SELECT count(*) FROM faults") == [(1,)]
    outcomes = {name: outcome.passed for (_, name), outcome in run.checks().items()}
    assert outcomes == {"row_count": False, "within": True, "columns": True, "unique": True}


def test_checks_alone_of_a_table_never_synced_say_so(defs, instance, running):
    assert "has not been synced yet" in run_assets(defs, instance, checks=[("faults", "unique")]).failure(STEP)


def test_a_dropped_table_hides_only_checks_of_its_own_rows(defs, instance, running, sql):
    run_assets(defs, instance, "faults", "feeders")
    sql("DROP TABLE faults")
    tables = (FAULTS, FEEDERS)
    run = run_assets(defs, instance, checks=[(each.name, audit.name) for each in tables for audit in sync_audits(each)])
    assert not run.succeeded
    assert "public.faults was synced and is gone" in run.failure(STEP)
    assert {name for asset, name in run.checks() if asset == "faults"} == {"columns", *ALWAYS_JUDGED}
    assert {name for asset, name in run.checks() if asset == "feeders"} == {
        audit.name for audit in sync_audits(FEEDERS)
    }


def test_wrong_settings_fail_the_step_and_name_themselves(defs, instance, running, monkeypatch):
    monkeypatch.delenv("SNOWFLAKE_PASSWORD")
    load_settings.cache_clear()
    run = tick(defs, instance)
    assert "SNOWFLAKE_PASSWORD" in run.failure(STEP)
    assert run.failure(STEP).count("is not set, which") == 1, "a cause that both tables share is told once"
    assert run.materialized() == {}


def test_a_refused_configuration_fails_the_step(defs, instance, running, monkeypatch, tmp_path, sql):
    (tmp_path / "flux.toml").write_text("[NOWHERE]\n")
    monkeypatch.setenv("FLUX_CONFIG", str(tmp_path / "flux.toml"))
    load_settings.cache_clear()
    run = tick(defs, instance)
    assert "NOWHERE: no such source" in run.failure(STEP)
    failed = sql("SELECT layer_name, run_id, error_message FROM postgres_sync.sync_status ORDER BY 1")
    assert [row[:2] for row in failed] == [("faults", run.run_id), ("feeders", run.run_id)]
    assert all("FLUX_CONFIG" in row[2] for row in failed)
    assert sql("SELECT DISTINCT status FROM postgres_sync.sync_status") == [("FAILED",)]


def test_the_configuration_reaches_the_sync(defs, instance, running, monkeypatch, tmp_path, sql):
    tick(defs, instance)
    (tmp_path / "flux.toml").write_text('[FAULTS.columns]\nhomes = { expression = "HOMES * 2" }\n')
    monkeypatch.setenv("FLUX_CONFIG", str(tmp_path / "flux.toml"))
    load_settings.cache_clear()
    assert figures(tick(defs, instance), "faults")["gate"] == "its declaration or configuration changed"
    assert sql("SELECT DISTINCT homes FROM faults") == [(10,)]


def status(instance: dg.DagsterInstance, defs: dg.Definitions, name: str) -> StaleStatus:
    resolver = CachingStaleStatusResolver(instance, defs.resolve_asset_graph(), LoadingContextForTest(instance))
    return resolver.get_status(dg.AssetKey(name))


def test_synced_tables_are_up_to_date(defs, instance, running):
    tick(defs, instance)
    assert {status(instance, defs, name) for name in ("faults", "feeders")} == {StaleStatus.FRESH}
    running.tell(fault(3))
    run_assets(defs, instance, "faults")
    assert status(instance, defs, "feeders") == StaleStatus.STALE, "its own sync has not been recorded yet"
    tick(defs, instance)
    assert {status(instance, defs, name) for name in ("faults", "feeders")} == {StaleStatus.FRESH}


def test_what_several_tables_failed_of_is_told_once(running, defs, instance, monkeypatch):
    monkeypatch.delenv("SNOWFLAKE_USER")
    load_settings.cache_clear()
    run = tick(defs, instance)
    assert not run.succeeded
    assert "SNOWFLAKE_USER is not set" in run.failure(STEP)
    assert [line for line in run.lines() if "SNOWFLAKE_USER" in line] == []
    assert "faults, feeders are unchanged; the step's failure says why" in run.lines()
