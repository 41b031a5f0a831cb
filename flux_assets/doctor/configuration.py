"""The settings themselves, before anything is connected to.

Here: legality, `.env`, misspelt names, which ends are set, provided or missing. Not here: whether they work.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

from flux_assets.doctor.finding import Finding, Group
from flux_assets.release.fetch.address import Address
from flux_assets.settings import Settings, env_file

_GROUP = Group("Settings")
_OURS = ("FLUX_", "SNOWFLAKE_", "DAGSTER_POSTGRES_")
_KNOWN = {name.upper() for name in Settings.model_fields} | {"FLUX_ENV_FILE"}


def findings(settings: Settings) -> Iterator[Finding]:
    """What can be said of legal settings."""
    yield _GROUP.ok(f"every value is legal; profile {settings.flux_profile}, state in {settings.flux_home}")
    yield from dot_env()
    yield from _misspelt()
    yield from _missing_files(settings)
    yield _postgis(settings)
    yield _release(settings)
    yield _snowflake(settings)
    yield _storage(settings)


def illegal(problem: str) -> Iterator[Finding]:
    """What can be said when some value is not legal."""
    yield _GROUP.failed(problem, "Correct it and run doctor again; nothing else can be tested before.")
    yield from dot_env()
    yield from _misspelt()


def dot_env() -> Iterator[Finding]:
    """Which `.env` is read."""
    path = env_file()
    if path is None:
        yield _GROUP.note("no .env is read, because FLUX_ENV_FILE is set and empty")
    elif path.is_file():
        yield _GROUP.ok(f"{path.absolute()} is read; a variable of the environment goes before it")
    elif "FLUX_ENV_FILE" in os.environ:
        yield _GROUP.warning(f"FLUX_ENV_FILE names {path}, which does not exist", "Name the file that holds settings.")
    else:
        yield _GROUP.ok(f"there is no .env ({path.absolute()}); settings come from the environment alone")


def _misspelt() -> Iterator[Finding]:
    names = {name for name in [*os.environ, *_names_in(env_file())] if name.startswith(_OURS)}
    for name in sorted(names - _KNOWN):
        close = get_close_matches(name, _KNOWN, n=1)
        remedy = f"Did you mean {close[0]}?" if close else "Remove it, or correct its name."
        yield _GROUP.warning(f"{name} is no setting and is ignored", remedy)


def _names_in(path: Path | None) -> list[str]:
    if path is None or not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("export ").partition("=")[0].strip() for line in lines if "=" in line]


def _missing_files(settings: Settings) -> Iterator[Finding]:
    named = {"SNOWFLAKE_PRIVATE_KEY_PATH": settings.snowflake_private_key_path, "FLUX_CONFIG": settings.flux_config}
    for name, path in named.items():
        if path is not None and not path.is_file():
            yield _GROUP.failed(f"{name} names {path}, which is no file", "Name the file, or remove the setting.")


def _postgis(settings: Settings) -> Finding:
    if settings.target_is_set:
        return _GROUP.ok(f"PostGIS: configured by {settings.libpq_end or 'FLUX_POSTGRES_URL'}")
    return _provided(
        settings, "PostGIS", "the embedded one", "Set FLUX_POSTGRES_URL=postgresql://user:password@host:port/database."
    )


def _release(settings: Settings) -> Finding:
    if settings.flux_release is not None:
        return _GROUP.ok(f"release: configured by FLUX_RELEASE = {Address(settings.flux_release).shown}")
    remedy = "Set FLUX_RELEASE to the release's folder or URL prefix."
    if settings.target_is_set:
        return _GROUP.failed(
            "release: FLUX_RELEASE is not set, and sample rows do not go into a database of yours unasked",
            remedy + " FLUX_RELEASE=sample asks for the sample city.",
        )
    return _provided(settings, "release", "the sample city", remedy)


def _snowflake(settings: Settings) -> Finding:
    if settings.snowflake_account is not None:
        return _GROUP.ok(f"Snowflake: configured by SNOWFLAKE_ACCOUNT = {settings.snowflake_account}")
    remedy = "Set SNOWFLAKE_ACCOUNT, SNOWFLAKE_USER and SNOWFLAKE_PRIVATE_KEY_PATH."
    if settings.flux_profile == "production":
        return _GROUP.warning("Snowflake: missing, so the dynamic tables cannot be synced", remedy)
    if settings.target_is_set:
        return _GROUP.warning(
            "Snowflake: SNOWFLAKE_ACCOUNT is not set, and simulated outages do not go into a database of yours unasked,"
            " so the dynamic tables cannot be synced",
            remedy + " SNOWFLAKE_ACCOUNT=stand-in asks for the stand-in.",
        )
    return _GROUP.ok("Snowflake: the embedded stand-in, because no other is configured")


def _storage(settings: Settings) -> Finding:
    if settings.dagster_postgres_url is not None:
        return _GROUP.ok("Dagster's storage: configured by DAGSTER_POSTGRES_URL")
    return _provided(
        settings,
        "Dagster's storage",
        "a database of the embedded PostGIS",
        "Set DAGSTER_POSTGRES_URL=postgresql://user:password@host:port/database, a database of its own.",
    )


def _provided(settings: Settings, end: str, what: str, remedy: str) -> Finding:
    if settings.flux_profile == "production":
        return _GROUP.failed(f"{end}: missing, and profile production provides nothing", remedy)
    return _GROUP.ok(f"{end}: {what}, because no other is configured")
