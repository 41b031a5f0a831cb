"""Three clocks a table: when its source last changed, when it was last checked, when readers last saw a change."""

import pytest

from flux_assets.errors import ReleaseError
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.rollback import rollback
from flux_assets.layers.status import table_statuses
from flux_assets.orchestration.shown.metadata import loaded_metadata, synced_metadata
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows

CLOCKS = ("source_changed_at", "checked_at", "published_at")


@pytest.fixture
def loader(target, tmp_path) -> Loader:
    return Loader(target, ReleaseFolder(tmp_path / "v1"))


@pytest.fixture
def clocks(target):
    """The clocks of one table as the view tells them."""

    def read(name: str):
        with target.session("test") as session:
            query = f"SELECT {', '.join(CLOCKS)} FROM postgres_sync.v_table_status WHERE layer_name = %s"
            return session.execute(query, [name]).fetchone()

    return read


def test_a_static_layer(loader, clocks):
    loader.load(made_up(), rows(3))
    source, checked, published = clocks("poles")
    assert source < published <= checked
    loader.load(made_up())
    assert (clocks("poles")[0], clocks("poles")[2]) == (source, published)
    assert clocks("poles")[1] > checked


def test_a_file_that_comes_back_was_seen_when_it_was_first_seen(loader, clocks, target):
    loader.load(made_up(), rows(3))
    first = clocks("poles")
    loader.load(made_up(), rows(4))
    second = clocks("poles")
    assert all(new > old for new, old in zip(second, first, strict=True))
    version = rollback(made_up(), target, LoadOptions(), lambda _: None)
    source, checked, published = clocks("poles")
    assert (source, checked) == (first[0], second[1]), "a rollback looks at no source"
    assert published > second[2]
    assert (version.published_at, version.current) == (published, True)


def test_a_load_that_is_forced_is_no_news_from_the_source(loader, clocks):
    loader.load(made_up(), rows(3))
    source, _, published = clocks("poles")
    loader.load(made_up(), force=True)
    assert clocks("poles")[0] == source
    assert clocks("poles")[2] > published


def test_a_failed_load_has_not_checked(loader, clocks):
    loader.load(made_up(), rows(3))
    before = clocks("poles")
    with pytest.raises(ReleaseError):
        loader.load(made_up(), "no such columns\n")
    assert clocks("poles") == before


def test_what_a_load_says_of_itself(loader, clocks):
    for content in (rows(3), None):
        result = loader.load(made_up(), content)
        source, checked, published = clocks("poles")
        assert (result.clocks.source_changed_at, result.clocks.published_at) == (source, published)
        assert result.clocks.checked_at >= checked
        shown = loaded_metadata(result)
        assert shown["published_at"].value == pytest.approx(published.timestamp())
        assert set(CLOCKS) <= shown.keys()


def test_a_synced_table(utility, clocks):
    utility.tell("INSERT INTO FEEDERS VALUES ('A', 'Alder', 5)")
    utility.synced()
    first = clocks("feeders")
    utility.synced()
    source, checked, published = clocks("feeders")
    assert (source, published) == (first[0], first[2])
    assert checked > first[1]
    utility.synced(force=True)
    assert clocks("feeders")[2] == published, "nothing was written"
    utility.tell("UPDATE FEEDERS SET HOMES = 6")
    utility.synced()
    assert all(new > old for new, old in zip(clocks("feeders"), (source, checked, published), strict=True))


def test_a_synced_table_that_follows_another(utility, clocks):
    utility.tell("INSERT INTO FEEDERS VALUES ('A', 'Alder', 5)")
    utility.synced()
    source, checked, published = clocks("feeders")
    utility.tell("INSERT INTO FAULTS VALUES ('1', 'A', 'OPEN', '2026-01-01', 3, 10, 50)")
    utility.synced("faults")
    assert clocks("feeders")[:2] == (source, checked), "only the faults were looked at"
    assert clocks("feeders")[2] > published


def test_what_a_sync_says_of_itself(utility, target, clocks):
    utility.tell("INSERT INTO FEEDERS VALUES ('A', 'Alder', 5)")
    for homes in (5, 5, 6):
        utility.tell(f"UPDATE FEEDERS SET HOMES = {homes}")
        done = utility.synced()["feeders"]
        source, _, published = clocks("feeders")
        assert done.source_changed_at == source
        assert abs((done.published_at - published).total_seconds()) < 60
        shown = synced_metadata(done)
        assert shown["checked_at"].value == done.source_instant.timestamp()
        assert shown["published_at"].value == done.published_at.timestamp()


def test_ages_go_with_the_clocks(loader, target, sql):
    loader.load(made_up(), rows(3))
    sql("UPDATE postgres_sync.layer_versions SET staged_at = staged_at - interval '3 days'")
    sql("UPDATE postgres_sync.layer_versions SET published_at = published_at - interval '2 days'")
    sql("UPDATE postgres_sync.sync_status SET completed_at = completed_at - interval '1 day'")
    (status,) = table_statuses(target, [made_up()])
    ages = (status.source_age_seconds, status.published_age_seconds, status.checked_age_seconds)
    assert [int(age // 86400) for age in ages] == [3, 2, 1]
