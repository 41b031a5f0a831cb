"""Indexes over expressions: radius queries that cast to geography read them, and every load keeps them as declared."""

from __future__ import annotations

import pytest

from flux_assets.layers.context import LoadOptions
from flux_assets.layers.load import load_layer
from flux_assets.release.release import Release
from flux_assets.spec import StaticTable, index_terms
from flux_assets.tables import static_tables
from flux_assets_tests.made_up import write_one_row

pytestmark = pytest.mark.bare

TERMS = {
    table: next((term for index in table.indexes for term in index_terms(index) if "::geography" in term), "")
    for table in static_tables()
}
INDEXED = [table for table, term in TERMS.items() if term]
# As the old application asks; of assets, which it has as a pair of degrees, the point made of them.
WITHIN = "ST_DWithin({}, ST_SetSRID(ST_MakePoint(-95.36, 29.76), 4326)::geography, 500)"
PLACES = {"grid_assets_cache": "ST_SetSRID(ST_MakePoint(longitude, latitude), 4326)::geography"}
INDEXES = (
    "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = (SELECT inhrelid FROM pg_inherits"
    " WHERE inhparent = %s::regclass) ORDER BY 1"
)


def loaded(table: StaticTable, target, folder, tag: str = "v1") -> str:
    write_one_row(folder / tag, table)
    release = Release(str(folder / tag), tag, folder / "cache")
    return load_layer(table, release, target, LoadOptions(), lambda _: None).outcome


def test_the_layers_that_radius_queries_ask_have_one() -> None:
    assert {table.name for table in INDEXED} >= {
        "building_footprints", "customers_spatial", "meter_locations_enhanced", "vegetation_risk", "grid_power_lines",
        "grid_assets_cache",
    }  # fmt: skip


@pytest.mark.parametrize("table", INDEXED, ids=lambda table: table.name)
def test_a_radius_query_reads_the_index(table: StaticTable, target, tmp_path, sql, reader_sql) -> None:
    assert loaded(table, target, tmp_path) == "published"
    place = PLACES.get(table.name, "geom::geography")
    # Of one row reading it is quicker, so ask for the plan that a large table would get.
    reader_sql("SET enable_seqscan = off")
    plan = "\n".join(row for (row,) in reader_sql(f"EXPLAIN SELECT * FROM {table.name} WHERE {WITHIN.format(place)}"))
    assert f"Index Cond: ({TERMS[table][1:-1]} && " in plan, plan
    before = sql(INDEXES, table.name)
    assert loaded(table, target, tmp_path) == "unchanged"
    assert sql(INDEXES, table.name) == before
    if place == "geom::geography":
        assert sql("SELECT ST_EstimatedExtent('public', %s, 'geom') IS NOT NULL", table.name) == [(True,)]


def test_one_that_was_dropped_comes_back_when_the_version_is_published_again(target, tmp_path, sql) -> None:
    table = INDEXED[0]
    loaded(table, target, tmp_path)
    before = sql(INDEXES, table.name)
    ((index,),) = sql(
        "SELECT indexrelid::regclass::text FROM pg_index WHERE indexprs IS NOT NULL AND indrelid ="
        " (SELECT inhrelid FROM pg_inherits WHERE inhparent = %s::regclass)", table.name,
    )  # fmt: skip
    sql(f"DROP INDEX {index}")
    ((version,),) = sql("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass", table.name)
    sql(f"ALTER TABLE {table.name} DETACH PARTITION {version}; UPDATE postgres_sync.layer_versions SET current = false")
    assert loaded(table, target, tmp_path) == "published"
    assert len(sql(INDEXES, table.name)) == len(before)
