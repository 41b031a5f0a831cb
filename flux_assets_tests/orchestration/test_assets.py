"""A declared layer as an asset: loaded, skipped, forced, refused, checked alone, shown, and out of date in time."""

import base64
import importlib
import io
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterEventType as Event
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest
from PIL import Image

import flux_assets.definitions
import flux_assets.previews.maps
from flux_assets import tables
from flux_assets.checks.audits import audits_of
from flux_assets.checks.live_audits import all_audits_of
from flux_assets.ledger import runs
from flux_assets.orchestration.checks import JUDGED_AT, check_specs
from flux_assets.orchestration.executor import threads_executor
from flux_assets.orchestration.layer_assets import layer_asset
from flux_assets.orchestration.names import Names
from flux_assets.orchestration.resources import PostgisResource, ReleaseResource
from flux_assets.settings import load_settings
from flux_assets.spec import StaticTable
from flux_assets_tests.made_up import grove, trees, write_trees
from flux_assets_tests.running import Run, instance_in, run_assets, run_job


@pytest.fixture
def release(tmp_path, cluster, database, monkeypatch) -> Path:
    """The folder of the release that the layers are loaded from, into the test's own database."""
    folder = tmp_path / "v7"
    folder.mkdir()
    monkeypatch.setenv("FLUX_POSTGRES_URL", cluster.url(database))
    monkeypatch.setenv("FLUX_RELEASE", str(folder))
    load_settings.cache_clear()
    return folder


def definitions(*declared: StaticTable) -> dg.Definitions:
    return dg.Definitions(
        assets=[layer_asset(table, Names()) for table in declared or (trees(),)],
        resources={"postgis": PostgisResource(), "release": ReleaseResource()},
        executor=threads_executor,
    )


def asked(name: str = "trees", **config: bool | int) -> dict:
    return {"ops": {name: {"config": config}}}


def figures(run: Run, name: str = "trees") -> dict:
    return {key: value.value for key, value in run.materialized()[name].metadata.items()}


def test_a_load_publishes_and_says_what_it_did(instance, release, sql):
    write_trees(release, grove(90))
    run = run_assets(definitions(), instance, "trees")
    assert run.succeeded
    assert sql("SELECT count(*) FROM trees") == [(90,)]
    shown = figures(run)
    assert shown["dagster/row_count"] == 90
    assert shown["outcome"] == "published"
    assert shown["release_tag"] == "v7"
    assert "west 10.20000, south 53.50000" in shown["extent"]
    assert shown["table_bytes"] > 0
    assert shown["rows_per_second"] > 0
    assert {record.data["step"] for record in shown["step_seconds"].records} >= {"stage", "publish"}
    assert {record.data["audit"] for record in shown["audits"].records} == {audit.name for audit in audits_of(trees())}
    assert run.materialized()["trees"].tags["dagster/data_version"] == shown["version"]


def test_every_audit_is_a_check_of_the_asset(instance, release):
    write_trees(release, grove(90))
    run = run_assets(definitions(), instance, "trees")
    assert {name for _, name in run.checks()} == {audit.name for audit in all_audits_of(trees())}
    assert all(outcome.passed for outcome in run.checks().values())


def test_a_load_that_was_overtaken_is_tried_again(instance, release, sql):
    """As a worker that was frozen while another one was given its step: the run has not failed."""
    write_trees(release, grove(90))

    def overtake(reached):
        if reached == "load.before_swap":
            runs.hooks.remove(overtake)
            sql("UPDATE postgres_sync.layer_leases SET lease = lease + 1, holder_pid = NULL")

    runs.hooks.append(overtake)
    run = run_assets(definitions(), instance, "trees")
    assert run.succeeded
    assert run.steps(Event.STEP_UP_FOR_RETRY) == ["trees"]
    assert sql("SELECT status, error_message FROM postgres_sync.sync_status ORDER BY sync_id")[1] == ("SUCCESS", None)


@pytest.mark.parametrize("way", ["run config", "setting"])
def test_refused_records_are_shown_and_warned_of(instance, release, sql, monkeypatch, way):
    content = grove(90)
    content[5] = ("T5", "tall", *content[5][2:])
    write_trees(release, content)
    assert not run_assets(definitions(), instance, "trees").succeeded
    if way == "setting":
        monkeypatch.setenv("FLUX_QUARANTINE_LIMIT", "1")
        load_settings.cache_clear()
    run = run_assets(definitions(), instance, "trees", run_config=asked(quarantine=1) if way == "run config" else None)
    assert run.succeeded
    assert (figures(run)["rows_quarantined"], figures(run)["dagster/row_count"]) == (1, 89)
    check = run.checks()["trees", "quarantined"]
    assert (check.passed, check.severity, check.metadata["quarantined"].value) == (False, dg.AssetCheckSeverity.WARN, 1)
    assert "line 7, column height_m" in check.metadata["sample"].value
    content[6] = ("T6", "tall", *content[6][2:])
    write_trees(release, content)
    assert not run_assets(definitions(), instance, "trees", run_config=asked(quarantine=0)).succeeded
    assert sql("SELECT count(*) FROM trees") == [(89,)]


@pytest.mark.parametrize("number", [-1, 1_000_001])
def test_a_quarantine_that_cannot_be_is_refused_by_name(instance, release, number):
    run = run_assets(definitions(), instance, "trees", run_config=asked(quarantine=number))
    said = f"quarantine of trees is {number:,} in the run config. Give a number of records from 0 to 1,000,000."
    assert said in run.failure("trees")


def test_the_picture_is_a_small_png(instance, release):
    write_trees(release, grove(90))
    markdown = figures(run_assets(definitions(), instance, "trees"))["preview"]
    encoded = markdown.split("base64,")[1].rstrip(")")
    picture = base64.b64decode(encoded)
    assert len(picture) <= 20_000
    assert len(Image.open(io.BytesIO(picture)).convert("RGB").getcolors()) > 2


def test_a_picture_that_cannot_be_drawn_is_only_told(instance, release, monkeypatch):
    write_trees(release, grove(3))
    monkeypatch.setattr(flux_assets.previews.maps, "draw", lambda *_: 1 / 0)
    run = run_assets(definitions(), instance, "trees")
    assert run.succeeded
    assert "preview" not in figures(run)
    assert any("preview could not be drawn: division by zero" in line for line in run.lines("trees"))


def test_an_unchanged_version_is_materialised_again_without_a_load(instance, release, sql):
    write_trees(release, grove(90))
    first = run_assets(definitions(), instance, "trees")
    (oid,) = sql("SELECT inhrelid FROM pg_inherits WHERE inhparent = 'trees'::regclass")
    again = run_assets(definitions(), instance, "trees")
    assert sql("SELECT inhrelid FROM pg_inherits WHERE inhparent = 'trees'::regclass") == [oid]
    assert figures(again)["outcome"] == "unchanged"
    assert figures(again)["version"] == figures(first)["version"]
    assert figures(again)["preview"] == figures(first)["preview"]


def test_force_loads_an_unchanged_version_again(instance, release, sql):
    write_trees(release, grove(90))
    run_assets(definitions(), instance, "trees")
    (oid,) = sql("SELECT inhrelid FROM pg_inherits WHERE inhparent = 'trees'::regclass")
    forced = run_assets(definitions(), instance, "trees", run_config=asked(force=True))
    assert figures(forced)["outcome"] == "published"
    assert sql("SELECT inhrelid FROM pg_inherits WHERE inhparent = 'trees'::regclass") != [oid]


def test_fewer_rows_are_refused_unless_accepted(instance, release, sql):
    write_trees(release, grove(90))
    run_assets(definitions(), instance, "trees")
    write_trees(release, grove(20))
    refused = run_assets(definitions(), instance, "trees")
    assert not refused.succeeded
    assert refused.checks()["trees", "row_count"].passed, "readers see the ninety"
    assert "not_published/row_count" in attempted(refused)
    assert sql("SELECT count(*) FROM trees") == [(90,)]
    assert run_assets(definitions(), instance, "trees", run_config=asked(accept_fewer_rows=True)).succeeded
    assert sql("SELECT count(*) FROM trees") == [(20,)]


def test_a_removed_column_is_refused_unless_accepted(instance, release, sql):
    write_trees(release, grove(3))
    run_assets(definitions(), instance, "trees")
    sql("ALTER TABLE trees ADD COLUMN species text")
    write_trees(release, grove(4))
    refused = run_assets(definitions(), instance, "trees")
    assert "species" in refused.failure("trees")
    assert run_assets(definitions(), instance, "trees", run_config=asked(accept_schema_change=True)).succeeded
    assert sql("SELECT count(*) FROM trees") == [(4,)]


def test_a_failed_audit_is_recorded_and_the_failure_is_one_sentence(instance, release, sql):
    write_trees(release, grove(3))
    run_assets(definitions(), instance, "trees")
    write_trees(release, [*grove(5), *grove(1)])
    run = run_assets(definitions(), instance, "trees")
    assert run.materialized() == {}
    found = attempted(run)
    assert found["last_attempt"].value == "failed"
    assert "ERROR: tree_id = T0, 2 times" in found["not_published/unique"].value
    assert "not_published/columns" not in found
    assert {name for _, name in run.checks()} == {audit.name for audit in all_audits_of(trees())}
    assert all(outcome.passed for outcome in run.checks().values()), "of what readers see"
    assert JUDGED_AT in run.checks()["trees", "unique"].metadata
    assert "T0" in run.failure("trees")
    assert "Stack Trace" not in run.failure("trees")
    assert sql("SELECT count(*) FROM trees") == [(3,)]


def attempted(run: Run) -> dict:
    """What a failed attempt has left on the asset's page."""
    (event,) = run.events(Event.ASSET_OBSERVATION, "trees")
    return event.asset_observation_data.asset_observation.metadata


def latest(instance: dg.DagsterInstance) -> dict[str, bool | None]:
    """What the UI shows of each check: passed or not; None where it was only planned."""
    keys = [dg.AssetCheckKey(dg.AssetKey("trees"), audit.name) for audit in all_audits_of(trees())]
    found = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    return {
        key.name: record.evaluation.passed if record.evaluation else None
        for key, record in found.items()
        if key.name != "recent_failures"  # which speaks of attempts
    }


@pytest.mark.parametrize("remembered", [True, False], ids=["as last judged", "as judged before it was published"])
def test_after_a_broken_file_every_check_says_what_it_said_of_what_readers_see(
    instance, release, sql, remembered, tmp_path
):
    """A file that is no gzip once painted all checks of a healthy layer red."""
    write_trees(release, [*grove(3), ("T99", 500.0, 10.2, 53.5)])
    run_assets(definitions(), instance, "trees")
    before = latest(instance)
    assert [name for name, passed in before.items() if not passed] == ["accepted_range"]
    write_trees(release, grove(3)).write_bytes(b"no gzip at all")
    with instance_in(tmp_path / "another") as other:
        asked_of = instance if remembered else other
        for _ in range(2):
            run = run_assets(definitions(), asked_of, "trees")
            assert not run.succeeded
            assert latest(asked_of) == before
            assert "trees.csv.gz" in attempted(run)["error"].value
    told = "SELECT state, trusted, last_attempt FROM postgres_sync.v_table_status WHERE layer_name = 'trees'"
    assert sql(told) == [("live", True, "failed")]


def test_a_damaged_table_stays_red_through_a_failed_load(instance, release, sql):
    write_trees(release, grove(90))
    run_assets(definitions(), instance, "trees")
    sql("DELETE FROM trees WHERE tree_id > 'T5'")
    run_assets(definitions(), instance, checks=[("trees", "row_count")])
    write_trees(release, grove(3)).write_bytes(b"no gzip at all")
    run_assets(definitions(), instance, "trees")
    assert latest(instance)["row_count"] is False


def test_a_check_does_not_contradict_dagsters_own_word():
    """Dagster calls all of them non-blocking, and a load refuses what fails some."""
    for spec in check_specs(trees(), Names()):
        description = str(spec.description)
        assert "not published" not in description
        assert "ERROR: do not trust the table." not in description or "so Dagster has nothing to block." in description


def test_a_warning_does_not_keep_a_version_from_being_published(instance, release, sql):
    write_trees(release, [*grove(3), ("T99", 500.0, 10.2, 53.5)])
    run = run_assets(definitions(), instance, "trees")
    assert run.succeeded
    outcome = run.checks()["trees", "accepted_range"]
    assert (outcome.passed, outcome.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "T99" in outcome.metadata["sample"].value


def test_checks_alone_judge_the_published_table_and_materialise_nothing(instance, release, sql):
    write_trees(release, grove(90))
    run_assets(definitions(), instance, "trees")
    sql("DELETE FROM trees WHERE tree_id > 'T5'")
    run = run_assets(definitions(), instance, checks=[("trees", "row_count"), ("trees", "unique")])
    assert run.succeeded
    assert run.materialized() == {}
    outcomes = {name: outcome.passed for (_, name), outcome in run.checks().items()}
    assert outcomes == {"row_count": False, "unique": True}


def test_checks_alone_of_a_layer_never_loaded_say_so(instance, release):
    run = run_assets(definitions(), instance, checks=[("trees", "unique")])
    assert "has not been published yet" in run.failure("trees")


def test_a_layer_that_fails_leaves_the_others_alone(instance, release, sql):
    """One file is missing and one is no gzip: each is named, and the third is published."""
    write_trees(release, grove(3), "oaks")
    write_trees(release, grove(3), "elms").write_bytes(b"no gzip at all")
    declared = [trees(name) for name in ("oaks", "elms", "firs")]
    run = run_assets(definitions(*declared), instance, "oaks", "elms", "firs")
    assert run.status == dg.DagsterRunStatus.FAILURE
    assert list(run.materialized()) == ["oaks"]
    assert sorted(run.steps(Event.STEP_FAILURE)) == ["elms", "firs"]
    assert "elms.csv.gz" in run.failure("elms")
    assert "firs.csv.gz" in run.failure("firs")
    assert sql("SELECT count(*) FROM oaks") == [(3,)]


def test_a_missing_setting_fails_the_step_and_names_itself(instance, release, monkeypatch):
    monkeypatch.delenv("FLUX_RELEASE")
    load_settings.cache_clear()
    run = run_assets(definitions(), instance, "trees")
    assert "FLUX_RELEASE is not set" in run.failure("trees")
    assert "Stack Trace" not in run.failure("trees")


@pytest.fixture
def with_trees(tmp_path, monkeypatch):
    """The project's own definitions after one module was added to tables/, and nothing else changed."""
    folder = tmp_path / "more_tables"
    folder.mkdir()
    (folder / "trees.py").write_text("from flux_assets_tests.made_up import trees\n\nTABLE = trees()\n")
    monkeypatch.setenv("FLUX_TABLES", str(folder))
    yield importlib.reload(flux_assets.definitions).defs
    monkeypatch.undo()
    importlib.reload(flux_assets.definitions)


def test_a_new_table_is_one_file(with_trees, instance, release, sql):
    """Loaded, checked and documented, by adding its declaration alone."""
    write_trees(release, grove(90))
    run = run_assets(with_trees, instance, "trees")
    assert run.succeeded
    assert sql("SELECT count(*) FROM trees") == [(90,)]
    assert {name for _, name in run.checks()} == {audit.name for audit in all_audits_of(trees())}
    spec = with_trees.resolve_asset_graph().get(dg.AssetKey("trees"))
    assert spec.description == "Trees of a made-up park."
    schema = spec.metadata["dagster/column_schema"]
    assert [column.description for column in schema.columns] == [column.comment for column in trees().columns]
    assert sql("SELECT obj_description('trees'::regclass)") == [("Trees of a made-up park.",)]
    assert "trees" in {key.to_user_string() for key in spec_of_job(with_trees)}


@pytest.mark.parametrize(
    ("files", "there"),
    [
        ({"trees.py": "from flux_assets_tests.made_up import trees\n\nTABLE = trees()\n"}, {"load_static_layers"}),
        ({}, set()),
    ],
)
def test_what_is_left_out_has_no_asset_and_no_job(tmp_path, monkeypatch, files, there):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("FLUX_TABLES", str(tmp_path))
    monkeypatch.setenv("FLUX_WITHOUT", "all")
    try:
        whole = importlib.reload(flux_assets.definitions).defs.get_repository_def()
        jobs = {job.name for job in whole.get_all_jobs()}
        assert jobs & {"load_static_layers", "sync_all_dynamic", "setup_dynamic_tables"} == there
        names = {key.path[-1] for key in whole.asset_graph.get_all_asset_keys()}
        assert names == {Path(name).stem for name in files}
        assert {schedule.job_name for schedule in whole.schedule_defs} <= jobs
    finally:
        monkeypatch.undo()
        importlib.reload(flux_assets.definitions)


def spec_of_job(defs: dg.Definitions) -> set[dg.AssetKey]:
    return set(defs.resolve_job_def("load_static_layers").asset_layer.executable_asset_keys)


def status(instance: dg.DagsterInstance, defs: dg.Definitions) -> StaleStatus:
    graph = defs.resolve_asset_graph()
    return CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance)).get_status(dg.AssetKey("trees"))


def observe(instance: dg.DagsterInstance, defs: dg.Definitions) -> Run:
    return run_assets(defs, instance, "release/trees")


def test_a_layer_is_fresh_after_its_load_and_stale_when_its_file_changes(with_trees, instance, release):
    write_trees(release, grove(3))
    assert status(instance, with_trees) == StaleStatus.MISSING
    run_assets(with_trees, instance, "trees")
    assert status(instance, with_trees) == StaleStatus.FRESH
    assert observe(instance, with_trees).succeeded
    assert status(instance, with_trees) == StaleStatus.FRESH
    write_trees(release, grove(4))
    assert observe(instance, with_trees).succeeded
    assert status(instance, with_trees) == StaleStatus.STALE
    run_assets(with_trees, instance, "trees")
    assert status(instance, with_trees) == StaleStatus.FRESH


def test_files_are_observed_in_one_step_and_a_missing_one_does_not_hide_the_others(with_trees, instance, release):
    write_trees(release, grove(3))
    run = run_assets(with_trees, instance, "release/trees", "release/substations")
    (step,) = run.steps(Event.STEP_FAILURE)
    (seen,) = run.events(Event.ASSET_OBSERVATION)
    assert seen.asset_key == dg.AssetKey(["release", "trees"])
    assert "substations.csv.gz" in run.failure(step)
    assert "trees.csv.gz" not in run.failure(step)


def test_the_job_loads_the_group(with_trees, instance, release):
    write_trees(release, grove(3))
    run = run_job(with_trees.resolve_job_def("load_static_layers"), instance)
    assert list(run.materialized()) == ["trees"]
    assert len(run.steps(Event.STEP_FAILURE)) == len(tables.static_tables()) - 1
