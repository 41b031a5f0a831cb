"""Which database is used: the configured one, the embedded one, or none, and then by a clear error."""

import subprocess
import sys
from pathlib import Path

import psycopg
import psycopg2
import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import make_url

from flux_assets.cli.terminal import the_target
from flux_assets.errors import SettingError
from flux_assets.orchestration.resources import PostgisResource
from flux_assets.sample.cluster import Cluster
from flux_assets.settings import load_settings
from flux_assets.spec.facts import Volume
from flux_assets.wiring.target import dagster_storage_url, postgis_target

pytestmark = pytest.mark.bare


def test_the_embedded_database_is_provided_where_nothing_is_set(cluster: Cluster) -> None:
    with postgis_target(load_settings()).session("test") as session:
        row = session.execute("SELECT current_database(), current_user, postgis_version() IS NOT NULL").fetchone()
    assert row == ("flux", "flux", True)


def test_the_schema_setting_reaches_the_target(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUX_POSTGRES_SCHEMA", "gis")
    assert postgis_target(load_settings()).schema == "gis"


def test_a_configured_database_is_used_and_no_cluster_is_made(
    cluster: Cluster, database: str, new_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLUX_HOME", str(new_home))
    monkeypatch.setenv("FLUX_POSTGRES_URL", cluster.tcp_url(database))
    with postgis_target(load_settings()).session("test") as session:
        assert session.execute("SELECT current_database()").fetchone() == (database,)
    assert list(new_home.iterdir()) == []


def test_libpq_variables_name_a_database_also_from_a_dot_env(
    cluster: Cluster, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = conninfo_to_dict(cluster.conninfo(database))
    (tmp_path / "env").write_text(f"PGHOST={parts['host']}\n")
    monkeypatch.setenv("FLUX_ENV_FILE", str(tmp_path / "env"))
    for name in ("port", "user", "password"):
        monkeypatch.setenv(f"PG{name.upper()}", str(parts[name]))
    monkeypatch.setenv("PGDATABASE", database)
    with postgis_target(load_settings()).session("test") as session:
        assert session.execute("SELECT current_database()").fetchone() == (database,)


@pytest.mark.parametrize(
    ("resolve", "named"), [(postgis_target, "FLUX_POSTGRES_URL"), (dagster_storage_url, "DAGSTER_POSTGRES_URL")]
)
def test_production_is_given_nothing(resolve, named: str, new_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUX_HOME", str(new_home))
    monkeypatch.setenv("FLUX_PROFILE", "production")
    with pytest.raises(SettingError, match=f"{named} is not set"):
        resolve(load_settings())
    assert list(new_home.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgresql://u:p@localhost/runs", {"sslmode": "prefer"}),
        ("postgresql+psycopg2://u:p@localhost/runs", {"sslmode": "prefer"}),
        ("postgresql+psycopg://u:p@localhost/runs", {"sslmode": "prefer"}),
        ("postgres://u:p@db.example/runs", {"host": "db.example", "sslmode": "verify-full"}),
        ("postgresql://u:p@db.example/runs?sslmode=require", {"host": "db.example", "sslmode": "require"}),
        (
            "postgresql://u:p@/runs?sslmode=disable&sslmode=require&host=a.example,b.example&port=1,2",
            {"host": "a.example,b.example", "port": "1,2", "sslmode": "require"},
        ),
        ("postgresql://u:p@/runs?host=%2Ftmp%2Fa%20b", {"host": "/tmp/a b", "port": "5432"}),
    ],
)
def test_dagsters_configured_storage_is_spelt_for_its_driver(
    given: str, used: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What SQLAlchemy hands to psycopg2 is what libpq makes of the setting."""
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", given)
    url = make_url(dagster_storage_url(load_settings()))
    assert url.drivername == "postgresql+psycopg2"
    arguments = {name: str(value) for name, value in url.get_dialect()().create_connect_args(url)[1].items()}
    assert {"user": "u", "password": "p", "dbname": "runs", **used}.items() <= arguments.items()


def test_dagsters_embedded_storage_is_a_database_of_its_own(cluster: Cluster) -> None:
    url = dagster_storage_url(load_settings())
    with psycopg2.connect(url.replace("+psycopg2", "")) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_database(), current_user")
        assert cursor.fetchone() == ("dagster", "flux")
        cursor.execute("SELECT count(*) FROM pg_extension WHERE extname = 'postgis'")
        assert cursor.fetchone() == (0,)


def test_a_service_that_names_the_target_leaves_dagsters_embedded_storage_alone(
    cluster: Cluster, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process holds both: the layers' database from a service file, and Dagster's from the embedded cluster."""
    parts = conninfo_to_dict(cluster.conninfo(database))
    service = [
        "[maps]",
        "options=-c search_path=evil",
        f"dbname={database}",
        "sslmode=prefer",
        "require_auth=scram-sha-256",
    ]
    service += [f"{name}={parts[name]}" for name in ("host", "port", "user", "password")]
    (tmp_path / "services").write_text("\n".join(service) + "\n")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    monkeypatch.setenv("PGSERVICE", "maps")
    with psycopg.connect(postgis_target(load_settings()).conninfo) as connection:
        row = connection.execute("SELECT current_database(), current_setting('search_path')").fetchone()
    assert row == (database, "evil")
    url = dagster_storage_url(load_settings())
    with psycopg2.connect(url.replace("+psycopg2", "")) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_database(), current_setting('search_path')")
        assert cursor.fetchone() == ("dagster", '"$user", public')


def test_variables_that_change_the_meaning_of_times_are_dropped(cluster: Cluster, database: str) -> None:
    """libpq sends PGTZ and PGDATESTYLE with every connection, and they win over what a session asks for."""
    code = (
        "from flux_assets.wiring.target import postgis_target; from flux_assets.settings import load_settings\n"
        "with postgis_target(load_settings()).session('test') as session:\n"
        "    print(*session.execute(\"SELECT current_setting('timezone'), current_setting('datestyle')\").fetchone())"
    )
    url = {"FLUX_POSTGRES_URL": cluster.tcp_url(database)}
    hostile = url | {"PGTZ": "Asia/Tokyo", "PGDATESTYLE": "German", "PGSERVICE": ""}
    command = ["env", *(f"{name}={value}" for name, value in hostile.items()), sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "UTC ISO, MDY\n", done.stderr


def test_plausible_row_counts_of_flux_config_reach_who_judges(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "flux.toml"
    config.write_text("[volume.building_footprints]\nmaximum = 200_000_000")
    monkeypatch.setenv("FLUX_CONFIG", str(config))
    wanted = {"building_footprints": Volume(maximum=200_000_000)}
    assert PostgisResource().target().volumes == wanted
    assert the_target(judges=True).volumes == wanted
    config.write_text("[volume.building_footprint]\nmaximum = 1")
    with pytest.raises(SettingError, match="no such table; did you mean building_footprints"):
        PostgisResource().target()
    assert the_target().volumes == {}, "what judges nothing goes on"
