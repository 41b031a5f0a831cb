"""Dagster's storage and folder, and the programs that commands need."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psycopg

from flux_assets.doctor.finding import Finding, Group
from flux_assets.encryption import completed, confirm, protected
from flux_assets.errors import FluxError, reported
from flux_assets.postgis.connect import Target
from flux_assets.settings import REPOSITORY, Settings
from flux_assets.wiring.psql import psql_program
from flux_assets.wiring.target import dagster_conninfo, dagster_storage_url

_DAGSTER, _PROGRAMS = Group("Dagster"), Group("Programs")


def findings(settings: Settings, target: Target | None) -> Iterator[Finding]:
    """Yield the findings about Dagster's storage, Dagster's folder and psql."""
    yield from _storage(settings, target)
    yield _folder()
    yield _psql()


def _storage(settings: Settings, target: Target | None) -> Iterator[Finding]:
    try:
        dagster_storage_url(settings)
        configured = settings.dagster_postgres_url
        conninfo = configured.get_secret_value() if configured else dagster_conninfo(settings)
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
