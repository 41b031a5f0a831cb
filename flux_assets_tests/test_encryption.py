"""No database is spoken to unencrypted over a network, however libpq is led there; and what stays here goes on."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import psycopg2
import pytest
from click import ClickException
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import create_engine, text

from flux_assets import encryption
from flux_assets.doctor.connection import refused
from flux_assets.encryption import confirm
from flux_assets.errors import FluxError, SettingError, TargetError
from flux_assets.locality import Host
from flux_assets.orchestration.storage.instance import InstanceStorage
from flux_assets.orchestration.storage.watch import with_parameters
from flux_assets.postgis import liveness
from flux_assets.postgis.session import Target
from flux_assets.sample.cluster import OWNER, Cluster
from flux_assets.settings import load_settings
from flux_assets.wiring import target as targets
from flux_assets.wiring.target import dagster_storage_url, postgis_target, psql_environment
from flux_assets_tests.other_machine import Relay, relaying, turn_on_tls

# Of an address at {host}:{port}, all that may follow "postgresql://user:password@", or nothing and variables instead.
WAYS = {
    "the last of two modes counts": ("{host}:{port}/{db}?sslmode=require&sslmode=disable", {}),
    "a list of hosts": ("/{db}?host=/none,{host}&port={port}&sslmode=prefer", {}),
    "a list of hosts, nothing said": ("/{db}?host=/none,{host}&port={port}", {}),
    "the last of two hosts counts": ("/{db}?host=localhost&host={host}&port={port}", {}),
    "the last host counts before the first": ("localhost/{db}?host={host}&port={port}&sslmode=disable", {}),
    "an address beside a name": ("localhost:{port}/{db}?hostaddr={host}", {}),
    "an address beside a socket": ("/{db}?host=/none&hostaddr={host}&port={port}&sslmode=allow", {}),
    "a service in the address": ("/{db}?service=maps", {}),
    "the old name of a mode": ("{host}:{port}/{db}?requiressl=0", {}),
    "Kerberos": ("{host}:{port}/{db}?gssencmode=prefer", {}),
    "a host from the environment": ("/{db}", {"PGHOST": "{host}", "PGPORT": "{port}", "PGSSLMODE": "disable"}),
    "an address from the environment": ("localhost:{port}/{db}", {"PGHOSTADDR": "{host}"}),
    "a mode from the environment": ("{host}:{port}/{db}", {"PGSSLMODE": "disable"}),
    "a service from the environment": ("/{db}", {"PGSERVICE": "maps"}),
    "variables alone, disable": (None, {"PGHOST": "{host}", "PGSSLMODE": "disable"}),
    "variables alone, allow": (None, {"PGHOST": "{host}", "PGSSLMODE": "allow"}),
    "variables alone, prefer": (None, {"PGHOST": "{host}", "PGSSLMODE": "prefer"}),
    "variables alone, nothing said": (None, {"PGHOST": "{host}"}),
    "variables alone, an address": (None, {"PGHOSTADDR": "{host}", "PGSSLMODE": "disable"}),
    "variables alone, an address beside a name": (None, {"PGHOST": "localhost", "PGHOSTADDR": "{host}"}),
    "variables alone, a service": (None, {"PGSERVICE": "maps"}),
    "variables alone, a service file": (None, {"PGSERVICEFILE": "{file}", "PGSERVICE": "silent"}),
}


class Away:
    """A server on the network: settings that lead to it, and what was sent to it."""

    def __init__(self, relay: Relay, known: dict[str, object], file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.relay, self.known, self.file, self._monkeypatch = relay, known, file, monkeypatch
        place = f"host={relay.host}\nport={relay.port}\n"
        file.write_text(f"[maps]\n{place}sslmode=disable\n[silent]\n{place}")
        self.user = f"{known['user']}:{known['password']}@"

    def url(self, rest: str) -> str:
        return f"postgresql://{self.user}{self._filled(rest)}"

    def set(self, rest: str | None, variables: dict[str, str], name: str = "FLUX_POSTGRES_URL") -> None:
        known = {"PGPORT": str(self.relay.port), "PGUSER": self.known["user"], "PGPASSWORD": self.known["password"]}
        known |= {"PGDATABASE": self.known["dbname"]} if rest is None else {name: self.url(rest)}
        known |= {"PGSERVICEFILE": str(self.file)} if "service" in str((rest, variables)).lower() else {}
        for key, value in (known | variables).items():
            self._monkeypatch.setenv(key, self._filled(str(value)))
        load_settings.cache_clear()

    def _filled(self, text: str) -> str:
        where = {"{host}": self.relay.host, "{port}": str(self.relay.port), "{db}": str(self.known["dbname"])}
        for name, value in (where | {"{file}": str(self.file)}).items():
            text = text.replace(name, value)
        return text

    @property
    def was_told(self) -> bool:
        """Whether more was sent in the clear than the question whether the server speaks TLS."""
        return str(self.known["user"]).encode() in self.relay.seen


@pytest.fixture
def away(cluster: Cluster, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Away]:
    """A server without TLS."""
    with relaying(urlsplit(cluster.tcp_url()).port) as relay:
        yield Away(relay, conninfo_to_dict(cluster.conninfo(database)), tmp_path / "services", monkeypatch)


@pytest.fixture(scope="module")
def tls_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Path]]:
    """A server with TLS, and its certificate."""
    home = Path(os.environ["FLUX_HOME"]) / "homes" / uuid4().hex[:8]
    home.mkdir(parents=True)
    cluster, certificate = Cluster(home), tmp_path_factory.mktemp("tls") / "root.crt"
    cluster.ensure_plain_database("maps")
    turn_on_tls(cluster, certificate)
    yield cluster, certificate
    cluster.remove()


@pytest.fixture
def away_with_tls(tls_cluster: tuple[Cluster, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Away]:
    cluster, certificate = tls_cluster
    monkeypatch.setenv("PGSSLROOTCERT", str(certificate))
    with relaying(urlsplit(cluster.tcp_url()).port) as relay:
        yield Away(relay, conninfo_to_dict(cluster.conninfo("maps")), tmp_path / "services", monkeypatch)


def is_encrypted(session: psycopg.Connection) -> bool:
    (encrypted,) = session.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
    return encrypted


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_said_to_a_server_without_tls(way: str, away: Away) -> None:
    away.set(*WAYS[way])
    with pytest.raises(FluxError) as caught, postgis_target(load_settings()).session("test"):
        pass
    assert not away.was_told
    assert caught.value.remedy
    assert str(away.known["password"]) not in str(caught.value)


@pytest.mark.parametrize("way", [way for way, (rest, _) in WAYS.items() if rest])
def test_nor_is_dagsters_storage(way: str, away: Away) -> None:
    away.set(*WAYS[way], name="DAGSTER_POSTGRES_URL")
    with pytest.raises((SettingError, psycopg2.OperationalError)):
        psycopg2.connect(dagster_storage_url(load_settings()).replace("+psycopg2", "", 1))
    assert not away.was_told


def test_the_refusal_names_setting_host_and_remedy(away: Away) -> None:
    away.set(*WAYS["variables alone, prefer"])
    with pytest.raises(SettingError) as caught:
        postgis_target(load_settings())
    for named in ("PGHOST", away.relay.host, "sslmode=prefer (from PGSSLMODE", "verify-full"):
        assert named in str(caught.value)


@pytest.mark.parametrize(
    ("rest", "variables"),
    [
        ("{host}:{port}/{db}", {}),
        ("{host}:{port}/{db}?sslmode=require", {}),
        ("{host}:{port}/{db}?sslmode=disable&sslmode=verify-ca", {}),
        ("/{db}?host=/none,{host}&port={port}", {}),
        ("{host}:{port}/{db}?requiressl=1", {}),
        ("/{db}?service=silent", {}),
        (None, {"PGHOST": "{host}", "PGSSLMODE": "require"}),
        (None, {"PGSERVICE": "silent"}),
    ],
)
def test_a_server_with_tls_is_used(rest: str | None, variables: dict[str, str], away_with_tls: Away) -> None:
    away_with_tls.set(rest, variables)
    with postgis_target(load_settings()).session("test") as session:
        assert is_encrypted(session)
        assert session.info.port == away_with_tls.relay.port
    assert not away_with_tls.was_told


def test_a_certificate_is_verified_where_nothing_is_said(away_with_tls: Away, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGSSLROOTCERT")
    away_with_tls.set("{host}:{port}/{db}", {})
    with pytest.raises(TargetError, match="certificate"), postgis_target(load_settings()).session("test"):
        pass


def test_a_service_wins_over_a_host_from_the_environment(away_with_tls: Away) -> None:
    """psycopg looks the variable's host up and would go there; libpq goes where the service says."""
    away_with_tls.set("/{db}?service=silent", {"PGHOST": "192.0.2.1"})
    with postgis_target(load_settings()).session("test") as session:
        assert session.info.port == away_with_tls.relay.port


def test_dagsters_storage_uses_tls(away_with_tls: Away) -> None:
    away_with_tls.set("/{db}?host=/none,{host}&port={port}", {}, name="DAGSTER_POSTGRES_URL")
    storage = InstanceStorage.from_config_value(None, {})
    with storage._run_storage.connect() as connection:
        assert connection.execute(text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")).scalar_one()
    assert not away_with_tls.was_told


def test_dagsters_command_ends_with_the_reason(away: Away) -> None:
    away.set(*WAYS["a mode from the environment"], name="DAGSTER_POSTGRES_URL")
    with pytest.raises(ClickException, match=f"DAGSTER_POSTGRES_URL: {away.relay.host} is another machine"):
        InstanceStorage.from_config_value(None, {})


def test_a_session_that_was_opened_in_the_clear_is_closed(away: Away, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should an address ever be judged wrongly, the finished connection tells."""
    _is_elsewhere(away, monkeypatch)
    monkeypatch.setattr(liveness, "protected", str)
    opened: list[psycopg.Connection] = []
    monkeypatch.setattr(liveness, "confirm", lambda *given, **said: (opened.append(given[0]), confirm(*given, **said)))
    target = Target(conninfo=away.url("{host}:{port}/{db}"))
    with pytest.raises(TargetError, match=f"{away.relay.host} is not encrypted"), target.session("test"):
        pass
    with pytest.raises(OSError):
        os.fstat(opened[0])


def test_doctor_says_why_such_a_session_was_closed(away: Away, monkeypatch: pytest.MonkeyPatch) -> None:
    _is_elsewhere(away, monkeypatch)
    monkeypatch.setattr(liveness, "protected", str)
    finding = refused(Target(conninfo=away.url("{host}:{port}/{db}")))
    assert f"{away.relay.host} is not encrypted" in finding.message
    assert "sslmode=verify-full" in finding.remedy


def test_dagsters_connection_in_the_clear_is_closed(away: Away, monkeypatch: pytest.MonkeyPatch) -> None:
    _is_elsewhere(away, monkeypatch)
    monkeypatch.setattr(targets, "protected", str)
    away.set("{host}:{port}/{db}", {}, name="DAGSTER_POSTGRES_URL")
    url = dagster_storage_url(load_settings())
    with pytest.raises(ClickException, match=f"{away.relay.host} is not encrypted"):
        InstanceStorage.from_config_value(None, {})
    engine = create_engine(with_parameters(url))
    with pytest.raises(TargetError):
        engine.connect()


def test_other_engines_of_the_process_are_left_alone(cluster: Cluster, database: str) -> None:
    engine = create_engine(cluster.tcp_url(database).replace("://", "+psycopg2://"))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
    engine.dispose()


def test_what_is_no_connection_is_not_taken_for_a_local_one(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, pytest.raises(TargetError, match="not encrypted"):
        confirm(file.fileno(), "db.example", encrypted=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("mode", ["", "?sslmode=disable", "?sslmode=prefer"])
def test_this_machine_needs_no_tls(
    host: str, mode: str, cluster: Cluster, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLUX_POSTGRES_URL", cluster.tcp_url(database).replace("127.0.0.1", host) + mode)
    with postgis_target(load_settings()).session("test") as session:
        assert not is_encrypted(session)


def test_the_embedded_connection_ignores_where_variables_lead(
    cluster: Cluster, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PGHOSTADDR": "192.0.2.1", "PGSSLMODE": "verify-full", "PGGSSENCMODE": "require"}.items():
        monkeypatch.setenv(name, value)
    with Target(conninfo=cluster.conninfo(database)).session("test") as session:
        assert session.execute("SELECT current_user").fetchone() == (OWNER,)


def test_an_unknown_service_is_named(away: Away) -> None:
    away.set("/{db}?service=nowhere", {})
    with pytest.raises(SettingError, match='definition of service "nowhere" not found'):
        postgis_target(load_settings())


def test_a_password_that_breaks_the_address_is_not_shown(away: Away) -> None:
    with pytest.raises(TargetError) as caught, Target(conninfo="postgresql://u:pass%zzword@h/d").session("test"):
        pass
    assert "word" not in str(caught.value).replace("password", "")


def test_kerberos_alone_is_refused(away: Away) -> None:
    with pytest.raises(TargetError, match="gssencmode=require"):
        encryption.protected("host=db.example gssencmode=require")
    assert conninfo_to_dict(encryption.protected("host=db.example gssencmode=prefer"))["gssencmode"] == "disable"


@pytest.mark.parametrize("lists", ["host=a,b hostaddr=127.0.0.1", "host=localhost port=1,2", "host=a,b,c port=1,2"])
def test_lists_that_do_not_fit_are_refused(lists: str) -> None:
    with pytest.raises(TargetError, match="List the same number"):
        encryption.protected(lists)


def test_a_name_that_changes_between_two_lookups_leads_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["127.0.0.1", "10.0.0.1"])
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), 0))]
    )
    accepted = conninfo_to_dict(encryption.protected("host=maps.example sslmode=disable"))
    assert (accepted["host"], accepted["hostaddr"]) == ("maps.example", "127.0.0.1")


def test_psql_goes_where_the_address_says(cluster: Cluster, away: Away) -> None:
    """A service of the environment would win over the variables that psql is given."""
    away.set("127.0.0.1:5555/{db}?application_name=x", {"PGSERVICE": "maps", "PGTZ": "Asia/Tokyo"})
    environment = psql_environment(load_settings())
    assert environment["PGHOST"] == "127.0.0.1"
    assert environment["PGPORT"] == "5555"
    assert environment["PGPASSWORD"] == away.known["password"]
    assert environment["PGAPPNAME"] == "x"
    assert not {"PGSERVICE", "PGTZ"} & environment.keys()
    away.set("/{db}?service=silent", {})
    environment = psql_environment(load_settings())
    assert environment["PGHOST"] == away.relay.host
    assert environment["PGSSLMODE"] == "verify-full"


def _is_elsewhere(away: Away, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a network has only loopback addresses; its relay counts as away then."""
    if away.relay.host == "0.0.0.0":
        monkeypatch.setattr(Host, "is_loopback", False)
