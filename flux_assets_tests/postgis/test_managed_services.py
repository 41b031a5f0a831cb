"""Databases of services that give nobody a superuser: their administrators and their loaders do all that there is.

Each service is a server of ours with the roles and rights that its administrators have. Not here: what only the service
itself can show, such as its pooler, its fail-over and its certificates.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest

from flux_assets.postgis.session import Target
from flux_assets.sample import binaries
from flux_assets.sample.cluster import Cluster
from flux_assets.settings import REPOSITORY, load_settings
from flux_assets.sqlfiles import script
from flux_assets_tests.made_layers import Loader, ReleaseFolder, rows
from flux_assets_tests.synced import Utility, settings_of
from flux_assets_tests.whole_way import POLES, examined, go, wrong

SEES_NOBODY = (
    "a publish that has to wait cannot name what it waits for, and a load cannot tell whether another one is alive"
)
_MAY = "LOGIN PASSWORD 'secret-word' CREATEDB CREATEROLE"


@dataclass(frozen=True, kw_only=True)
class Service:
    """What a superuser sets up once for role `boss`; `owner` has the database, `extensions` is where PostGIS is.

    `passes_on` says whether its administrators may grant pg_monitor to others where CREATEROLE alone does not allow it.
    `name` is how doctor calls it, `install` and `settings` what it says there of PostGIS and of superusers' settings.
    """

    name: str
    roles: str
    install: str
    settings: str
    passes_on: bool = True
    owner: str = "boss"
    extensions: str = "public"


SERVICES = {
    "rds": Service(
        name="Amazon RDS or Aurora",
        roles=f"CREATE ROLE rds_superuser; CREATE ROLE boss {_MAY} IN ROLE rds_superuser;"
        " GRANT pg_monitor, pg_signal_backend TO rds_superuser WITH ADMIN OPTION",
        install="Run CREATE EXTENSION postgis in it as a member of rds_superuser.",
        settings="set temp_file_limit in the parameter group.",
    ),
    "azure": Service(
        name="Azure Database for PostgreSQL",
        roles=f"CREATE ROLE azure_pg_admin CREATEDB CREATEROLE; CREATE ROLE boss {_MAY} IN ROLE azure_pg_admin;"
        " GRANT pg_monitor, pg_read_all_stats, pg_signal_backend TO azure_pg_admin WITH ADMIN OPTION",
        install="Run CREATE EXTENSION postgis (once POSTGIS is in the server parameter azure.extensions) in it as a"
        " member of azure_pg_admin.",
        settings="set temp_file_limit in the server parameters.",
        owner="azure_pg_admin",
    ),
    "cloud sql": Service(
        name="Cloud SQL",
        roles=f"CREATE ROLE cloudsqlsuperuser CREATEDB CREATEROLE; CREATE ROLE boss {_MAY} IN ROLE cloudsqlsuperuser",
        install="Run CREATE EXTENSION postgis in it as a member of cloudsqlsuperuser.",
        settings="set temp_file_limit in the database flags.",
        passes_on=False,
        owner="cloudsqlsuperuser",
    ),
    "supabase": Service(
        name="Supabase",
        roles=f"CREATE ROLE supabase_admin SUPERUSER; CREATE ROLE boss {_MAY} REPLICATION BYPASSRLS;"
        " GRANT pg_monitor, pg_read_all_data, pg_signal_backend TO boss WITH ADMIN OPTION;"
        " ALTER ROLE boss SET search_path = public, extensions; ALTER ROLE boss SET statement_timeout = '2min'",
        install="Run CREATE EXTENSION postgis SCHEMA extensions in it as postgres.",
        settings="set temp_file_limit in the settings of the database (supabase postgres-config update).",
        extensions="extensions",
    ),
    "neon": Service(
        name="Neon",
        roles="CREATE ROLE neon_superuser CREATEDB CREATEROLE REPLICATION BYPASSRLS;"
        f" GRANT pg_read_all_data, pg_write_all_data TO neon_superuser; CREATE ROLE boss {_MAY} IN ROLE neon_superuser;"
        " GRANT pg_monitor, pg_signal_backend TO neon_superuser WITH ADMIN OPTION",
        install="Run CREATE EXTENSION postgis in it as a member of neon_superuser.",
        settings="set temp_file_limit in the settings, which Neon's support changes.",
    ),
}


@dataclass
class Managed:
    """A service's server with a database `maps`, and the ways into it."""

    service: Service
    server: Cluster

    def url(self, user: str, database: str = "maps") -> str:
        return f"postgresql://{user}:secret-word@127.0.0.1:{self.port}/{database}"

    @property
    def may_pass_on(self) -> bool:
        return self.service.passes_on or binaries.find().major < 16

    @property
    def port(self) -> int | None:
        return urlsplit(self.server.tcp_url()).port

    def run(self, statement: str) -> None:
        """As the service's administrator."""
        with closing(psycopg.connect(self.url("boss"), autocommit=True)) as session:
            session.execute(statement.encode())

    def as_superuser(self, statement: str) -> None:
        with self.server.admin_session("maps") as superuser:
            superuser.execute(statement.encode())

    def reached(self, monkeypatch: pytest.MonkeyPatch, utility: Utility, user: str, folder: Path) -> None:
        """Have settings and utility lead to the database, as the user."""
        ends = {"FLUX_POSTGRES_URL": self.url(user), "FLUX_RELEASE": str(folder)}
        storage = {"DAGSTER_POSTGRES_URL": self.url("dagster", "dagster")}
        for name, value in (ends | storage | settings_of(utility.account)).items():
            monkeypatch.setenv(name, value)
        load_settings.cache_clear()
        utility.target = Target(conninfo=self.url(user))


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """A server in which only its superuser is known."""
    home = Path(os.environ["FLUX_HOME"]) / "homes" / uuid4().hex[:8]
    home.mkdir(parents=True)
    cluster = Cluster(home)
    cluster.start()
    with cluster.admin_session() as superuser:
        for setting in ("fsync", "full_page_writes"):
            superuser.execute(f"ALTER SYSTEM SET {setting} = off".encode())
        superuser.execute("SELECT pg_reload_conf()")
    yield cluster
    cluster.remove()


@pytest.fixture(params=SERVICES)
def managed(server: Cluster, request: pytest.FixtureRequest) -> Iterator[Managed]:
    service = SERVICES[request.param]
    managed = Managed(service, server)
    with server.admin_session() as superuser:
        known = [name for (name,) in superuser.execute("SELECT rolname FROM pg_roles")]
        superuser.execute(service.roles.encode())
        superuser.execute(f"CREATE DATABASE maps OWNER {service.owner}".encode())
    if service.extensions != "public":
        managed.as_superuser(f"CREATE SCHEMA {service.extensions} AUTHORIZATION boss")
    managed.as_superuser(f"CREATE EXTENSION postgis SCHEMA {service.extensions}")
    yield managed
    with server.admin_session() as superuser:
        for name in ("maps", "dagster"):
            superuser.execute(f"DROP DATABASE IF EXISTS {name} (FORCE)".encode())
        made = superuser.execute("SELECT rolname FROM pg_roles WHERE rolname <> ALL (%s)", [known]).fetchall()
        for (name,) in made:
            superuser.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}".encode())


@pytest.fixture
def loader(managed: Managed) -> str:
    """The loader that the service's administrator makes, and gives a password."""
    for _ in range(2):  # running it again changes nothing
        managed.run(script("postgis/roles.sql"))
    managed.run("ALTER ROLE flux PASSWORD 'secret-word'")
    return "flux"


def test_the_loader_does_all_that_there_is(
    managed: Managed, loader: str, utility: Utility, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"PGHOST": "127.0.0.1", "PGPORT": str(managed.port), "PGPASSWORD": "secret-word", **dict(os.environ)}
    passwords = dict.fromkeys(["FLUX_PASSWORD", "DAGSTER_PASSWORD", "TILES_PASSWORD"], "secret-word")
    subprocess.run(
        ["bash", REPOSITORY / "deploy/postgis/passwords.sh"],
        env=known | passwords | {"POSTGRES_USER": "boss", "POSTGRES_DB": "maps"}, check=True,
    )  # fmt: skip
    managed.reached(monkeypatch, utility, loader, tmp_path)
    go(utility, tmp_path)
    found = examined(utility)
    assert [each for each in found if each.message.endswith(f"in UTF8, on {managed.service.name}")]
    assert [each.message for each in wrong(found)] == ([] if managed.may_pass_on else [SEES_NOBODY])


@pytest.mark.parametrize("managed", ["supabase"], indirect=True)
def test_the_administrator_may_be_the_loader(managed: Managed, utility: Utility, tmp_path: Path) -> None:
    utility.target = Target(conninfo=managed.url("boss"))
    go(utility, tmp_path)


def test_doctor_says_what_the_administrator_runs(
    managed: Managed, utility: Utility, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    managed.run("CREATE ROLE dagster LOGIN PASSWORD 'secret-word'; CREATE ROLE loader LOGIN PASSWORD 'secret-word'")
    managed.run("GRANT dagster TO CURRENT_USER")
    managed.run("CREATE DATABASE dagster OWNER dagster")
    ReleaseFolder(tmp_path).write(POLES, rows(1))
    managed.reached(monkeypatch, utility, "loader", tmp_path)
    managed.as_superuser("DROP EXTENSION postgis; ALTER ROLE loader SET temp_file_limit = '1GB'")
    assert [each.remedy for each in wrong(examined(utility))] == [managed.service.install]
    managed.as_superuser(f"CREATE EXTENSION postgis SCHEMA {managed.service.extensions}")
    for _ in range(2):  # rights are looked at once PostGIS can be used
        for lack in wrong(examined(utility)):
            if lack.message != SEES_NOBODY or managed.may_pass_on:
                managed.run(re.search(r"Run (.*?)(?: as |; |, or |\.$)", lack.remedy)[1])
    found = examined(utility)
    assert [each.message for each in wrong(found)] == ([] if managed.may_pass_on else [SEES_NOBODY])
    (limit,) = [each for each in found if each.message.startswith("temp_file_limit")]
    assert limit.remedy.endswith(managed.service.settings)


@pytest.mark.parametrize("managed", ["rds"], indirect=True)
def test_a_table_of_the_administrator_is_taken_over(managed: Managed, loader: str, tmp_path: Path) -> None:
    """Its owner gives it away; the loader cannot be made a member of an administrator, by whom nobody can pass on."""
    managed.run("CREATE TABLE poles (id text)")
    into = Loader(Target(conninfo=managed.url(loader)), ReleaseFolder(tmp_path))
    with pytest.raises(Exception, match=r"ALTER TABLE public.poles OWNER TO flux") as refused:
        into.load(POLES, rows(3), take_over=True)
    managed.run("GRANT flux TO CURRENT_USER")
    managed.run(re.search(r"ALTER TABLE \S+ OWNER TO \w+", str(refused.value))[0])
    managed.run("REVOKE flux FROM CURRENT_USER")
    assert into.load(POLES, take_over=True).outcome == "published"


@pytest.mark.parametrize("managed", ["rds"], indirect=True)
def test_a_membership_that_allows_half_is_told_with_the_statement_that_allows_the_rest(
    managed: Managed, loader: str, tmp_path: Path
) -> None:
    managed.run("CREATE ROLE team; GRANT team TO CURRENT_USER")
    managed.run("GRANT USAGE, CREATE ON SCHEMA public TO team; CREATE TABLE poles (id text)")
    managed.run("ALTER TABLE poles OWNER TO team")
    by_grant = binaries.find().major >= 16
    managed.run("GRANT team TO flux WITH SET FALSE" if by_grant else "ALTER ROLE flux NOINHERIT; GRANT team TO flux")
    into = Loader(Target(conninfo=managed.url(loader)), ReleaseFolder(tmp_path))
    with pytest.raises(Exception, match=r"cannot act for it") as refused:
        into.load(POLES, rows(3), take_over=True)
    managed.run(re.search(r"\((\S.*?), or ALTER TABLE", str(refused.value))[1])
    assert into.load(POLES, take_over=True).outcome == "published"
