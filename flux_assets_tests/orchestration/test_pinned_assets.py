"""What Dagster says of a pinned layer: the run is green, and nothing claims that the new version is there."""

import dagster as dg
import pytest
from dagster import DagsterEventType as Event
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from flux_assets.checks.live_audits import all_audits_of
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.rollback import pin, rollback, unpin
from flux_assets.orchestration.commands import report_pins
from flux_assets.orchestration.executor import threads_executor
from flux_assets.orchestration.layer_assets import layer_asset
from flux_assets.orchestration.names import Names
from flux_assets.orchestration.resources import PostgisResource, ReleaseResource
from flux_assets.settings import load_settings
from flux_assets_tests.made_up import grove, trees, write_trees
from flux_assets_tests.running import Run, run_assets

TREES, KEY = trees(), dg.AssetKey("trees")


@pytest.fixture
def release(tmp_path, cluster, database, monkeypatch):
    folder = tmp_path / "v7"
    folder.mkdir()
    monkeypatch.setenv("FLUX_POSTGRES_URL", cluster.url(database))
    monkeypatch.setenv("FLUX_RELEASE", str(folder))
    load_settings.cache_clear()
    return folder


@dg.asset(deps=[KEY])
def counted() -> None:
    """Something that is computed from the layer."""


with pytest.warns(dg.BetaWarning):

    @dg.multi_observable_source_asset(specs=[dg.AssetSpec(["release", "trees"])])
    def file() -> dg.ObserveResult:
        return dg.ObserveResult(data_version=dg.DataVersion("asked by nobody"))


DEFINITIONS = dg.Definitions(
    assets=[layer_asset(TREES, Names()), counted, file],
    resources={"postgis": PostgisResource(), "release": ReleaseResource()},
    executor=threads_executor,
)


def loaded(instance, **config: bool) -> Run:
    return run_assets(DEFINITIONS, instance, "trees", run_config={"ops": {"trees": {"config": config}}})


def figures(run: Run) -> dict:
    return {key: value.value for key, value in run.materialized()["trees"].metadata.items()}


def stale(instance) -> StaleStatus:
    graph = DEFINITIONS.resolve_asset_graph()
    return CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance)).get_status(KEY)


@pytest.mark.parametrize("force", [False, True])
def test_the_run_is_green_and_the_asset_stays_what_it_was(instance, release, target, sql, force):
    write_trees(release, grove(90))
    first = loaded(instance)
    assert stale(instance) is StaleStatus.FRESH
    pin(TREES, target, LoadOptions(), print, reason="v7 lacks an oak")
    write_trees(release, grove(91))
    held = loaded(instance, force=force)
    assert held.succeeded
    assert sql("SELECT count(*) FROM trees") == [(90,)]
    shown, before = figures(held), figures(first)
    assert (shown["outcome"], shown["dagster/row_count"]) == ("pinned", 90)
    assert [shown[name] for name in ("version", "sha256", "preview")] == [
        before[name] for name in ("version", "sha256", "preview")
    ]
    assert "(v7 lacks an oak)" in shown["pinned"]
    assert shown["held_version"] != before["version"]
    assert shown["not_published"].startswith(f"version {shown['held_version'][:12]} of release v7 was not published")
    tags, tags_before = held.materialized()["trees"].tags, first.materialized()["trees"].tags
    for name in ("dagster/data_version", "dagster/code_version", "dagster/input_data_version/release/trees"):
        assert tags[name] == tags_before[name]
    assert any("`flux-assets unpin trees` lets the next load publish it" in line for line in held.lines("trees"))
    assert stale(instance) is StaleStatus.STALE, "the release has another version"
    unpin(TREES, target)
    assert figures(loaded(instance))["outcome"] == "published"
    assert stale(instance) is StaleStatus.FRESH


def test_checks_are_of_the_version_that_readers_see(instance, release, target):
    write_trees(release, [*grove(89), ("T99", 500.0, 10.2, 53.5)])
    loaded(instance)
    pin(TREES, target, LoadOptions(), print)
    write_trees(release, grove(91))
    checks = loaded(instance).checks()
    assert {name for _, name in checks} == {audit.name for audit in all_audits_of(TREES)}
    assert not checks["trees", "accepted_range"].passed
    assert checks["trees", "accepted_range"].description.startswith("Of the pinned version:")


def test_after_a_rollback_a_load_still_says_which_file_its_version_came_from(instance, release, target):
    for count in (90, 91):
        write_trees(release, grove(count))
        last = loaded(instance)
    rollback(TREES, target, LoadOptions(), print)
    held = loaded(instance)
    assert figures(held)["held_version"] == figures(last)["version"]
    assert "staged and audited already" in figures(held)["not_published"]
    assert held.materialized()["trees"].tags["dagster/input_data_version/release/trees"] == figures(held)["sha256"]
    assert figures(held)["sha256"] != figures(last)["sha256"]
    assert stale(instance) is StaleStatus.STALE


def test_what_is_computed_from_a_pinned_layer_is_computed(instance, release, target):
    """In the same run: a step whose origin brings no output would be skipped."""
    write_trees(release, grove(90))
    loaded(instance)
    pin(TREES, target, LoadOptions(), print)
    write_trees(release, grove(91))
    run = run_assets(DEFINITIONS, instance, "trees", "counted")
    assert sorted(run.steps(Event.STEP_SUCCESS)) == ["counted", "trees"]


def test_an_unchanged_load_of_a_pinned_layer_shows_the_pin(instance, release, target):
    write_trees(release, grove(90))
    assert "pinned" not in figures(loaded(instance))
    pin(TREES, target, LoadOptions(), print)
    shown = figures(loaded(instance))
    assert shown["outcome"] == "unchanged"
    assert shown["pinned"].startswith(f"pinned to version {shown['version'][:12]} since ")


def test_a_pin_is_an_observation_of_the_asset(release, target, instance, tmp_path, monkeypatch):
    write_trees(release, grove(90))
    loaded(instance)
    done = pin(TREES, target, LoadOptions(), print)
    (tmp_path / "told").mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "told"))
    report_pins([(TREES, done.pin)])
    with dg.DagsterInstance.from_config(str(tmp_path / "told")) as told:
        (record,) = told.fetch_observations(KEY, limit=9).records
        assert told.get_latest_materialization_event(KEY) is None
    assert record.asset_observation.metadata["pinned"].value == str(done.pin)
