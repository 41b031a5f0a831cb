"""What needs no session of the target: the settings, Dagster's storage and folder, the programs that commands need."""

from __future__ import annotations

import os
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

import psycopg

from flux_assets.doctor.finding import Finding, Group
from flux_assets.encryption import completed, confirm, protected
from flux_assets.errors import FluxError, reported
from flux_assets.postgis.session import Target
from flux_assets.release.files import Address
from flux_assets.settings import REPOSITORY, Settings, env_file
from flux_assets.wiring.target import dagster_storage_url, embedded_cluster, psql_program

_SETTINGS = Group("Settings")
_OURS = ("FLUX_", "SNOWFLAKE_", "DAGSTER_POSTGRES_")
_KNOWN = {name.upper() for name in Settings.model_fields} | {"FLUX_ENV_FILE"}


def settings_findings(settings: Settings) -> Iterator[Finding]:
    """Yield the findings about legal settings."""
    yield _SETTINGS.ok(f"every value is legal; profile {settings.flux_profile}, state in {settings.flux_home}")
    yield from _dot_env()
    yield from _misspelt()
    yield from _missing_files(settings)
    yield _postgis(settings)
    yield _release(settings)
    yield _snowflake(settings)
    yield _storage(settings)


def illegal(problem: str) -> Iterator[Finding]:
    """Yield the findings where a value is illegal."""
    yield _SETTINGS.failed(problem, "Correct it and run doctor again; nothing else can be tested until then.")
    yield from _dot_env()
    yield from _misspelt()


def _dot_env() -> Iterator[Finding]:
    """Yield which `.env` is read."""
    path = env_file()
    if path is None:
        yield _SETTINGS.note("no .env is read, because FLUX_ENV_FILE is empty")
    elif path.is_file():
        yield _SETTINGS.ok(f"{path.absolute()} is read; variables of the environment take precedence")
    elif "FLUX_ENV_FILE" in os.environ:
        yield _SETTINGS.warning(
            f"FLUX_ENV_FILE names {path}, which does not exist", "Set it to the file that holds the settings."
        )
    else:
        yield _SETTINGS.ok(f"there is no .env ({path.absolute()}); settings come from the environment only")


def _misspelt() -> Iterator[Finding]:
    names = {name for name in [*os.environ, *_names_in(env_file())] if name.startswith(_OURS)}
    for name in sorted(names - _KNOWN):
        close = get_close_matches(name, _KNOWN, n=1)
        remedy = f"Did you mean {close[0]}?" if close else "Remove it, or correct its name."
        yield _SETTINGS.warning(f"{name} is not a setting and is ignored", remedy)


def _names_in(path: Path | None) -> list[str]:
    if path is None or not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("export ").partition("=")[0].strip() for line in lines if "=" in line]


def _missing_files(settings: Settings) -> Iterator[Finding]:
    named = {"SNOWFLAKE_PRIVATE_KEY_PATH": settings.snowflake_private_key_path, "FLUX_CONFIG": settings.flux_config}
    for name, path in named.items():
        if path is not None and not path.is_file():
            yield _SETTINGS.failed(
                f"{name} names {path}, which is not a file", "Correct the path, or remove the setting."
            )


def _postgis(settings: Settings) -> Finding:
    if settings.target_is_set:
        return _SETTINGS.ok(f"PostGIS: configured by {settings.libpq_end or 'FLUX_POSTGRES_URL'}")
    return _provided(
        settings, "PostGIS", "the embedded one", "Set FLUX_POSTGRES_URL=postgresql://user:password@host:port/database."
    )


def _release(settings: Settings) -> Finding:
    if settings.flux_release is not None:
        return _SETTINGS.ok(f"release: configured by FLUX_RELEASE = {Address(settings.flux_release).shown}")
    remedy = "Set FLUX_RELEASE to the release's folder or URL prefix."
    if settings.target_is_set:
        return _SETTINGS.failed(
            "release: FLUX_RELEASE is not set, and sample rows are written into your database only on request",
            remedy + " FLUX_RELEASE=sample loads the sample city.",
        )
    return _provided(settings, "release", "the sample city", remedy)


def _snowflake(settings: Settings) -> Finding:
    if settings.snowflake_account is not None:
        return _SETTINGS.ok(f"Snowflake: configured by SNOWFLAKE_ACCOUNT = {settings.snowflake_account}")
    remedy = "Set SNOWFLAKE_ACCOUNT, SNOWFLAKE_USER and SNOWFLAKE_PRIVATE_KEY_PATH."
    if settings.flux_profile == "production":
        return _SETTINGS.warning("Snowflake: missing, so the dynamic tables cannot be synced", remedy)
    if settings.target_is_set:
        return _SETTINGS.warning(
            "Snowflake: SNOWFLAKE_ACCOUNT is not set, and simulated outages are written into your database only on"
            " request, so the dynamic tables cannot be synced",
            remedy + " SNOWFLAKE_ACCOUNT=stand-in syncs from the stand-in.",
        )
    return _SETTINGS.ok("Snowflake: the embedded stand-in, because no other is configured")


def _storage(settings: Settings) -> Finding:
    if settings.dagster_postgres_url is not None:
        return _SETTINGS.ok("Dagster's storage: configured by DAGSTER_POSTGRES_URL")
    return _provided(
        settings,
        "Dagster's storage",
        "a database of the embedded PostGIS",
        "Set DAGSTER_POSTGRES_URL=postgresql://user:password@host:port/database, in a separate database.",
    )


def _provided(settings: Settings, end: str, what: str, remedy: str) -> Finding:
    if settings.flux_profile == "production":
        return _SETTINGS.failed(f"{end}: missing, and profile production provides nothing", remedy)
    return _SETTINGS.ok(f"{end}: {what}, because no other is configured")


_DAGSTER, _PROGRAMS = Group("Dagster"), Group("Programs")


def surroundings(settings: Settings, target: Target | None) -> Iterator[Finding]:
    """Yield the findings about Dagster's storage, Dagster's folder and psql."""
    yield from _dagster_storage(settings, target)
    yield _folder()
    yield _psql()


def _dagster_storage(settings: Settings, target: Target | None) -> Iterator[Finding]:
    try:
        dagster_storage_url(settings)
        configured = settings.dagster_postgres_url
        conninfo = configured.get_secret_value() if configured else embedded_cluster(settings).conninfo("dagster")
        with psycopg.connect(protected(conninfo), connect_timeout=15, autocommit=True) as session:
            confirm(session.fileno(), session.info.host, encrypted=session.pgconn.ssl_in_use)
            create = session.execute("SELECT has_schema_privilege('public', 'CREATE')").fetchone()
    except FluxError as error:
        yield _DAGSTER.error(error)
        return
    except psycopg.Error as error:
        yield _DAGSTER.failed(
            f"Dagster's storage cannot be reached: {reported(error)}", "Correct DAGSTER_POSTGRES_URL."
        )
        return
    yield _DAGSTER.ok("Dagster's storage answers")
    if not (create and create[0]):
        yield _DAGSTER.failed(
            "Dagster may not create tables in its storage", "Run GRANT CREATE ON SCHEMA public TO its user there."
        )
    if target is not None and _place(conninfo) == _place(target.conninfo):
        yield _DAGSTER.warning(
            "Dagster's storage is the database of the layers",
            "Create a separate database (CREATE DATABASE dagster), and name it in DAGSTER_POSTGRES_URL.",
        )


def _place(conninfo: str) -> tuple[object, ...]:
    known = completed(conninfo)
    return tuple(known.get(name) for name in ("host", "hostaddr", "port", "dbname"))


def _folder() -> Finding:
    home = os.environ.get("DAGSTER_HOME")
    if home and not (Path(home).expanduser() / "dagster.yaml").is_file():
        return _DAGSTER.warning(
            f"DAGSTER_HOME = {home} has no dagster.yaml, so Dagster keeps its history in files there",
            f"Unset DAGSTER_HOME, or set it to {REPOSITORY}.",
        )
    if not home and not Path("dagster.yaml").is_file():
        return _DAGSTER.note(
            "DAGSTER_HOME is not set and there is no dagster.yaml here, so runs from here leave no history",
            f"Run Dagster in {REPOSITORY}, or set DAGSTER_HOME to it.",
        )
    return _DAGSTER.ok(f"dagster.yaml is read from {home or Path.cwd()}")


def _psql() -> Finding:
    try:
        return _PROGRAMS.ok(f"psql is {psql_program()}")
    except FluxError as error:
        return _PROGRAMS.warning(error.problem.rstrip("."), error.remedy)
