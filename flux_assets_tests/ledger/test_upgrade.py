"""The database that each released version left, with data, under the programs of today (docs/releasing.md)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from flux_assets.doctor.examination import examine
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.load import load_layer
from flux_assets.layers.rollback import rollback, unpin
from flux_assets.layers.status import layer_versions, table_statuses
from flux_assets.ledger.metrics import Exporter
from flux_assets.postgis.session import REVISION, Target
from flux_assets.release.release import Release
from flux_assets.sample.simulation.seeding import seed
from flux_assets.settings import load_settings
from flux_assets.snowflake.account import Account
from flux_assets.tables import declarations, dynamic_tables
from flux_assets.tables.transformers import TABLE as TRANSFORMERS
from flux_assets_tests import sample_cities
from flux_assets_tests.cases import CASE_FILES
from flux_assets_tests.conftest import Sql
from flux_assets_tests.sample.test_simulation import grid
from flux_assets_tests.synced import Utility, settings_of

pytestmark = pytest.mark.bare

OPTIONS = LoadOptions()
LOADED = {"customers_spatial", "meter_locations_enhanced", "substations", "transformers", "vegetation_risk"}
SYNCED = {"circuit_status_realtime", "outage_restoration_tracker", "work_orders"}
RUNS = "SELECT sync_id, layer_name, sync_type, started_at, status, version FROM postgres_sync.v_sync_status"
ROWS = "SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {} AS t"


@pytest.fixture(params=["0.1.0"])
def left(request: pytest.FixtureRequest, target: Target, sql: Sql) -> Target:
    """A database in which that version loaded, rolled back and synced."""
    [(postgis,)] = sql("SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'postgis'")
    text = (CASE_FILES / f"database_of_{request.param}.sql").read_text()
    with psycopg.connect(target.conninfo, autocommit=True) as session:
        session.execute(text.replace("public.geometry", f"{postgis}.geometry").encode())
    return target


def revision(sql: Sql) -> str:
    [(said,)] = sql("SELECT obj_description('postgres_sync'::regnamespace)")
    return said


def test_it_is_read_as_it_is(left: Target, sql: Sql, source: Account, cluster, database, monkeypatch) -> None:
    before = revision(sql)
    assert before != REVISION
    states = {status.table: status.state for status in table_statuses(left, declarations())}
    assert {name for name, state in states.items() if state == "live"} == LOADED
    assert {name for name, state in states.items() if state == "late"} == SYNCED
    assert [version.current for _, version in layer_versions(left, [TRANSFORMERS])] == [False, True]
    assert "flux_table_rows" in Exporter(find=lambda: left, log=print, seconds=0).text()
    for name, value in {
        "FLUX_POSTGRES_URL": cluster.url(database),
        "FLUX_RELEASE": str(sample_cities.folder()),
        **settings_of(source),
    }.items():
        monkeypatch.setenv(name, value)
    load_settings.cache_clear()
    found = [each for each in examine(declarations()) if each.group != "Snowflake"]
    assert [each.message for each in found if each.outcome == "failed"] == []
    assert any(
        "the ledger in schema postgres_sync was made by an earlier flux_assets" in each.message for each in found
    )
    assert revision(sql) == before


def test_a_rollback_finds_the_versions_that_it_kept(left: Target, sql: Sql) -> None:
    runs = sql(RUNS)
    rows = sql(ROWS.format("transformers"))
    rollback(TRANSFORMERS, left, OPTIONS, print)
    assert sql(ROWS.format("transformers")) != rows
    rollback(TRANSFORMERS, left, OPTIONS, print)
    assert sql(ROWS.format("transformers")) == rows
    assert revision(sql) == REVISION
    assert sql(RUNS)[2:] == runs


def test_a_load_publishes_the_next_version(left: Target, sql: Sql, tmp_path: Path) -> None:
    """Once it is unpinned: 0.1.0 had rolled the layer back, and from 0.2.0 on a rollback holds."""
    runs, release = sql(RUNS), Release(str(sample_cities.folder()), "v1", tmp_path)
    assert load_layer(TRANSFORMERS, release, left, OPTIONS, print).outcome == "pinned"
    unpin(TRANSFORMERS, left)
    assert load_layer(TRANSFORMERS, release, left, OPTIONS, print).outcome == "published"
    assert sql("SELECT count(*) FROM transformers") == [(len(sample_cities.rows("transformers")),)]
    assert revision(sql) == REVISION
    assert sql(RUNS)[-len(runs) :] == runs


def test_a_sync_goes_on(left: Target, sql: Sql, source: Account) -> None:
    utility = Utility(account=source, target=left, tables=dynamic_tables())
    with utility.connected() as connection:
        seed(connection, grid(), now=datetime.now(UTC).replace(tzinfo=None, microsecond=0))
    runs = sql(RUNS)
    assert set(utility.synced(accept_vanished=True)) == SYNCED
    assert {result.inserted for result in utility.synced(force=True).values()} == {0}
    assert revision(sql) == REVISION
    assert sql(RUNS)[-len(runs) :] == runs
    live = sql("SELECT layer_name FROM postgres_sync.v_table_status WHERE state = 'live' AND trusted")
    assert {name for (name,) in live} == LOADED | SYNCED
