"""A release that is published whole: all of its layers in one transaction, or none, whatever keeps one of them back."""

import os
import signal
from time import sleep

import dagster as dg
import pytest

from flux_assets.errors import AuditError, BusyError, FluxError, LayerError, RecordError
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.load import LoadResult
from flux_assets.layers.rollback import pin, unpin
from flux_assets.layers.whole_release import load as release_load
from flux_assets.layers.whole_release.load import Together, load_release
from flux_assets.orchestration.executor import threads_executor
from flux_assets.orchestration.layer_assets import layer_asset
from flux_assets.orchestration.names import Names
from flux_assets.orchestration.resources import PostgisResource, ReleaseResource
from flux_assets.settings import load_settings
from flux_assets.spec.facts import Computed, Reference
from flux_assets_tests.leasing import someone_else
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows
from flux_assets_tests.running import run_assets

POLES, MASTS = made_up("poles"), made_up("masts")
# Its rows point at masts.
WIRES = made_up("wires", references=(Reference(column="parent_id", to_table="masts", to_column="id"),))
TABLES = (POLES, WIRES, MASTS)
COUNTS = "SELECT (SELECT count(*) FROM poles), (SELECT count(*) FROM wires), (SELECT count(*) FROM masts)"
TRANSACTIONS = "SELECT count(DISTINCT xmin::text) FROM postgres_sync.layer_versions WHERE current"


class City:
    """Three layers that are loaded as one."""

    def __init__(self, target, folder) -> None:
        self.target, self.source, self.log = target, ReleaseFolder(folder), []

    def write(self, poles: int, wires: int, masts: int, *, pointing_at: int | None = None) -> None:
        """Every wire points at the mast of this number."""
        for table, count in ((POLES, poles), (WIRES, wires), (MASTS, masts)):
            content = rows(count)
            if table is WIRES and pointing_at is not None:
                content = [row | {"parent_id": f"{pointing_at:06d}"} for row in content]
            self.source.write(table, content)

    def load(self, *, strict: bool = False, parallel: int = 2, **options) -> dict[str, LoadResult | FluxError]:
        asked = dict.fromkeys(TABLES, LoadOptions(**options))
        return load_release(asked, self.source.release, self.target, self.log.append, parallel=parallel, strict=strict)

    def loaded(self, **options) -> dict[str, LoadResult]:
        found = self.load(**options)
        assert not [each for each in found.values() if isinstance(each, FluxError)], found
        return found


@pytest.fixture
def city(target, tmp_path) -> City:
    made = City(target, tmp_path / "release")
    made.write(3, 4, 5)
    made.loaded()
    return made


@pytest.mark.parametrize("parallel", [1, 3])
def test_all_layers_are_published_in_one_transaction(city, sql, parallel):
    city.write(13, 14, 15)
    found = city.loaded(parallel=parallel)
    assert {name: result.outcome for name, result in found.items()} == dict.fromkeys(found, "published")
    assert sql(COUNTS) == [(13, 14, 15)]
    assert sql(TRANSACTIONS) == [(1,)]
    assert {result.outcome for result in city.loaded().values()} == {"unchanged"}


def test_those_that_changed_are_published_together_and_the_others_stay(city, sql):
    city.write(3, 24, 25)
    assert {name: result.outcome for name, result in city.loaded().items()} == {
        "poles": "unchanged", "wires": "published", "masts": "published",
    }  # fmt: skip
    assert sql(COUNTS) == [(3, 24, 25)]


def test_one_bad_file_keeps_all_from_being_published_and_the_next_load_stages_only_that(city, sql):
    city.write(13, 14, 15)
    city.source.write(MASTS, [row | {"code": "x"} for row in rows(15)])
    found = city.load()
    assert isinstance(found["masts"], RecordError)
    for name in ("poles", "wires"):
        assert isinstance(found[name], LayerError)
        assert str(found[name]) == (
            f"public.{name} was not published, because the release is published as a whole and masts failed."
            " Load it again when that is fixed; its version is staged and audited."
        )
    assert sql(COUNTS) == [(3, 4, 5)]
    assert sql("SELECT DISTINCT status FROM postgres_sync.sync_status WHERE sync_id > 3") == [("FAILED",)]
    city.write(13, 14, 15)
    city.log.clear()
    city.loaded()
    assert sum("was staged and audited before" in line for line in city.log) == 2
    assert sql(COUNTS) == [(13, 14, 15)]


@pytest.mark.parametrize("parallel", [1, 3])
def test_everything_that_kept_a_release_back_is_said_at_once(city, target, parallel):
    city.write(13, 14, 15)
    pin(POLES, target, LoadOptions(), city.log.append)
    city.source.write(MASTS, [row | {"code": "x"} for row in rows(15)])
    found = city.load(parallel=parallel)
    assert {"masts failed", "poles is pinned (`flux-assets unpin poles` lets it go)"} == set(
        found["wires"].problem.removeprefix(
            "public.wires was not published, because the release is published as a whole and "
        ).removesuffix(".").split(", ")
    )  # fmt: skip


def test_a_release_that_failed_leaves_its_name_nowhere(city, sql):
    """Nor may a rollback to it find the layers that did not change: no reader has ever seen this release."""
    tags = "SELECT layer_name, release_tag, further_tags FROM postgres_sync.layer_versions WHERE current ORDER BY 1"
    before = sql(tags)
    city.source.tag = "v2"
    city.write(3, 14, 15)
    city.source.write(MASTS, [row | {"code": "x"} for row in rows(15)])
    assert city.load()["poles"].outcome == "unchanged"
    assert sql(tags) == before
    city.write(3, 14, 15)
    city.loaded()
    assert sql(tags) == [("masts", "v2", []), ("poles", "v1", ["v2"]), ("wires", "v2", [])]


def test_a_version_that_a_release_only_staged_is_of_the_one_that_publishes_it(city, sql):
    city.source.tag = "v2"
    city.write(3, 14, 15)
    city.source.write(MASTS, [row | {"code": "x"} for row in rows(15)])
    city.load()
    city.source.tag = "v3"
    city.write(3, 14, 16)
    city.loaded()
    assert sql("SELECT release_tag FROM postgres_sync.layer_versions WHERE current AND layer_name = 'wires'") == [
        ("v3",)
    ]


def test_a_release_is_published_though_its_own_session_was_lost(city, sql, monkeypatch):
    """It only waited meanwhile; the next run notes what it could not."""
    city.source.tag = "v2"
    city.write(3, 14, 15)
    noted = release_load.Version.live

    def lost(session, layer):
        if session.info.parameter_status("application_name") == "flux_assets release":
            sql("SELECT pg_terminate_backend(%s)", session.info.backend_pid)
        return noted(session, layer)

    monkeypatch.setattr(release_load.Version, "live", lost)
    assert city.loaded()["wires"].outcome == "published"
    assert sql(COUNTS) == [(3, 14, 15)]
    assert [line for line in city.log if "v2 is published; which versions belong to it too" in line]


def test_a_version_that_came_meanwhile_is_not_called_the_releases(city, sql, monkeypatch):
    city.source.tag = "v2"
    city.write(3, 14, 15)
    note = release_load._note_unchanged

    def late(*given):
        newer = ReleaseFolder(city.source.folder.with_name("newer"), "v3")
        newer.write(POLES, rows(33))
        Loader(city.target, newer).load(POLES)
        note(*given)

    monkeypatch.setattr(release_load, "_note_unchanged", late)
    city.loaded()
    tags = "SELECT release_tag, further_tags FROM postgres_sync.layer_versions WHERE current AND layer_name = 'poles'"
    assert sql(tags) == [("v3", [])]


def test_references_are_judged_against_what_is_published_together(city, sql):
    """The masts that the wires point at come with the same release, and those of before go with it."""
    city.write(3, 4, 9, pointing_at=8)
    (result,) = [each for each in city.loaded()["wires"].audits if each.name == "relationships"]
    assert result.passed, result
    assert not [line for line in city.log if "relationships" in line], "no warning against what goes"
    stored = "SELECT a ->> 'passed' FROM postgres_sync.layer_versions, jsonb_array_elements(audits) AS a"
    assert sql(f"{stored} WHERE current AND layer_name = 'wires' AND a ->> 'name' = 'relationships'") == [("true",)]
    city.write(3, 5, 6, pointing_at=8)
    (result,) = [each for each in city.loaded()["wires"].audits if each.name == "relationships"]
    assert not result.passed
    assert "parent_id not in masts: 000008" in result.sample[0]
    assert sum("public.wires: audit relationships (WARN) failed" in line for line in city.log) == 1


def test_a_reference_that_leads_nowhere_keeps_a_strict_release_from_being_published(city, sql):
    city.write(13, 14, 15, pointing_at=99)
    found = city.load(strict=True)
    assert isinstance(found["wires"], AuditError)
    assert "parent_id not in masts: 000099" in str(found["wires"])
    assert all("published as a whole and wires failed." in str(found[name]) for name in ("poles", "masts"))
    assert sql(COUNTS) == [(3, 4, 5)]
    city.write(13, 14, 15, pointing_at=14)
    city.loaded(strict=True)
    assert sql(COUNTS) == [(13, 14, 15)]


def test_a_pinned_layer_keeps_the_others_where_it_stays(city, sql, target):
    pin(POLES, target, LoadOptions(), city.log.append)
    city.write(13, 14, 15)
    found = city.load()
    assert found["poles"].outcome == "pinned"
    assert all("poles is pinned" in str(found[name]) for name in ("wires", "masts"))
    assert sql(COUNTS) == [(3, 4, 5)]
    unpin(POLES, target)
    city.loaded()
    assert sql(COUNTS) == [(13, 14, 15)]


def test_a_second_whole_release_waits_for_the_first_and_names_it(city, target, sql):
    city.write(13, 14, 15)
    with (
        someone_else(target.conninfo, name="(release)"),
        pytest.raises(BusyError, match=r"A whole release .* \(another"),
    ):
        city.load(publish_wait=LoadOptions().publish_wait * 0)
    assert sql(COUNTS) == [(3, 4, 5)]


def test_a_transaction_that_reads_one_layer_holds_all_back_until_it_ends(city, sql, target, admin_sql):
    city.write(13, 14, 15)
    with target.session("reader") as reader, reader.transaction():
        reader.execute("SELECT FROM public.masts")
        found = city.load(publish_wait=LoadOptions().publish_wait * 0)
    assert all(isinstance(error, FluxError) for error in found.values())
    assert any("flux_assets reader" in str(error) for error in found.values())
    assert sql(COUNTS) == [(3, 4, 5)]
    city.loaded()
    assert sql(COUNTS) == [(13, 14, 15)]


def test_ctrl_c_ends_all_loads_and_publishes_nothing(city, sql, monkeypatch):
    """It comes in the thread that waits for the loads, when one of them waits for the others."""
    city.write(13, 14, 15)
    publish = Together.publish

    def interrupt(together, connection, publication, patience):
        if not patience.stop.asked:
            os.kill(os.getpid(), signal.SIGINT)
        while not patience.stop.asked:
            sleep(0.01)
        return publish(together, connection, publication, patience)

    monkeypatch.setattr(Together, "publish", interrupt)
    with pytest.raises(KeyboardInterrupt):
        city.load()
    assert sql(COUNTS) == [(3, 4, 5)]
    monkeypatch.undo()
    city.loaded()
    assert sql(COUNTS) == [(13, 14, 15)]


DEFINITIONS = dg.Definitions(
    assets=[layer_asset(table, Names(), TABLES) for table in TABLES],
    resources={"postgis": PostgisResource(), "release": ReleaseResource()},
    executor=threads_executor,
)
WHOLE = {"resources": {"release": {"config": {"whole": "on"}}}}


@pytest.fixture
def reached(city, cluster, database, monkeypatch) -> City:
    monkeypatch.setenv("FLUX_POSTGRES_URL", cluster.url(database))
    monkeypatch.setenv("FLUX_RELEASE", str(city.source.folder))
    load_settings.cache_clear()
    return city


@pytest.mark.parametrize("asked", ["config", "setting"])
def test_a_run_publishes_all_its_layers_together(reached, instance, sql, monkeypatch, asked):
    if asked == "setting":
        monkeypatch.setenv("FLUX_WHOLE_RELEASE", "on")
        load_settings.cache_clear()
    reached.write(13, 14, 15)
    run = run_assets(DEFINITIONS, instance, "poles", "wires", "masts", run_config=WHOLE if asked == "config" else {})
    assert run.succeeded
    assert run.materialized().keys() == {"poles", "wires", "masts"}
    assert sql(TRANSACTIONS) == [(1,)]
    assert sql(COUNTS) == [(13, 14, 15)]


def test_a_run_of_some_layers_waits_for_no_others(reached, instance, sql):
    reached.write(13, 14, 15)
    assert run_assets(DEFINITIONS, instance, "poles", "masts", run_config=WHOLE).succeeded
    assert sql(COUNTS) == [(13, 4, 15)]


@pytest.mark.parametrize("has_file", [True, False])
def test_an_optional_layer_goes_with_the_release_that_has_its_file_and_follows_one_that_has_not(
    reached, instance, sql, has_file
):
    computed = Computed(inputs=("poles",), query="SELECT * FROM poles")
    copies = made_up("copies", file="optional", computed=computed, references=())
    tables = (POLES, MASTS, copies)
    definitions = dg.Definitions(
        assets=[layer_asset(table, Names(), tables) for table in tables],
        resources={"postgis": PostgisResource(), "release": ReleaseResource()},
        executor=threads_executor,
    )
    reached.write(13, 14, 15)
    if has_file:
        reached.source.write(copies, rows(7))
    run = run_assets(definitions, instance, "poles", "masts", "copies", run_config=WHOLE)
    assert run.succeeded
    assert run.materialized().keys() == {"poles", "masts", "copies"}
    assert sql("SELECT count(*) FROM copies") == [(7 if has_file else 13,)]
    assert sql(f"{TRANSACTIONS} AND layer_name <> 'wires'") == [(1 if has_file else 2,)]


def test_a_run_with_a_bad_file_fails_each_step_and_says_of_each_why(reached, instance, sql):
    reached.write(13, 14, 15)
    reached.source.write(MASTS, "nothing\n")
    run = run_assets(DEFINITIONS, instance, "poles", "wires", "masts", run_config=WHOLE)
    assert not run.succeeded
    assert run.materialized() == {}
    assert "masts.csv.gz" in run.failure("masts")
    assert "masts failed" in run.failure("poles")
    assert sql(COUNTS) == [(3, 4, 5)]


def whole_as(word: object) -> dict:
    return {"resources": {"release": {"config": {"whole": word}}}}


@pytest.mark.parametrize("word", ["yes", 3, 0, [], ["on"]])
def test_a_wrong_word_is_refused_by_name(reached, instance, word):
    run = run_assets(DEFINITIONS, instance, "poles", run_config=whole_as(word))
    assert f"whole of the resource release is {word!r}. Set it to on, strict or off." in run.failure("poles")


@pytest.mark.parametrize(("word", "transactions"), [(True, 1), (False, 2)])
def test_the_word_may_be_what_yaml_makes_of_it(reached, instance, sql, word, transactions):
    reached.write(13, 4, 15)
    assert run_assets(DEFINITIONS, instance, "poles", "masts", run_config=whole_as(word)).succeeded
    assert sql(f"{TRANSACTIONS} AND layer_name <> 'wires'") == [(transactions,)]


def test_the_word_may_come_from_the_environment(reached, instance, sql, monkeypatch):
    monkeypatch.setenv("HOW", "on")
    reached.write(13, 4, 15)
    assert run_assets(DEFINITIONS, instance, "poles", "masts", run_config=whole_as({"env": "HOW"})).succeeded
    assert sql(f"{TRANSACTIONS} AND layer_name <> 'wires'") == [(1,)]


def test_a_word_that_is_not_in_the_environment_is_refused_by_name(reached, instance, sql, monkeypatch):
    """Not taken for one that is not given: the layers would be published one by one."""
    monkeypatch.delenv("HOW", raising=False)
    reached.write(13, 4, 15)
    run = run_assets(DEFINITIONS, instance, "poles", "masts", run_config=whole_as({"env": "HOW"}))
    assert "whole of the resource release is the environment variable HOW, which is not set." in run.failure("poles")
    assert sql(COUNTS) == [(3, 4, 5)]


def test_each_layer_keeps_the_config_of_its_own_op(reached, instance, sql):
    config = WHOLE | {"ops": {"poles": {"config": {"force": True}}}}
    run = run_assets(DEFINITIONS, instance, "poles", "wires", "masts", run_config=config)
    outcomes = {name: event.metadata["outcome"].value for name, event in run.materialized().items()}
    assert outcomes == {"poles": "published", "wires": "unchanged", "masts": "unchanged"}


def test_a_loader_alone_is_not_held_up_by_whole_releases(city, sql):
    city.source.write(POLES, rows(33))
    Loader(city.target, city.source).load(POLES)
    assert sql(COUNTS) == [(33, 4, 5)]
