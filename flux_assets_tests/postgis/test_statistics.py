"""The planner's statistics after a load: whole on the version, there on the public table, and no target left behind."""

from pathlib import Path

import psycopg
import pytest
from psycopg import sql as psql

from flux_assets.postgis import relations
from flux_assets.postgis.relations import Layer
from flux_assets.postgis.session import Target
from flux_assets_tests.conftest import Sql
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows

pytestmark = pytest.mark.bare

ROWS = 400
BOUNDS = "SELECT array_length(histogram_bounds, 1) FROM pg_stats WHERE tablename = %s AND attname = 'code'"
TARGETS = "SELECT attname, coalesce(attstattarget, -1) FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"


@pytest.fixture
def loader(target: Target, tmp_path: Path) -> Loader:
    loader = Loader(target, ReleaseFolder(tmp_path))
    loader.load(made_up(), rows(ROWS))
    return loader


def version_of(sql: Sql) -> str:
    return sql("SELECT relation FROM postgres_sync.layer_versions WHERE current")[0][0]


def test_a_load_leaves_statistics_of_the_version_and_of_the_public_table(loader: Loader, sql: Sql) -> None:
    """The version's are of the usual size, and not of the smaller one that the public table's have."""
    assert sql(BOUNDS, version_of(sql)) == [(101,)]
    assert sql(BOUNDS, "poles") == [(31,)]
    assert sql("SELECT ST_EstimatedExtent('public', 'poles', 'geom') IS NOT NULL") == [(True,)]
    counted = "SELECT reltuples::int FROM pg_class WHERE oid = %s::regclass"
    assert sql(counted, "poles") == sql(counted, f"flux_versions.{version_of(sql)}") == [(ROWS,)]


def test_targets_stay_as_they_were(loader: Loader, sql: Sql) -> None:
    version = f"flux_versions.{version_of(sql)}"
    sql(psql.SQL("ALTER TABLE {} ALTER score SET STATISTICS 7").format(psql.SQL(version)))
    before = sql(TARGETS, version)
    assert ("score", 7) in before
    with psycopg.connect(loader.target.conninfo, autocommit=True) as session:
        Layer("public", made_up()).analyze(session, version_of(sql))
        assert session.execute("SHOW default_statistics_target").fetchone() == ("100",)
    assert sql(TARGETS, version) == before


def test_targets_stay_as_they_were_when_it_does_not_come_to_an_end(
    loader: Loader, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = version_of(sql)
    before = sql(TARGETS, f"flux_versions.{version}")
    monkeypatch.setattr(relations, "_LIMIT_WAIT", psql.SQL("SET LOCAL lock_timeout = '20ms'"))
    with (
        psycopg.connect(loader.target.conninfo) as other,
        psycopg.connect(loader.target.conninfo, autocommit=True) as session,
    ):
        other.execute("LOCK TABLE ONLY poles IN SHARE UPDATE EXCLUSIVE MODE")  # as somebody's VACUUM does
        with pytest.raises(psycopg.errors.LockNotAvailable):
            Layer("public", made_up()).analyze(session, version)
        assert sql(TARGETS, f"flux_versions.{version}") == before


def test_readers_and_writers_go_on_meanwhile(loader: Loader, sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen from another session at the moment in which the version's columns have no target: before ANALYZE ONLY."""
    seen: list[object] = []
    with_targets = relations._with_targets

    def look(*arguments: object) -> psql.Composed:
        if 0 not in arguments[1].values():
            seen.append(sql("SELECT count(*) FROM poles"))
            sql("UPDATE poles SET name = 'x' WHERE code = 1")
        return with_targets(*arguments)

    monkeypatch.setattr(relations, "_with_targets", look)
    sql("SET lock_timeout = '1s'")
    with psycopg.connect(loader.target.conninfo, autocommit=True) as session:
        Layer("public", made_up()).analyze(session, version_of(sql))
        has_only = session.info.server_version >= 180000
    assert seen == ([] if has_only else [[(ROWS,)]])
