"""Sessions with the target database mean the same whatever its role, the database or the environment have set."""

import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from flux_assets.doctor import connection as doctor
from flux_assets.errors import TargetError
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.session import Target
from flux_assets.sample.cluster import OWNER, Cluster
from flux_assets_tests.conftest import Sql
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows
from flux_assets_tests.synced import Utility

pytestmark = pytest.mark.bare

NAME = "Süd, Ödön's \\ 東京"


@pytest.fixture
def configured(target: Target) -> Target:
    """The database as a user names it: the embedded one's own conninfo leaves nothing to the environment."""
    known = conninfo_to_dict(target.conninfo)
    return Target(
        conninfo=make_conninfo(**{name: known[name] for name in ("host", "port", "dbname", "user", "password")})
    )


@pytest.fixture
def encoded(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Target]:
    """An empty database in another encoding than UTF8."""
    name = f"test_{uuid4().hex[:12]}"
    with cluster.admin_session() as admin:
        admin.execute(
            f"CREATE DATABASE {name} OWNER {OWNER} ENCODING '{request.param}' LC_COLLATE 'C' LC_CTYPE 'C'"
            " TEMPLATE template0"
        )
        yield Target(conninfo=cluster.conninfo(name))
        admin.execute(f"DROP DATABASE {name} (FORCE)")


class Slow(Stop):
    """Makes each batch take longer than a session may be idle."""

    def check(self) -> None:
        time.sleep(0.4)
        super().check()


@pytest.mark.parametrize(
    "setting",
    [
        "client_encoding = 'LATIN1'",
        "client_encoding = 'SQL_ASCII'",
        "datestyle = 'SQL', 'DMY'",
        "quote_all_identifiers = on",
        "idle_session_timeout = '300ms'",
    ],
)
def test_what_a_database_has_set_changes_no_load(
    configured: Target, sql: Sql, admin_sql: Sql, database: str, tmp_path: Path, setting: str
) -> None:
    loader = Loader(configured, ReleaseFolder(tmp_path / "v1"))
    admin_sql(f"ALTER DATABASE {database} SET {setting}")
    stop = Slow() if "idle" in setting else Stop()
    loader.load(made_up(), rows(5))
    loader.load(made_up(), [rows(1)[0] | {"name": NAME}, *rows(5, start=1)], stop=stop)
    assert loader.load(made_up()).outcome == "unchanged"
    assert sql("SELECT name FROM poles WHERE code = 0") == [(NAME,)]


def test_the_environments_encoding_changes_no_value(
    configured: Target, sql: Sql, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    Loader(configured, ReleaseFolder(tmp_path / "v1")).load(made_up(), [rows(1)[0] | {"name": NAME}])
    assert sql("SELECT name FROM poles") == [(NAME,)]


@pytest.mark.parametrize("encoded", ["LATIN1", "SQL_ASCII", "WIN1252", "EUC_JP", "MULE_INTERNAL"], indirect=True)
def test_a_database_in_another_encoding_is_refused_before_anything_is_made(
    encoded: Target, utility: Utility, tmp_path: Path
) -> None:
    """Whoever comes first: a load of ASCII alone, a sync, or doctor."""
    with pytest.raises(TargetError) as of_load:
        Loader(encoded, ReleaseFolder(tmp_path / "v1")).load(made_up(), rows(5))
    utility.target = encoded
    with pytest.raises(TargetError) as of_sync:
        utility.sync()
    finding = doctor.refused(encoded)
    assert finding is not None
    assert finding.outcome == "failed"
    for said in (str(of_load.value), str(of_sync.value), f"{finding.message} {finding.remedy}"):
        assert "encoding" in said
        assert "cannot hold every text; flux_assets needs UTF8" in said
        assert "ENCODING 'UTF8' LOCALE 'C.UTF-8' TEMPLATE template0" in said
        assert "pg_dump" in said


@pytest.mark.parametrize("encoded", ["SQL_ASCII"], indirect=True)
def test_the_database_and_its_encoding_are_named(encoded: Target) -> None:
    name = conninfo_to_dict(encoded.conninfo)["dbname"]
    with pytest.raises(TargetError) as caught, encoded.session("test"):
        pass
    assert f'The encoding of database "{name}" is SQL_ASCII' in caught.value.problem
    assert f'pg_dump --encoding=LATIN1, or whatever the bytes in it mean, "{name}" | psql "{name}_utf8"' in (
        caught.value.remedy
    )
