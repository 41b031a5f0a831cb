"""Every check of a published layer passes on good data and fails on data broken for it.

The layer is made up and has every kind of fact that a declaration can state; test_declared_checks.py holds the declared
tables against the list of what is broken here.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from geoalchemy2 import Geometry

from flux_assets.checks import live_audits
from flux_assets.checks.audit import AuditResult
from flux_assets.layers.status import audit_live
from flux_assets.postgis.session import Target
from flux_assets.sample.cluster import Cluster
from flux_assets.spec.facts import AcceptedValues, Assignment, Volume
from flux_assets_tests.breaking import BOW, DROPPED, FAILURE, Break, assert_says, error, warn
from flux_assets_tests.checks.test_audits import SQUARE
from flux_assets_tests.conftest import Sql, fresh_database
from flux_assets_tests.made_layers import Loader, ReleaseFolder, columns, made_up, rows

POLES = made_up(
    parts=[
        *columns(
            kind=sa.Column("kind", sa.String(10), comment="Kind."),
            ground=sa.Column("ground", Geometry("POLYGON", srid=4326, spatial_index=False), comment="Ground."),
        ),
        sa.Index("poles_ground_idx", "ground", postgresql_using="gist"),
    ],
    accepted=(AcceptedValues(column="kind", values=("wood", "steel")),),
    volume=Volume(minimum=40, maximum=60),
    assignments=(Assignment(column="parent_id", to_table="lines", to_column="line"),),
)
UNTYPED = "ALTER TABLE poles ALTER geom TYPE geometry USING CASE WHEN code = 7 THEN ST_Point(1, 2, 3857) ELSE geom END"
NO_KEY = "ALTER TABLE poles DROP CONSTRAINT poles_pkey"
LAYER_BREAKS = (
    error("columns", "name: character varying(60), declared character varying(50)",
          "ALTER TABLE poles ALTER COLUMN name TYPE varchar(60)"),
    error("row_count", "50 rows were promised and 49 came", "DELETE FROM poles WHERE code = 7"),
    error("not_null", "(no key): id is NULL", NO_KEY, "ALTER TABLE poles ALTER id DROP NOT NULL",
          "UPDATE poles SET id = NULL WHERE code = 7"),
    error("unique", "id = 000001, 2 times", NO_KEY, "UPDATE poles SET id = '000001' WHERE code = 8"),
    error("geometry_type", "000007: POINT in SRID 3857", UNTYPED),
    error("within", "000007: longitude = 1000000000", "UPDATE poles SET longitude = 1e9 WHERE code = 7"),
    warn("valid_geometry", "000007: Self-intersection", f"UPDATE poles SET ground = {BOW} WHERE code = 7"),
    warn("geometry_present", "000007: NULL", "UPDATE poles SET geom = NULL WHERE code = 7"),
    warn("same_position", "000007: POINT(10.0007 50.0007) but 10.1 50.0007",
         "UPDATE poles SET longitude = 10.1 WHERE code = 7"),
    warn("relationships", "000007: parent_id not in poles: nobody",
         "UPDATE poles SET parent_id = 'nobody' WHERE code = 7"),
    warn("all_assigned", "000007: not in lines: parent_id ' a'; apart from blanks and capitals it is 'A'",
         "CREATE TABLE lines AS SELECT 'A'::text AS line", "UPDATE poles SET parent_id = ' a' WHERE code = 7",
         "UPDATE poles SET parent_id = 'A' WHERE code = 8"),
    warn("accepted_values", "000007: kind = straw", "UPDATE poles SET kind = 'straw' WHERE code = 7",
         "UPDATE poles SET kind = NULL WHERE code = 8"),
    warn("accepted_range", "000007: score = 7", "UPDATE poles SET score = 7 WHERE code = 7"),
    warn("main_extent", "000007: -60.00000 50.00070",
         "UPDATE poles SET geom = ST_Point(-60, 50.0007, 4326), longitude = -60 WHERE code = 7"),
    warn("volume", "39 rows are fewer than the 40 that are plausible", "DELETE FROM poles WHERE code >= 39"),
    warn("volume", "70 rows are more than the 60 that are plausible",
         "INSERT INTO poles (id, code) SELECT 'X' || n, 100 + n FROM generate_series(1, 20) AS n"),
    warn("map_ready", "the key is missing, declared id", NO_KEY),
    warn("map_ready", "geom is listed as geometry(geometry,0), declared geometry(point,4326)", UNTYPED),
    warn("map_ready", "ground has no valid GiST index", "DROP INDEX flux_versions.{gist}"),
    warn("map_ready", "ST_EstimatedExtent of geom fails", "CREATE INDEX ON poles USING gist (geom)"),
    warn("only_writer", "others did that: stop the old loader", "TRUNCATE poles"),
    warn("dropped_keys", "1 row of public.lamps lead to no row of public.poles, which the foreign key of_pole",
         "CREATE TABLE lamps AS SELECT unnest('{gone,000001,NULL}'::text[]) AS pole", DROPPED.format("poles", "id")),
    warn("recent_failures", "Gone.", FAILURE.format(table="'poles'", times=4)),
    warn("quarantined", "poles.csv.gz, line 9, column code: it is odd.",
         "INSERT INTO postgres_sync.quarantine (schema_name, layer_name, lease, record, version, file, line,"
         " column_name, reason, header, raw_record, raw_bytes, raw_cut) SELECT schema_name, layer_name, lease, 8,"
         " version, 'poles.csv.gz', 9, 'code', 'it is odd.', '{code}', 'x', 1, false FROM postgres_sync.layer_versions"
         " WHERE current"),
)  # fmt: skip


@pytest.fixture(scope="module")
def published(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database with fifty good poles, published."""
    with fresh_database(cluster) as name:
        loader = Loader(Target(conninfo=cluster.conninfo(name)), ReleaseFolder(tmp_path_factory.mktemp("poles")))
        loader.load(POLES, [row | {"kind": "wood", "ground": SQUARE} for row in rows(50)])
        yield name


@pytest.fixture
def database(cluster: Cluster, published: str) -> Iterator[str]:
    """A copy of it for each test."""
    with fresh_database(cluster, published) as name:
        yield name


def judged(target: Target, name: str) -> AuditResult:
    (result,) = audit_live(POLES, target, {name})
    return result


@pytest.mark.parametrize("broken", LAYER_BREAKS, ids=str)
def test_a_check_of_a_layer_passes_and_fails(sql: Sql, target: Target, broken: Break) -> None:
    good = judged(target, broken.name)
    assert (good.passed, good.sample, good.sql) == (True, (), "")
    ((gist,),) = sql("SELECT relname FROM pg_class WHERE relkind = 'i' AND relname LIKE '%ground%'")
    for statement in broken.statements:
        sql(statement.replace("{gist}", gist))
    assert_says(judged(target, broken.name), broken, sql)


def test_statistics_that_are_missing_are_missed(admin_sql: Sql, target: Target) -> None:
    admin_sql("DELETE FROM pg_statistic WHERE starelid = 'poles'::regclass")
    found = judged(target, "map_ready")
    assert found.sample[0] == "public.poles has no statistics of geom; run ANALYZE"
    assert "ST_EstimatedExtent of geom gives nothing" in found.sample


def test_a_slow_map_is_a_warning(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    assert judged(target, "map_ready").numbers["milliseconds"] > 0
    monkeypatch.setattr(live_audits, "_BUDGET_MILLISECONDS", -1)
    found = judged(target, "map_ready")
    assert (found.passed, found.severity, found.numbers["problems"]) == (False, "WARN", 2)
    assert all(said.startswith("a bounding-box query took ") for said in found.sample)


def test_a_layer_without_any_geometry_yet_is_ready(sql: Sql, target: Target) -> None:
    sql("UPDATE poles SET geom = NULL, ground = NULL")
    found = judged(target, "map_ready")
    assert (found.passed, found.numbers["index"]) == (True, "no geometry to look for")


def test_a_single_failure_and_what_is_long_ago_is_no_news(sql: Sql, target: Target) -> None:
    sql(FAILURE.format(table="'poles'", times=1))
    sql("UPDATE postgres_sync.sync_status SET started_at = started_at - interval '2 hours' WHERE status = 'SUCCESS'")
    assert judged(target, "recent_failures").passed
    sql(FAILURE.format(table="'poles'", times=3))
    sql("UPDATE postgres_sync.sync_status SET sync_type = 'ROLLBACK' WHERE status = 'FAILED'")
    found = judged(target, "recent_failures")
    assert (found.passed, found.numbers["runs"]) == (True, 0), "a rollback that was refused says nothing of the table"


def test_a_layer_whose_loads_all_fail_still_shows_what_was_published(sql: Sql, target: Target) -> None:
    sql("DELETE FROM postgres_sync.sync_status")
    sql(FAILURE.format(table="'poles'", times=5))
    found = judged(target, "recent_failures")
    assert (found.passed, found.severity, found.numbers["share_failed"]) == (False, "WARN", 1.0)
    assert found.numbers["last_error"] == "Gone."
