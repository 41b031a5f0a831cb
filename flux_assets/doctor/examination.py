"""What is examined, in which order, and what is left out; and what needs no room of its own.

That is the settings, the release and the disk space that loading it takes, Dagster's storage and folder, and psql.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

import psycopg

from flux_assets.doctor import connection, layers, rights, synced_tables
from flux_assets.doctor.administration import Administration
from flux_assets.doctor.finding import Finding, Group, examined
from flux_assets.encryption import completed, confirm, protected
from flux_assets.errors import FluxError, SettingError, reported
from flux_assets.layers.staging import Need
from flux_assets.layers.versions import Version
from flux_assets.ledger.status import TableStatus
from flux_assets.postgis.relations import Layer
from flux_assets.postgis.session import Target
from flux_assets.release.files import Address, MissingError
from flux_assets.release.formats.files import RowFile
from flux_assets.release.release import Glance, Release
from flux_assets.settings import Settings, load_settings
from flux_assets.spec import DynamicTable, StaticTable
from flux_assets.spec.catalogue import Catalogue
from flux_assets.tables import built_in, catalogue
from flux_assets.wiring.source import SAMPLE_SCALE, layer_release
from flux_assets.wiring.target import dagster_storage_url, embedded_cluster, postgis_target, psql_program
from flux_assets.words import megabytes

_SETTINGS, _TABLES, _DAGSTER, _PROGRAMS = (Group(name) for name in ("Settings", "Tables", "Dagster", "Programs"))
_OURS = ("FLUX_", "SNOWFLAKE_", "DAGSTER_POSTGRES_")
_KNOWN = {name.upper() for name in Settings.model_fields} | {"FLUX_ENV_FILE", "FLUX_CODE_HOST"}
_URL = "postgresql://user:password@host:port/database"
_RELEASE, _DISK = Group("Release"), Group("Disk")
# Most of a file is geometry in hexadecimal, which gzip shrinks to less than a quarter.
_USUAL_EXPANSION = 4


def examine(tables: Sequence[StaticTable | DynamicTable] | None = None) -> Iterator[Finding]:
    """Yield all findings about what is declared, or about these `tables` of it.

    Nothing is changed; embedded servers are started where they are used.
    """
    try:
        settings = load_settings()
    except SettingError as error:
        yield from _settings(error)
        return
    yield from _settings(settings)
    try:
        declared = catalogue()
    except FluxError as error:
        yield _TABLES.failed(error.problem.rstrip("."), f"{error.remedy} Nothing else can be tested until then.")
        return
    yield from _declared(declared)
    tables = declared.tables if tables is None else tables
    static = [table for table in tables if isinstance(table, StaticTable)]
    dynamic = [table for table in tables if isinstance(table, DynamicTable)]
    target: Target | None = None
    try:
        target = postgis_target(settings)
    except FluxError as error:
        yield Group("Target database").error(error)
    refusal = connection.refused(target) if target is not None else None
    if target is not None:
        yield from connection.reachable(target)
    if refusal is not None:
        yield refusal
    if target is None or refusal is not None:
        yield from _release(settings, None, static)
    else:
        yield from _within(settings, target, static, dynamic)
    yield from synced_tables.sources(settings, dynamic)
    yield from _surroundings(settings, target)


def _settings(settings: Settings | SettingError) -> Iterator[Finding]:
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


def _declared(declared: Catalogue) -> Iterator[Finding]:
    """Yield which tables and views are declared outside of flux_assets, and which of its own are left out."""
    own = built_in().files
    outside = {name: file for name, file in declared.files.items() if own.get(name) != file}
    if outside:
        files = "\n".join(f"{name}: {file}" for name, file in sorted(outside.items()))
        yield _TABLES.ok(f"declared outside: {', '.join(sorted(outside))}", files)
    for name, why in declared.left_out.items():
        yield _TABLES.note(f"{name} {why}", f"What was published of it stays; drop {name} where nobody reads it.")


def _ends(settings: Settings) -> Iterator[Finding]:
    """Yield how each end of the data's way is configured, what is provided instead, or that it is missing."""
    own_target, is_production = settings.target_is_set, settings.flux_profile == "production"
    postgis = (settings.libpq_end or "FLUX_POSTGRES_URL") if own_target else None
    release = settings.flux_release and f"FLUX_RELEASE = {Address(settings.flux_release).shown}"
    account = settings.snowflake_account and f"SNOWFLAKE_ACCOUNT = {settings.snowflake_account}"
    storage = settings.dagster_postgres_url and "DAGSTER_POSTGRES_URL"
    set_account = "Set SNOWFLAKE_ACCOUNT, SNOWFLAKE_USER and SNOWFLAKE_PRIVATE_KEY_PATH."
    set_storage = f"Set DAGSTER_POSTGRES_URL={_URL}, in a separate database."
    ends = (
        # Its name; what configures it; what is provided otherwise; how to configure it.
        ("PostGIS", postgis, "the embedded one", f"Set FLUX_POSTGRES_URL={_URL}."),
        ("release", release, "the sample city", "Set FLUX_RELEASE to the release's folder or URL prefix."),
        ("Snowflake", account, "the embedded stand-in", set_account),
        ("Dagster's storage", storage, "a database of the embedded PostGIS", set_storage),
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


def _surroundings(settings: Settings, target: Target | None) -> Iterator[Finding]:
    """Yield the findings about Dagster's storage, Dagster's folder and psql."""
    yield from _storage(settings, target)
    home = os.environ.get("DAGSTER_HOME")
    there = Settings.project_folder()
    is_there = (there / "dagster.yaml").is_file()
    place = there if is_there else "a folder that has one, such as `flux-assets init` makes"
    if home and not (Path(home).expanduser() / "dagster.yaml").is_file():
        yield _DAGSTER.warning(
            f"DAGSTER_HOME = {home} has no dagster.yaml, so Dagster keeps its history in files there",
            f"Unset DAGSTER_HOME, or set it to {place}.",
        )
    elif not home and not Path("dagster.yaml").is_file():
        yield _DAGSTER.note(
            "DAGSTER_HOME is not set and there is no dagster.yaml here, so runs from here leave no history",
            f"Run Dagster in {place}, or set DAGSTER_HOME to it.",
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


def _within(
    settings: Settings, target: Target, static: Sequence[StaticTable], dynamic: Sequence[DynamicTable]
) -> Iterator[Finding]:
    """Yield what needs a session in the target database."""
    with target.session("doctor") as session:
        administration = Administration.of(session)
        found = list(connection.server(session, administration.place))
        if not _any_failed(found):
            found += connection.limits(session, settings.flux_parallel_layers)
            found += rights.findings(session, target.schema, static, dynamic)
            found += layers.findings(session, target.schema, static)
            found += examined(synced_tables.targets(session, target.schema, dynamic))
        yield from (replace(each, remedy=administration.worded(each.remedy)) for each in found)
        # Only a user with every right can read the register of kept versions.
        yield from _release(settings, None if _any_failed(found) else session, static)


def _any_failed(found: Sequence[Finding]) -> bool:
    return any(finding.outcome == "failed" and finding.group not in {"Layers", "Synced tables"} for finding in found)


def _release(
    settings: Settings, session: psycopg.Connection | None, tables: Sequence[StaticTable]
) -> Iterator[Finding]:
    """Yield the findings about the release, then the disk; `session` is None where the target cannot be reached."""
    if not settings.release_is_set:
        if settings.release_is_sample:
            scale = f"the sample city at scale {SAMPLE_SCALE:g}"
            yield _RELEASE.ok(f"{scale}; the first load writes it if it does not exist")
        return
    try:
        release = layer_release(settings)
        manifest = release.manifest()
    except FluxError as error:
        yield _RELEASE.error(error)
        return
    yield _RELEASE.ok(f"{release.address}, release {release.tag}")
    listed = f"manifest.json lists {len(manifest)} files" if manifest is not None else ""
    yield _RELEASE.ok(listed or "there is no manifest.json, and none is required")
    with_file = [table for table in tables if table.file != "none"]
    glances: dict[StaticTable, Glance] = {}
    for table in with_file:
        try:
            glances[table] = release.glance(table.file_name, table.name)
        except MissingError as error:
            if table.file == "required":
                yield _RELEASE.error(error)
        except FluxError as error:
            yield _RELEASE.error(error)
    if glances:
        required = sum(table.file == "required" for table in with_file)
        found = sum(table.file == "required" for table in glances)
        more = f", and {len(glances) - found} optional" if len(glances) > found else ""
        total = megabytes(sum(glance.size or 0 for glance in glances.values()), 1)
        yield _RELEASE.ok(f"the files of {found} of {required} layers exist{more}, {total}")
    if undeclared := release.undeclared([table.name for table in with_file]):
        problem = f"no declaration names the files of {', '.join(undeclared)}, which are not loaded"
        yield _RELEASE.warning(problem, 'Declare them (CONTRIBUTING.md, "Add a table"), or remove them.')
    if session is not None and glances:
        yield from _disk(settings, session, release, glances)


def _disk(
    settings: Settings, session: psycopg.Connection, release: Release, glances: dict[StaticTable, Glance]
) -> Iterator[Finding]:
    needs = {table.name: _need(session, settings, release, table, glance) for table, glance in glances.items()}
    largest, limit = max(needs, key=lambda name: needs[name].total), settings.flux_disk_limit
    need = f"{largest} needs the most space, about {megabytes(needs[largest].total)} ({needs[largest]})"
    if limit is None:
        yield _DISK.ok(f"{need}; FLUX_DISK_LIMIT is not set")
    elif needs[largest].total > limit:
        remedy = "Raise FLUX_DISK_LIMIT, lower FLUX_KEEP_VERSIONS, or free disk space."
        yield _DISK.failed(f"{need}, more than FLUX_DISK_LIMIT = {megabytes(limit)}", remedy)
    else:
        yield _DISK.ok(f"{need}, within FLUX_DISK_LIMIT = {megabytes(limit)}")
    if not settings.target_is_set:
        data, together = embedded_cluster(settings).data, sum(need.total for need in needs.values())
        free = shutil.disk_usage(data).free
        are = f"{megabytes(free)} are free under {data}, and all layers together need about {megabytes(together)}"
        remedy = "Free disk space, or set FLUX_HOME to another disk."
        yield _DISK.ok(are) if free > together else _DISK.failed(are, remedy)


def _need(
    session: psycopg.Connection, settings: Settings, release: Release, table: StaticTable, glance: Glance
) -> Need:
    folder, plain = Path(release.address).resolve(), (glance.size or 0) * _USUAL_EXPANSION
    if folder.is_dir():
        plain = RowFile.expanded_bytes([folder / name for name in glance.files], glance.files)
    layer = Layer(settings.flux_postgres_schema, table)
    found = Version.known(session, layer) if TableStatus.is_prepared(session) else []
    return Need.of_csv(plain, sum(version.bytes or 0 for version in found))
