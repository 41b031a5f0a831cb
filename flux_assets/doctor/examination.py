"""What is examined, in which order, and what is left out because something before it failed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import psycopg

from flux_assets.doctor import configuration, connection, layers, release_files, rights, synced_tables
from flux_assets.doctor.finding import Finding, Group
from flux_assets.errors import FluxError, SettingError, reported
from flux_assets.postgis.relations import Layer
from flux_assets.postgis.session import Target
from flux_assets.settings import Settings, load_settings
from flux_assets.spec import DynamicTable, StaticTable
from flux_assets.wiring.target import postgis_target


def examine(tables: Sequence[StaticTable | DynamicTable]) -> Iterator[Finding]:
    """Yield all findings. Nothing is changed; embedded servers are started where they are used."""
    try:
        settings = load_settings()
    except SettingError as error:
        yield from configuration.findings(error)
        return
    yield from configuration.findings(settings)
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
        yield from release_files.findings(settings, None, static)
    else:
        yield from _within(settings, target, static, dynamic)
    yield from synced_tables.sources(settings, dynamic)
    yield from configuration.surroundings(settings, target)


def _within(
    settings: Settings, target: Target, static: Sequence[StaticTable], dynamic: Sequence[DynamicTable]
) -> Iterator[Finding]:
    """Yield what needs a session in the target database."""
    with target.session("doctor") as session:
        found = list(connection.server(session))
        if not _any_failed(found):
            found += connection.standbys(session)
            found += connection.limits(session, settings.flux_parallel_layers)
            found += _read(session, target.schema, static, dynamic)
        yield from found
        # Only a user with every right can read the register of kept versions.
        yield from release_files.findings(settings, None if _any_failed(found) else session, static)


def _any_failed(found: Sequence[Finding]) -> bool:
    return any(finding.outcome == "failed" and finding.group not in {"Layers", "Synced tables"} for finding in found)


def _read(
    session: psycopg.Connection, schema: str, static: Sequence[StaticTable], dynamic: Sequence[DynamicTable]
) -> Iterator[Finding]:
    published = [Layer(schema, table) for table in static]
    # A refusal of one examination does not prevent the others.
    for examined in (
        rights.findings(session, schema, static),
        rights.ledger(session),
        rights.used(session, schema, static, dynamic),
        layers.findings(session, schema, static),
        layers.left_on_tables(session, published),
        layers.publications(session, published),
        synced_tables.targets(session, schema, dynamic),
    ):
        try:
            yield from examined
        except psycopg.Error as error:
            yield Group("Rights").failed(
                f"PostgreSQL refused the examination: {reported(error)}",
                "Grant the right that it names, and run doctor again.",
            )
