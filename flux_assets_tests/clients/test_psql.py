"""psql's descriptions of tables, and a database that is dumped and restored."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from flux_assets.postgis.session import Target
from flux_assets.sample import binaries
from flux_assets_tests.clients.moving import FAULTS, POLES, Moving, Reader, follow
from flux_assets_tests.conftest import fresh_database

TABLES = ("poles", "faults", "feeders")


def run(program: str, *arguments: str, feed: str | None = None) -> str:
    """What a program of the server prints; it has to end well and without complaints."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    done = subprocess.run(
        [binaries.find().program(program), *arguments],
        env=plain, input=feed, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_psql_describes_every_table(moving: Moving, reader_url):
    url = reader_url("postgresql")
    listed = run("psql", "-X", "-A", "-t", "-d", url, "-c", r"\dt+ public.*")
    assert {line.split("|")[1] for line in listed.splitlines()} >= set(TABLES)
    assert "flux_versions" not in run("psql", "-X", "-d", url, "-c", r"\d+")
    described = run("psql", "-X", "-d", url, "-c", r"\d+ poles")
    assert 'Partition key: LIST (id)\nIndexes:\n    "poles_pkey" PRIMARY KEY' in described
    assert "geometry(Point,4326)" in described
    assert "Share, 0 to 1." in described
    assert '"faults_geom_idx" gist (geom)' in run("psql", "-X", "-d", url, "-c", r"\d faults")


def test_psql_describes_tables_through_ten_publishes_and_syncs(moving: Moving, reader_url):
    def read(table: str, column: str, factor: int) -> tuple[int, set[int]]:
        asked = f"SELECT count(*), {column} FROM {table} GROUP BY 2"
        said = run("psql", "-X", "-A", "-t", "-d", reader_url("postgresql"), "-c", rf"\d+ {table}", "-c", asked)
        *described, last = said.splitlines()
        assert any("geometry(Point,4326)" in line for line in described)
        count, version = last.split("|")
        return int(count), {round(float(version) * factor)}

    follow(
        moving,
        Reader(lambda: read("poles", "score", 100), POLES),
        Reader(lambda: read("faults", "homes", 1), FAULTS),
    )


@pytest.fixture
def restored(cluster) -> Iterator[str]:
    """The name of an empty database, without even PostGIS."""
    with fresh_database(cluster, "template0") as name:
        yield name


def administrator(cluster, name: str) -> str:
    """The superuser's address, in the words of a libpq as old as the server may be."""
    known = conninfo_to_dict(cluster.conninfo(name, admin=True))
    return make_conninfo(**{key: known[key] for key in ("host", "port", "user", "password", "dbname") if key in known})


def restore(cluster, archive: str, name: str) -> None:
    """Play a dump into an empty database; nothing of it may be refused."""
    quietly = ("-X", "-q", "-o", os.devnull, "-v", "ON_ERROR_STOP=1")
    run("psql", *quietly, "-d", administrator(cluster, name), feed=archive)


def contents(target: Target) -> dict[str, object]:
    """All rows of all tables, and the version of the layer."""
    with psycopg.connect(target.conninfo) as session:
        found = {name: session.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall() for name in TABLES}
        state = "SELECT layer_name, version, trusted, detail FROM postgres_sync.v_table_status WHERE kind = 'static'"
        return found | {"state": session.execute(state).fetchall()}


def test_a_database_that_is_dumped_and_restored_goes_on(moving: Moving, target, cluster, database, restored):
    moving.go_on()
    with psycopg.connect(target.conninfo, autocommit=True) as session:
        session.execute("CREATE VIEW tall AS SELECT id FROM poles WHERE score > 0")
        session.execute("GRANT SELECT ON tall TO flux_reader")
    restore(cluster, run("pg_dump", "-d", administrator(cluster, database)), restored)
    copy = Target(conninfo=cluster.conninfo(restored))
    assert contents(copy) == contents(target)
    moving.loader.target = moving.utility.target = copy
    moving.go_on()
    with psycopg.connect(copy.conninfo) as session:
        session.execute("SET ROLE flux_reader")
        # Until the first sync the synced tables were others than the last one had left.
        trusted = "SELECT layer_name FROM postgres_sync.v_table_status WHERE trusted ORDER BY 1"
        assert session.execute(trusted).fetchall() == [("faults",), ("feeders",), ("poles",)]
        assert session.execute("SELECT DISTINCT score FROM poles").fetchall() == [(0.02,)]
        assert session.execute("SELECT count(*) FROM tall").fetchone() == (POLES,)
        assert session.execute("SELECT DISTINCT homes FROM faults").fetchall() == [(2,)]


def test_whatever_is_dumped_while_tables_move_on_is_restored_whole(moving: Moving, cluster, database):
    """A dump has what was published when it began, and the register's word for it."""

    def read() -> tuple[int, set[int]]:
        archive = run("pg_dump", "-d", administrator(cluster, database))
        with fresh_database(cluster, "template0") as name:
            restore(cluster, archive, name)
            with psycopg.connect(cluster.conninfo(name)) as copy:
                assert copy.execute("SELECT count(*) FROM faults").fetchone() == (FAULTS,)
                found = copy.execute(
                    "SELECT count(*), score FROM poles WHERE (SELECT trusted FROM postgres_sync.v_table_status"
                    " WHERE layer_name = 'poles') GROUP BY 2"
                ).fetchall()
        return sum(count for count, _ in found), {round(score * 100) for _, score in found}

    follow(moving, Reader(read, POLES))
