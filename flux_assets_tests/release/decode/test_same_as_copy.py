"""What a load publishes is, row for row, what PostgreSQL's own COPY reads from the same file.

Over files this project did not make (cases/real) and over a small sample city: every declared layer goes through it.
"""

import gzip
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from flux_assets.layers.context import LoadOptions
from flux_assets.layers.load import load_layer
from flux_assets.postgis.relations import names
from flux_assets.postgis.session import Target
from flux_assets.release.release import Release
from flux_assets.sample.city.release_writer import write_release
from flux_assets.spec import StaticTable
from flux_assets.tables import static_tables
from flux_assets_tests.cases import CASE_FILES

REAL = CASE_FILES / "real"
REAL_TABLES = [table for table in static_tables() if (REAL / table.file_name).is_file()]


@pytest.fixture(scope="session")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("city")
    write_release(folder, static_tables(), scale=0.002, seed=3)
    return folder


def differing_rows(target: Target, table: StaticTable, file: Path) -> tuple[int, int]:
    """Rows in all, and rows that only one of the published table and PostgreSQL's reading of the file has."""
    with psycopg.connect(target.conninfo) as connection:
        connection.execute(
            sql.SQL("CREATE TEMP TABLE read_by_copy (LIKE {})").format(sql.Identifier("public", table.name))
        )
        copy = sql.SQL("COPY read_by_copy ({}) FROM STDIN (FORMAT csv, HEADER)").format(names(table.column_names))
        with connection.cursor().copy(copy) as copying:
            copying.write(gzip.decompress(file.read_bytes()))
        # As text, because = of geometries compares boxes only in old versions and NaN is not equal to itself.
        return connection.execute(
            sql.SQL(
                "WITH ours AS (SELECT t::text FROM {0} t), theirs AS (SELECT t::text FROM read_by_copy t)"
                " SELECT (SELECT count(*) FROM ours), (SELECT count(*) FROM"
                " ((TABLE ours EXCEPT ALL TABLE theirs) UNION ALL (TABLE theirs EXCEPT ALL TABLE ours)) AS d)"
            ).format(sql.Identifier("public", table.name))
        ).fetchone()


@pytest.mark.parametrize("table", REAL_TABLES, ids=lambda table: table.name)
def test_real_files(target: Target, table: StaticTable, tmp_path: Path) -> None:
    """OpenStreetMap buildings and water, a public grid: odd names, holes, invalid rings, not in Houston."""
    result = load_layer(table, Release(str(REAL), "real", tmp_path), target, LoadOptions(), print)
    assert differing_rows(target, table, REAL / table.file_name) == (result.rows, 0)
    assert result.rows > 0


def test_invalid_real_geometries_are_named_and_do_not_block(target: Target, tmp_path: Path) -> None:
    (table,) = (table for table in REAL_TABLES if table.name == "building_footprints")
    result = load_layer(table, Release(str(REAL), "real", tmp_path), target, LoadOptions(), print)
    (found,) = (audit for audit in result.audits if audit.name == "valid_geometry")
    assert not found.passed
    assert len(found.sample) == min(10, found.numbers["offending_rows"]) > 0
    assert '"public"."building_footprints"' in found.sql
    with psycopg.connect(target.conninfo) as connection:
        assert connection.execute(found.sql).rowcount == found.numbers["offending_rows"]


@pytest.mark.parametrize("table", static_tables(), ids=lambda table: table.name)
def test_the_sample_city(target: Target, city: Path, table: StaticTable, tmp_path: Path) -> None:
    result = load_layer(table, Release(str(city), "city", tmp_path), target, LoadOptions(), print)
    assert differing_rows(target, table, city / table.file_name) == (result.rows, 0)
    assert [audit.name for audit in result.audits if not audit.passed] == []
