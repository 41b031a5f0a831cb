"""Which databases to use: the configured ones, or the embedded cluster where that is allowed; and psql on them."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, urlencode

import psycopg2.extensions
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from flux_assets.encryption import completed, protected
from flux_assets.errors import EmbeddedError, SettingError, TargetError
from flux_assets.postgis.session import Target
from flux_assets.sample import binaries
from flux_assets.sample.cluster import Cluster
from flux_assets.sample.libpq import drop_session_variables
from flux_assets.settings import Settings
from flux_assets.tables import catalogue
from flux_assets.wiring.home import Home


def embedded_cluster(settings: Settings) -> Cluster:
    """Return the private PostGIS cluster under FLUX_HOME, started or not."""
    return Cluster(settings.flux_home)


def postgis_target(
    settings: Settings, created_on: str | None = None, *, start: bool = True, judges: bool = False
) -> Target:
    """Return the database of the layers; the embedded one is created and started when no other is configured.

    `created_on` is the machine that the run was created on. Who `judges` tables is given the volumes of FLUX_CONFIG, an
    illegal one of which is a SettingError. Raises TargetError where the embedded one would have to be
    started and `start` forbids it, SettingError in profile production without a target and when the configured one
    would be reached unencrypted, EmbeddedError when the embedded one cannot start, or in a worker without a home of its
    own.
    """
    drop_session_variables()
    if settings.target_is_set:
        return _target(settings, _configured(settings), judges)
    if settings.flux_profile == "production":
        raise SettingError(
            "FLUX_POSTGRES_URL is not set, and profile production provides no database.",
            "Set FLUX_POSTGRES_URL=postgresql://user:password@host:port/database.",
        )
    cluster = embedded_cluster(settings)
    if start:
        Home(settings.flux_home).require("database", "FLUX_POSTGRES_URL", created_on)
        cluster.ensure_map_database()
    elif not cluster.running():
        raise TargetError(f"The embedded PostGIS of {settings.flux_home} is not running.", "Run `flux-assets up`.")
    return _target(settings, cluster.conninfo(), judges)


def _target(settings: Settings, conninfo: str, judges: bool) -> Target:
    declared = catalogue(settings).tables
    target = Target(conninfo=conninfo, schema=settings.flux_postgres_schema, declared=declared)
    if not judges or settings.flux_config is None:
        return target
    from flux_assets.snowflake.overrides import Overrides

    volumes = Overrides.load(settings.flux_config).volumes_of([table.name for table in declared])
    return replace(target, volumes=volumes)


def dagster_storage_url(settings: Settings) -> str:
    """Return the SQLAlchemy URL (psycopg2) of Dagster's database; the embedded one is created when none is configured.

    Raises SettingError in profile production without DAGSTER_POSTGRES_URL, and as `postgis_target` does.
    """
    drop_session_variables()
    if settings.dagster_postgres_url is not None:
        return _sqlalchemy_url(_protected("DAGSTER_POSTGRES_URL", settings.dagster_postgres_url.get_secret_value()))
    if settings.flux_profile == "production":
        raise SettingError(
            "DAGSTER_POSTGRES_URL is not set, and profile production provides no database.",
            "Set DAGSTER_POSTGRES_URL=postgresql://user:password@host:port/database, a database for Dagster alone.",
        )
    Home(settings.flux_home).require("database", "DAGSTER_POSTGRES_URL")
    cluster = embedded_cluster(settings)
    cluster.ensure_plain_database()
    return cluster.url("dagster", driver="psycopg2", libpq_version=psycopg2.extensions.libpq_version())


def _sqlalchemy_url(conninfo: str) -> str:
    """Return a conninfo as a URL for psycopg2, because SQLAlchemy reads lists and repeated parameters differently.

    In SQLAlchemy 2.1 a plain `postgresql://` means psycopg 3, which Dagster's storage does not support.
    """
    parameters = {name: str(value) for name, value in conninfo_to_dict(conninfo).items()}
    user, password, dbname = (quote(parameters.pop(name, ""), safe="") for name in ("user", "password", "dbname"))
    credentials = f"{user}:{password}@" if password else f"{user}@" if user else ""
    return f"postgresql+psycopg2://{credentials}/{dbname}?{urlencode(parameters, quote_via=quote)}"


def _configured(settings: Settings) -> str:
    """Return the configured target. The libpq variables may be set in `.env`, which libpq does not read.

    Raises SettingError when it would be reached unencrypted.
    """
    if settings.flux_postgres_url is not None:
        conninfo = settings.flux_postgres_url.get_secret_value()
    else:
        named = {"service": settings.pgservice, "host": settings.pghost, "hostaddr": settings.pghostaddr}
        conninfo = make_conninfo(**{key: value for key, value in named.items() if value})
    _protected(settings.libpq_end or "FLUX_POSTGRES_URL", conninfo)
    return conninfo


def _protected(name: str, conninfo: str) -> str:
    try:
        return protected(conninfo)
    except TargetError as error:
        raise SettingError(f"{name}: {error.problem}", error.remedy) from None


def psql_program() -> str:
    """Return the psql on the PATH, else the one of the server's programs. Raises TargetError when there is none."""
    if found := shutil.which("psql"):
        return found
    with suppress(EmbeddedError):
        if Path(beside := binaries.find().program("psql")).is_file():
            return beside
    raise TargetError("There is no psql on the PATH.", "Run `sudo apt-get install postgresql-client`.")


def psql_environment(settings: Settings) -> dict[str, str]:
    """Return this process's environment with the target's address and password in libpq's variables.

    They are not on the command line, where every user of the machine could read them. The embedded database is started
    when no other is configured. Raises what `postgis_target` raises.
    """
    conninfo = postgis_target(settings).conninfo
    if settings.target_is_set:
        # Completing resolves services, and does not say which state of the server is wanted.
        safe = protected(conninfo)
        wanted = conninfo_to_dict(safe).get("target_session_attrs") or os.environ.get("PGTARGETSESSIONATTRS")
        parameters = completed(safe) | {"service": "", "target_session_attrs": str(wanted or "any")}
    else:
        # The URL names only parameters that a psql of any supported version knows.
        found = conninfo_to_dict(embedded_cluster(settings).url())
        parameters = {name: str(value) for name, value in found.items()}
    names = {option.keyword.decode(): option.envvar.decode() for option in pq.Conninfo.get_defaults() if option.envvar}
    # A service would take precedence over the variables, so all of libpq's variables are dropped.
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return plain | {names[keyword]: value for keyword, value in parameters.items() if keyword in names and value}
