"""Layers that PostGIS computes from others: made again when those change, with every promise of a layer."""

import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from flux_assets.errors import LayerError, ReleaseError
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.load import load_layer
from flux_assets.layers.rollback import bring_along, pin, rollback, rollback_release, unpin
from flux_assets.layers.status import audit_live
from flux_assets.postgis.session import Target
from flux_assets.spec import StaticTable
from flux_assets.spec.facts import Computed
from flux_assets_tests.made_layers import Loader, ReleaseFolder, columns, made_up, rows

POLES = made_up()
QUERY = "SELECT name, count(*) AS poles, avg(score) AS score, (array_agg(geom))[1] AS geom FROM poles GROUP BY name"


def names(query: str = QUERY, prepare: str = "", file: str = "none", **more: object) -> StaticTable:
    """A layer of the poles' names, with how many there are of each."""
    parts = [
        sa.Column("name", sa.String(50), primary_key=True, comment="Name."),
        sa.Column("poles", sa.Integer, comment="How many."),
        sa.Column("score", sa.Double, comment="Mean."),
        columns()[-1],
    ]
    computed = Computed(inputs=("poles",), query=query, prepare=prepare)
    facts = {"positions": (), "ranges": (), "references": ()}
    return made_up("pole_names", parts, computed=computed, file=file, **facts, **more)


@pytest.fixture
def loader(target: Target, tmp_path: Path) -> Loader:
    return Loader(target, ReleaseFolder(tmp_path / "v1"))


def compute(loader, table: StaticTable | None = None, **options: object):
    return load_layer(table or names(), None, loader.target, LoadOptions(**options), loader.log.append)


def test_it_is_computed_and_then_unchanged_until_an_input_is_another_version(loader, sql):
    loader.load(POLES, rows(20))
    first = compute(loader)
    assert (first.outcome, first.rows, first.release_tag) == ("published", 20, "v1")
    assert first.extent == pytest.approx((10, 50, 10.0019, 50.0019))
    assert sql("SELECT count(*), sum(poles) FROM pole_names") == [(20, 20)]
    assert compute(loader).outcome == "unchanged"
    loader.source.tag = "v2"
    loaded = loader.load(POLES, rows(30))
    second = compute(loader)
    assert (second.outcome, second.rows, second.release_tag) == ("published", 30, "v2")
    assert second.inputs == {"poles": loaded.version}
    recorded = "SELECT inputs FROM postgres_sync.layer_versions WHERE layer_name = 'pole_names' AND current"
    assert sql(recorded) == [({"poles": loaded.version},)]


def test_another_query_makes_another_version(loader, sql):
    loader.load(POLES, rows(4))
    compute(loader)
    doubled = names(QUERY.replace("count(*)", "2 * count(*)"))
    assert compute(loader, doubled).outcome == "published"
    assert sql("SELECT sum(poles) FROM pole_names") == [(8,)]


def test_a_query_may_have_temporary_tables(loader, sql):
    loader.load(POLES, rows(4))
    prepare = (
        "CREATE TEMP TABLE counted AS SELECT name, geom FROM poles; CREATE INDEX ON counted (name); ANALYZE counted;"
    )
    compute(loader, names("SELECT name, 7 AS poles, 0.5 AS score, geom FROM counted", prepare))
    assert sql("SELECT DISTINCT poles FROM pole_names") == [(7,)]


def test_the_check_says_whether_the_inputs_are_the_current_ones(loader):
    loader.load(POLES, rows(4))
    compute(loader)
    [result] = audit_live(names(), loader.target, {"inputs_current"})
    assert result.passed
    loaded = loader.load(POLES, rows(5))
    [result] = audit_live(names(), loader.target, {"inputs_current"})
    assert (result.passed, result.severity) == (False, "WARN")
    assert result.sample == (f"poles has version {loaded.version[:12]} now",)


def test_a_transaction_that_began_before_sees_the_old_rows_whole(loader, sql):
    loader.load(POLES, rows(4))
    compute(loader)
    loader.load(POLES, rows(9))
    with loader.target.session("reader") as reader:
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT 1 FROM pg_class LIMIT 1")
        compute(loader)
        assert reader.execute("SELECT count(*) FROM pole_names").fetchone() in {(4,), (9,)}
        reader.execute("ROLLBACK")
    assert sql("SELECT count(*) FROM pole_names") == [(9,)]


def test_its_sql_may_end_with_a_comment(loader, sql):
    loader.load(POLES, rows(4))
    compute(loader, names(f"{QUERY} -- of each name", prepare="SELECT 1 -- nothing"))
    assert sql("SELECT count(*) FROM pole_names") == [(4,)]


def test_what_it_reads_besides_its_inputs_is_told(loader, sql):
    loader.load(POLES, rows(4))
    sql("CREATE TABLE lamps (id text); CREATE VIEW lit AS SELECT FROM lamps")
    compute(loader)
    assert "inputs of the declaration" not in "".join(loader.log)
    compute(loader, names(f"{QUERY} HAVING NOT EXISTS (SELECT FROM lit)"))
    assert "public.pole_names: its query reads lamps too, whose changes do not have" in "".join(loader.log)


def test_an_input_that_was_never_loaded_is_named(loader):
    with pytest.raises(LayerError, match=r"pole_names is computed from poles, which is not loaded yet") as raised:
        compute(loader)
    assert "flux-assets load poles" in str(raised.value)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("SELECT nom FROM poles", "nom"),
        ("SELECT name, 1 / 0 AS poles, score, geom FROM poles", "division by zero"),
        ("SELECT name, 1 AS poles, score FROM poles", "geom"),
        ("SELECT repeat(name, 20) AS name, 1 AS poles, score, geom FROM poles; DROP TABLE poles", "syntax"),
        ("SELECT repeat(name, 20) AS name, 1 AS poles, score, geom FROM poles", "too long for type"),
        ("SELECT NULL AS name, 1 AS poles, score, geom FROM poles", "The query of .* fails: null value in column"),
    ],
)
def test_a_query_that_fails_leaves_what_was_published(loader, sql, query, reason):
    loader.load(POLES, rows(4))
    compute(loader)
    with pytest.raises(LayerError, match=reason):
        compute(loader, names(query))
    assert sql("SELECT count(*) FROM pole_names") == [(4,)]
    assert sql("SELECT count(*) FROM poles") == [(4,)]
    assert sql("SELECT count(*) FROM postgres_sync.layer_versions WHERE state = 'staging'") == [(0,)]


def test_rows_that_break_a_promise_are_not_published(loader, sql):
    loader.load(POLES, rows(4))
    compute(loader)
    with pytest.raises(LayerError, match=r"unique.* fix what its query makes and reload"):
        compute(loader, names("SELECT 'same' AS name, 1 AS poles, score, geom FROM poles"))
    assert sql("SELECT count(*) FROM pole_names") == [(4,)]


def test_after_a_rollback_of_an_input_the_kept_version_comes_back_without_being_computed(loader, sql):
    loader.load(POLES, rows(4))
    first = compute(loader)
    loader.load(POLES, rows(9))
    compute(loader)
    rollback(POLES, loader.target, LoadOptions(), loader.log.append)
    back = compute(loader, names(QUERY))
    assert (back.version, back.rows) == (first.version, 4)
    assert "stage" not in back.seconds
    unpin(POLES, loader.target)


def followed(loader, *derived: StaticTable) -> list[tuple[str, int | None, bool, str]]:
    found = bring_along(derived, loader.target, LoadOptions(), loader.log.append)
    return [(table.name, version.rows, was_kept, str(error or "")) for table, version, was_kept, error in found]


def test_what_is_computed_follows_a_rollback_of_an_input(loader, sql):
    """Its kept version is live again; where none was computed from this, one is; and what follows it follows too."""
    parts = [sa.Column("poles", sa.Integer, primary_key=True, autoincrement=False, comment="How many.")]
    computed = Computed(inputs=("pole_names",), query="SELECT sum(poles)::int AS poles FROM pole_names")
    facts = {"positions": (), "ranges": (), "references": ()}
    total = made_up("pole_total", parts, computed=computed, file="none", **facts)
    for count in (4, 9):
        loader.load(POLES, rows(count), keep_versions=2)
        compute(loader)
    compute(loader, total)
    rollback(POLES, loader.target, LoadOptions(), loader.log.append)
    assert not audit_live(names(), loader.target, {"inputs_current"})[0].passed
    assert followed(loader, names(), total) == [("pole_names", 4, True, ""), ("pole_total", 1, False, "")]
    assert sql("SELECT poles FROM pole_total") == [(4,)]
    for each in (names(), total):
        assert audit_live(each, loader.target, {"inputs_current"})[0].passed
    recorded = "SELECT sync_type FROM postgres_sync.sync_status WHERE layer_name = '{}' ORDER BY sync_id DESC LIMIT 1"
    assert [sql(recorded.format(name)) for name in ("pole_names", "pole_total")] == [[("PUBLISH",)], [("FULL",)]]
    assert followed(loader, names(), total) == []
    unpin(POLES, loader.target)
    loader.load(POLES, rows(5))
    pin(names(), loader.target, LoadOptions(), loader.log.append)
    ((_, rows_left, _, why),) = followed(loader, names(), total)
    assert (rows_left, "unpin pole_names" in why) == (4, True)


def test_what_was_loaded_from_a_file_does_not_follow(loader, sql):
    optional = names(file="optional")
    loader.load(POLES, rows(4))
    loader.load(optional, [{"name": "A", "poles": 5, "score": 1, "geom": rows(1)[0]["geom"]}])
    loader.load(POLES, rows(9))
    assert followed(loader, optional) == []
    assert sql("SELECT poles FROM pole_names") == [(5,)]


def test_an_optional_layer_goes_back_with_its_release_where_that_had_the_file(loader, sql):
    optional = names(file="optional")
    row = {"name": "A", "score": 1, "geom": rows(1)[0]["geom"]}
    for tag, count in (("v1", 4), ("v2", 9)):
        loader.source.tag = tag
        loader.load(POLES, rows(count))
        loader.load(optional, [row | {"poles": count}])
    rollback_release([POLES, optional], loader.target, LoadOptions(), loader.log.append, "v1")
    assert sql("SELECT count(*), (SELECT sum(poles) FROM pole_names) FROM poles") == [(4, 4)]
    assert sql("SELECT count(DISTINCT xmin::text) FROM postgres_sync.layer_versions WHERE current") == [(1,)]


def test_an_optional_layer_is_loaded_from_its_file_and_computed_without_one(loader, sql):
    optional = names(file="optional")
    loader.load(POLES, rows(4))
    assert loader.load(optional).inputs is not None
    assert sql("SELECT sum(poles) FROM pole_names") == [(4,)]
    loaded = loader.load(
        optional, [{"name": "A", "poles": 5, "score": 1, "geom": rows(1)[0]["geom"]}], accept_fewer_rows=True
    )
    assert (loaded.outcome, loaded.inputs) == ("published", None)
    assert sql("SELECT name, poles FROM pole_names") == [("A", 5)]
    (loader.source.folder / optional.file_name).unlink()
    assert loader.load(optional).inputs is not None
    assert sql("SELECT sum(poles) FROM pole_names") == [(4,)]


def test_an_optional_layer_without_a_query_stays_when_its_file_is_missing(loader, sql):
    optional = made_up("extras", file="optional")
    loader.source.folder.mkdir()
    assert loader.load(optional).outcome == "absent"
    assert sql("SELECT count(*) FROM postgres_sync.sync_status") == [(0,)]
    loader.load(optional, rows(3))
    (loader.source.folder / optional.file_name).unlink()
    assert loader.load(optional).outcome == "absent"
    assert sql("SELECT count(*) FROM extras") == [(3,)]
    status = "SELECT DISTINCT status FROM postgres_sync.sync_status WHERE layer_name = 'extras'"
    assert sql(status) == [("SUCCESS",)]
    with pytest.raises(ReleaseError, match=r"poles\.csv\.gz"):
        loader.load(POLES)


def test_a_publish_of_an_input_does_not_wait_and_the_layer_is_computed_from_what_came(loader, sql):
    """Its query takes for ever while there are few poles: only the publish that it gives way to ends it."""
    loader.load(POLES, rows(4))
    wait = "SELECT CASE WHEN (SELECT count(*) FROM poles) < 9 THEN pg_sleep(600) END"
    slow = names(QUERY.replace("FROM poles", f"FROM poles CROSS JOIN ({wait}) AS wait"))
    done: list[object] = []
    thread = threading.Thread(target=lambda: done.append(compute(loader, slow)))
    thread.start()
    active = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY (SELECT%%' AND wait_event = 'PgSleep'"
    while sql(active) == [(0,)]:
        assert thread.is_alive()
        time.sleep(0.02)
    loaded = loader.load(POLES, rows(9))
    thread.join(60)
    [result] = done
    assert (result.rows, result.inputs) == (9, {"poles": loaded.version})
    assert any("computing it again after that" in line for line in loader.log)
    assert sql("SELECT count(*) FROM pole_names") == [(9,)]


def test_it_is_computed_from_the_layers_of_its_own_schema(loader, sql):
    loader.load(POLES, rows(20))
    sql("CREATE SCHEMA beside")
    beside = Loader(Target(conninfo=loader.target.conninfo, schema="beside"), loader.source)
    beside.load(POLES, rows(30))
    assert compute(beside).rows == 30
