"""What needs no session of the target: the settings, Dagster's storage and folder, the programs that commands need."""

from __future__ import annotations

import os
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

import psycopg

from flux_assets.doctor.finding import Finding, Group
from flux_assets.encryption import completed, confirm, protected
from flux_assets.errors import FluxError, SettingError, reported
from flux_assets.postgis.session import Target
from flux_assets.release.files import Address
from flux_assets.settings import REPOSITORY, Settings
from flux_assets.wiring.target import dagster_storage_url, embedded_cluster, psql_program

_SETTINGS, _DAGSTER, _PROGRAMS = Group("Settings"), Group("Dagster"), Group("Programs")
_OURS = ("FLUX_", "SNOWFLAKE_", "DAGSTER_POSTGRES_")
_KNOWN = {name.upper() for name in Settings.model_fields} | {"FLUX_ENV_FILE"}
_URL = "postgresql://user:password@host:port/database"


def findings(settings: Settings | SettingError) -> Iterator[Finding]:
    """Yield the findings about the settings, or about an illegal one."""
    if isinstance(settings, SettingError):
        again = "Correct it and run doctor again; nothing else can be tested until then."
        yield _SETTINGS.failed(settings.problem, again)
        yield from _env_file()
        return
    yield _SETTINGS.ok(f"every value is legal; profile {settings.flux_profile}, state in {settings.flux_home}")
    yield from _env_file()
    named = {"SNOWFLAKE_PRIVATE_KEY_PATH": settings.snowflake_private_key_path, "FLUX_CONFIG": settings.flux_config}
    for name, path in named.items():
        if path is not None and not path.is_file():
            problem = f"{name} names {path}, which is not a file"
            yield _SETTINGS.failed(problem, "Correct the path, or remove the setting.")
    yield from _ends(settings)


def _env_file() -> Iterator[Finding]:
    """Yield which `.env` is read, and names in it or the environment that are none of ours."""
    path = Settings.env_file()
    if path is None:
        yield _SETTINGS.note("no .env is read, because FLUX_ENV_FILE is empty")
    elif path.is_file():
        yield _SETTINGS.ok(f"{path.absolute()} is read; variables of the environment take precedence")
    elif "FLUX_ENV_FILE" in os.environ:
        problem = f"FLUX_ENV_FILE names {path}, which does not exist"
        yield _SETTINGS.warning(problem, "Set it to the file that holds the settings.")
    else:
        yield _SETTINGS.ok(f"there is no .env ({path.absolute()}); settings come from the environment only")
    lines = path.read_text(encoding="utf-8").splitlines() if path is not None and path.is_file() else []
    in_file = [line.removeprefix("export ").partition("=")[0].strip() for line in lines if "=" in line]
    names = {name for name in [*os.environ, *in_file] if name.startswith(_OURS)}
    for name in sorted(names - _KNOWN):
        close = get_close_matches(name, _KNOWN, n=1)
        remedy = f"Did you mean {close[0]}?" if close else "Remove it, or correct its name."
        yield _SETTINGS.warning(f"{name} is not a setting and is ignored", remedy)


def _ends(settings: Settings) -> Iterator[Finding]:
    """Yield how each end of the data's way is configured, what is provided instead, or that it is missing."""
    own_target, is_production = settings.target_is_set, settings.flux_profile == "production"
    release, account = settings.flux_release, settings.snowflake_account
    ends = (
        # Its name; what configures it, where it is; what is provided otherwise; how to configure it.
        (
            "PostGIS",
            (settings.libpq_end or "FLUX_POSTGRES_URL") if own_target else None,
            "the embedded one",
            f"Set FLUX_POSTGRES_URL={_URL}.",
        ),
        (
            "release",
            f"FLUX_RELEASE = {Address(release).shown}" if release is not None else None,
            "the sample city",
            "Set FLUX_RELEASE to the release's folder or URL prefix.",
        ),
        (
            "Snowflake",
            f"SNOWFLAKE_ACCOUNT = {account}" if account is not None else None,
            "the embedded stand-in",
            "Set SNOWFLAKE_ACCOUNT, SNOWFLAKE_USER and SNOWFLAKE_PRIVATE_KEY_PATH.",
        ),
        (
            "Dagster's storage",
            "DAGSTER_POSTGRES_URL" if settings.dagster_postgres_url is not None else None,
            "a database of the embedded PostGIS",
            f"Set DAGSTER_POSTGRES_URL={_URL}, in a separate database.",
        ),
    )
    for end, configured, provided, remedy in ends:
        if configured:
            yield _SETTINGS.ok(f"{end}: configured by {configured}")
        elif end == "release" and own_target:
            yield _SETTINGS.failed(
                "release: FLUX_RELEASE is not set, and sample rows are written into your database only on request",
                remedy + " FLUX_RELEASE=sample loads the sample city.",
            )
        elif end == "Snowflake" and is_production:
            yield _SETTINGS.warning("Snowflake: missing, so the dynamic tables cannot be synced", remedy)
        elif end == "Snowflake" and own_target:
            yield _SETTINGS.warning(
                "Snowflake: SNOWFLAKE_ACCOUNT is not set, and simulated outages are written into your database only on"
                " request, so the dynamic tables cannot be synced",
                remedy + " SNOWFLAKE_ACCOUNT=stand-in syncs from the stand-in.",
            )
        elif is_production:
            yield _SETTINGS.failed(f"{end}: missing, and profile production provides nothing", remedy)
        else:
            yield _SETTINGS.ok(f"{end}: {provided}, because no other is configured")


def surroundings(settings: Settings, target: Target | None) -> Iterator[Finding]:
    """Yield the findings about Dagster's storage, Dagster's folder and psql."""
    yield from _storage(settings, target)
    home = os.environ.get("DAGSTER_HOME")
    if home and not (Path(home).expanduser() / "dagster.yaml").is_file():
        yield _DAGSTER.warning(
            f"DAGSTER_HOME = {home} has no dagster.yaml, so Dagster keeps its history in files there",
            f"Unset DAGSTER_HOME, or set it to {REPOSITORY}.",
        )
    elif not home and not Path("dagster.yaml").is_file():
        yield _DAGSTER.note(
            "DAGSTER_HOME is not set and there is no dagster.yaml here, so runs from here leave no history",
            f"Run Dagster in {REPOSITORY}, or set DAGSTER_HOME to it.",
        )
    else:
        yield _DAGSTER.ok(f"dagster.yaml is read from {home or Path.cwd()}")
    try:
        yield _PROGRAMS.ok(f"psql is {psql_program()}")
    except FluxError as error:
        yield _PROGRAMS.warning(error.problem.rstrip("."), error.remedy)


def _storage(settings: Settings, target: Target | None) -> Iterator[Finding]:
    try:
        dagster_storage_url(settings)
        configured = settings.dagster_postgres_url
        conninfo = configured.get_secret_value() if configured else embedded_cluster(settings).conninfo("dagster")
        with psycopg.connect(protected(conninfo), connect_timeout=15, autocommit=True) as session:
            confirm(session.fileno(), session.info.host, encrypted=session.pgconn.ssl_in_use)
            may_create = session.execute("SELECT has_schema_privilege('public', 'CREATE')").fetchone() == (True,)
    except FluxError as error:
        yield _DAGSTER.error(error)
        return
    except psycopg.Error as error:
        problem = f"Dagster's storage cannot be reached: {reported(error)}"
        yield _DAGSTER.failed(problem, "Correct DAGSTER_POSTGRES_URL.")
        return
    yield _DAGSTER.ok("Dagster's storage answers")
    if not may_create:
        remedy = "Run GRANT CREATE ON SCHEMA public TO its user there."
        yield _DAGSTER.failed("Dagster may not create tables in its storage", remedy)
    if target is not None and _place(conninfo) == _place(target.conninfo):
        yield _DAGSTER.warning(
            "Dagster's storage is the database of the layers",
            "Create a separate database (CREATE DATABASE dagster), and name it in DAGSTER_POSTGRES_URL.",
        )


def _place(conninfo: str) -> tuple[object, ...]:
    known = completed(conninfo)
    return tuple(known.get(name) for name in ("host", "hostaddr", "port", "dbname"))
