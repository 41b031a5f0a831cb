"""Which database and which release a step gets: the configured ones, the provided ones, or an error that says which
setting is missing."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from flux_assets.errors import SettingError
from flux_assets.orchestration.resources import PostgisResource, ReleaseResource, WarehouseResource, connect
from flux_assets.sample import release as embedded_release
from flux_assets.sample.release import sample_release
from flux_assets.settings import Settings, load_settings
from flux_assets.snowflake.account import Account
from flux_assets.tables import dynamic_tables
from flux_assets.wiring.source import layer_release

pytestmark = pytest.mark.bare

OWN = "postgresql://me@127.0.0.1/maps"


def quiet(_: str) -> None:
    pass


@pytest.fixture
def made(monkeypatch):
    """Folders in which a sample city was made; the city itself has tests of its own."""
    made = []

    def make(folder):
        made.append(folder)
        folder.mkdir()
        (folder / "manifest.json").write_text('{"files": []}')

    monkeypatch.setattr(embedded_release, "_make_city", make)
    return made


def settings(tmp_path, **given: str) -> Settings:
    return Settings(_env_file=None, flux_home=tmp_path, **given)


@pytest.mark.parametrize(
    "given",
    [{}, {"flux_release": "sample"}, {"flux_release": "sample", "flux_postgres_url": OWN}],
    ids=["nothing is set", "asked for by name", "asked for by name, into a database of one's own"],
)
def test_the_sample_city_is_provided(given, tmp_path, made):
    assert layer_release(settings(tmp_path, **given), quiet).tag == "sample-city-0.05"
    assert len(made) == 1


@pytest.mark.parametrize(
    "given",
    [
        {"flux_postgres_url": OWN},
        {"pgservice": "maps"},
        {"flux_profile": "production"},
        {"flux_profile": "production", "flux_release": "sample"},
        {"flux_profile": "production", "flux_release": "sample", "flux_postgres_url": OWN},
    ],
    ids=", ".join,
)
def test_sample_rows_go_nowhere_unasked(given, tmp_path, made):
    with pytest.raises(SettingError, match="FLUX_RELEASE"):
        layer_release(settings(tmp_path, **given), quiet)
    assert made == []


@pytest.mark.parametrize("profile", ["embedded", "production"])
def test_a_configured_release_is_used_as_it_is(profile, tmp_path, made):
    folder = tmp_path / "v3"
    folder.mkdir()
    release = layer_release(settings(tmp_path, flux_profile=profile, flux_release=str(folder)), quiet)
    assert release.tag == "v3"
    named = settings(tmp_path, flux_release=str(folder), flux_release_tag="of today")
    assert layer_release(named, quiet).tag == "of today"
    assert made == []


def test_several_at_once_make_the_sample_once(tmp_path, made):
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: sample_release(tmp_path, quiet), range(8)))
    assert len(made) == 1
    assert set(folders) == {tmp_path / "release" / "sample-city-0.05"}


def test_a_sample_left_unfinished_is_made_again(tmp_path, monkeypatch, made):
    def fail(folder):
        folder.mkdir()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(embedded_release, "_make_city", fail)
        with pytest.raises(KeyboardInterrupt):
            sample_release(tmp_path, quiet)
    assert (sample_release(tmp_path, quiet) / "manifest.json").is_file()


def test_the_making_is_announced_once(tmp_path, made):
    said = []
    sample_release(tmp_path, said.append)
    sample_release(tmp_path, said.append)
    assert len(said) == 1


def test_the_database_is_the_configured_one(cluster, database, monkeypatch):
    monkeypatch.setenv("FLUX_POSTGRES_URL", cluster.url(database))
    monkeypatch.setenv("FLUX_POSTGRES_SCHEMA", "maps")
    load_settings.cache_clear()
    target = PostgisResource().target()
    assert target.schema == "maps"
    with target.session("test") as session:
        assert session.execute("SELECT current_database()").fetchone() == (database,)


def test_the_embedded_database_is_provided_once_to_all_who_ask_at_once(cluster):
    resource = PostgisResource()
    with ThreadPoolExecutor(4) as pool:
        targets = list(pool.map(lambda _: resource.target(), range(4)))
    assert all(target is targets[0] for target in targets)
    with targets[0].session("test") as session:
        assert session.execute("SELECT count(*) FROM pg_extension WHERE extname = 'postgis'").fetchone() == (1,)


def test_production_without_a_database_names_the_setting(monkeypatch):
    monkeypatch.setenv("FLUX_PROFILE", "production")
    load_settings.cache_clear()
    with pytest.raises(SettingError, match="FLUX_POSTGRES_URL is not set"):
        PostgisResource().target()


def test_an_error_is_not_remembered(monkeypatch, tmp_path):
    """What went wrong for one step is tried again for the next."""
    monkeypatch.setenv("FLUX_PROFILE", "production")
    load_settings.cache_clear()
    resource = ReleaseResource()
    with pytest.raises(SettingError):
        resource.release(quiet)
    monkeypatch.setenv("FLUX_RELEASE", str(tmp_path))
    load_settings.cache_clear()
    assert resource.release(quiet) is resource.release(quiet)


KEY_PAIR = Account(
    account="org-acct", user="loader", private_key_path=Path(__file__), private_key_passphrase=SecretStr("secret"),
    role="READER", warehouse="WH", host="127.0.0.1", port=1, protocol="http",
)  # fmt: skip


@pytest.mark.parametrize(
    "account",
    [KEY_PAIR, Account(account="a", user="u", password=SecretStr("p"), stand_in=True)],
    ids=["key pair", "password"],
)
def test_dagster_snowflake_hands_every_argument_on_as_it_is(account, monkeypatch):
    """Time-outs, session parameters, host, application and key file: nothing is dropped, changed or read on the way."""
    import snowflake.connector

    handed, closed = {}, []

    class Connection:
        def close(self):
            closed.append(True)

    monkeypatch.setattr(snowflake.connector, "connect", lambda **given: handed.update(given) or Connection())
    arguments = replace(account, run_id="r1", layer="work_orders").arguments()
    with connect(arguments):
        assert not closed
    assert handed == {**arguments, "autocommit": True}
    assert closed


def test_a_session_is_closed_also_when_what_it_was_for_fails(source_server, monkeypatch):
    """Asked of `close` itself: the stand-in knows no logout, and the connector then calls the session open still."""
    from snowflake.connector import SnowflakeConnection

    opened, closed = [], []
    plain = SnowflakeConnection.close
    monkeypatch.setattr(SnowflakeConnection, "close", lambda self: closed.append(self) or plain(self))

    def fail():
        with connect(source_server.arguments()) as connection:
            opened.append(connection)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert closed == opened


def test_a_session_is_the_connectors_own(source_server):
    with connect(replace(source_server, run_id="r1").arguments()) as connection:
        assert connection.cursor().execute("SELECT 1").fetchone() == (1,)
        assert connection.application == "flux_assets"
        assert connection.network_timeout == source_server.network_timeout


def test_the_account_is_asked_for_when_a_session_is(monkeypatch):
    monkeypatch.setenv("FLUX_PROFILE", "production")
    load_settings.cache_clear()
    opening = WarehouseResource().opening("r1", ["work_orders"], quiet)
    with pytest.raises(SettingError, match="SNOWFLAKE_ACCOUNT"), opening():
        pass


def test_another_configuration_is_another_family(monkeypatch, tmp_path):
    plain = WarehouseResource().family(dynamic_tables())
    (tmp_path / "flux.toml").write_text('[WORK_ORDERS]\nwindow = "7 d"\n')
    monkeypatch.setenv("FLUX_CONFIG", str(tmp_path / "flux.toml"))
    load_settings.cache_clear()
    configured = WarehouseResource().family(dynamic_tables())
    windows = {table.name: table.row_filter.window.days for table in configured.tables if table.row_filter}
    assert windows["work_orders"] == 7
    assert configured.configuration != plain.configuration
    assert WarehouseResource().family(dynamic_tables()).configuration == configured.configuration
