"""Sessions with the target database mean the same whatever its role, the database or the environment have set."""

import time
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from flux_assets.postgis.connect import Stop, Target
from flux_assets_tests.conftest import Sql
from flux_assets_tests.layers import Loader, ReleaseFolder, made_up, rows

NAME = "Süd, Ödön's \\ 東京"


@pytest.fixture
def configured(target: Target) -> Target:
    """The database as a user names it: the embedded one's own conninfo leaves nothing to the environment."""
    known = conninfo_to_dict(target.conninfo)
    return Target(
        conninfo=make_conninfo(**{name: known[name] for name in ("host", "port", "dbname", "user", "password")})
    )


class Slow(Stop):
    """Makes each batch take longer than a session may be idle."""

    def check(self) -> None:
        time.sleep(0.7)
        super().check()


@pytest.mark.parametrize(
    "setting",
    [
        "client_encoding = 'LATIN1'",
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
    loader.load(made_up(), rows(5))
    loader.load(made_up(), [rows(1)[0] | {"name": NAME}, *rows(5, start=1)], stop=Slow())
    assert loader.load(made_up()).outcome == "unchanged"
    assert sql("SELECT name FROM poles WHERE code = 0") == [(NAME,)]


def test_the_environments_encoding_changes_no_value(
    configured: Target, sql: Sql, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    Loader(configured, ReleaseFolder(tmp_path / "v1")).load(made_up(), [rows(1)[0] | {"name": NAME}])
    assert sql("SELECT name FROM poles") == [(NAME,)]
