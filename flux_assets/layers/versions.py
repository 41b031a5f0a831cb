"""The register: what is known of every version of a layer, and which is current."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import class_row, kwargs_row

from flux_assets.postgis.names import VERSIONS, Layer, version_table

# further_tags as JSON, so that a register of an earlier revision, which lacks it, is readable too.
_COLUMNS = (
    "lease, version, sha256, release_tag, relation, state, current, rows, bytes, extent, audits, staged_at,"
    " published_at, run_id, coalesce(to_jsonb(known) -> 'further_tags', '[]') AS further_tags, base_version"
)


@dataclass(frozen=True, kw_only=True)
class Version:
    """A row of the register: one version of a layer. `bytes` is its size on disk, `extent` in degrees (EPSG:4326).

    `base_version` is the version of the release that a version made by a replay contains.
    """

    lease: int
    version: str
    sha256: str
    release_tag: str
    relation: str
    run_id: str | None = None
    state: str = "staging"
    current: bool = False
    rows: int | None = None
    bytes: int | None = None
    extent: tuple[float, float, float, float] | None = None
    audits: list[dict[str, object]] = field(default_factory=list)
    staged_at: datetime = datetime.min
    published_at: datetime | None = None
    further_tags: list[str] = field(default_factory=list)
    base_version: str | None = None

    def holds(self, version: str) -> bool:
        """Whether this is that version of a release, or contains it, with rows that a replay added."""
        return version in {self.version, self.base_version}


@dataclass(frozen=True, kw_only=True)
class VersionTimes:
    """Of a layer now: when its file was first seen, when it was last looked at, when what readers see last changed."""

    source_changed_at: datetime | None
    checked_at: datetime
    published_at: datetime | None


def version_times(connection: psycopg.Connection, layer: Layer) -> VersionTimes:
    """The layer's three clocks, at the end of a load or rollback; view v_table_status tells the same."""
    with connection.cursor(row_factory=class_row(VersionTimes)) as cursor:
        row = cursor.execute(
            "SELECT live.published_at, clock_timestamp() AS checked_at,"
            " (SELECT min(seen.staged_at) FROM postgres_sync.layer_versions AS seen"
            "  WHERE seen.schema_name = asked.schema_name AND seen.layer_name = asked.layer_name"
            "  AND seen.sha256 = live.sha256) AS source_changed_at"
            " FROM (VALUES (%s::text, %s::text)) AS asked (schema_name, layer_name)"
            " LEFT JOIN postgres_sync.layer_versions AS live"
            " ON live.current AND live.schema_name = asked.schema_name AND live.layer_name = asked.layer_name",
            [layer.schema, layer.name],
        ).fetchone()
    return row or VersionTimes(source_changed_at=None, checked_at=datetime.now(UTC), published_at=None)


def versions(connection: psycopg.Connection, layer: Layer, *, with_leftovers: bool = False) -> list[Version]:
    """Every version of the layer whose table still exists by the register, the newest lease first.

    Leftovers are those whose table exists although the register says that it was dropped: the next run had given
    the version up before the staging session, whose control session was gone, committed it.
    """
    with connection.cursor(row_factory=kwargs_row(_read)) as cursor:
        return cursor.execute(
            f"SELECT {_COLUMNS} FROM postgres_sync.layer_versions AS known"  # noqa: S608 - a constant of this module
            " WHERE schema_name = %s AND layer_name = %s AND (state <> 'dropped' OR %s AND to_regclass(format("
            "'%%I.%%I', %s::text, relation)) IS NOT NULL) ORDER BY lease DESC",
            [layer.schema, layer.name, with_leftovers, VERSIONS],
        ).fetchall()


def live_version(connection: psycopg.Connection, layer: Layer) -> Version | None:
    """The current version, when it really is the public table's default partition and has rows where it should."""
    current = next((version for version in versions(connection, layer) if version.current), None)
    if current is None or default_partition(connection, layer) != (VERSIONS, current.relation):
        return None
    return current if _has_rows(connection, current) == bool(current.rows) else None


def default_partition(connection: psycopg.Connection, layer: Layer) -> tuple[str, str] | None:
    """Schema and name of the public table's default partition, None when there is none."""
    return connection.execute(
        "SELECT n.nspname, c.relname FROM pg_partitioned_table p"
        " JOIN pg_class t ON t.oid = p.partrelid JOIN pg_namespace s ON s.oid = t.relnamespace"
        " JOIN pg_class c ON c.oid = p.partdefid JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE s.nspname = %s AND t.relname = %s",
        [layer.schema, layer.name],
    ).fetchone()


def add_staging(connection: psycopg.Connection, layer: Layer, version: Version) -> None:
    """Register a version before its table is made, so that it can be found and dropped if we die."""
    connection.execute(
        "INSERT INTO postgres_sync.layer_versions"
        " (schema_name, layer_name, lease, version, sha256, release_tag, relation, state, run_id)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, 'staging', %s)",
        [layer.schema, layer.name, version.lease, version.version, version.sha256, version.release_tag,
         version.relation, version.run_id],
    )  # fmt: skip


def judged(  # noqa: PLR0913 - one parameter a column
    connection: psycopg.Connection,
    layer: Layer,
    version: Version,
    *,
    state: str,
    rows: int,
    size: int,
    extent: tuple[float, float, float, float] | None,
    audits: list[dict[str, object]],
) -> Version:
    """Record what the audits said of a staged version: `staged` when it may be published, `rejected` when not.

    One that a newer load has dropped meanwhile stays dropped, unless its table was not yet to be seen then.
    """
    connection.execute(
        "UPDATE postgres_sync.layer_versions SET state = %s, rows = %s, bytes = %s, extent = %s, audits = %s"
        " WHERE schema_name = %s AND layer_name = %s AND lease = %s "
        " AND (state <> 'dropped' OR to_regclass(format('%%I.%%I', %s::text, relation)) IS NOT NULL)",
        [state, rows, size, list(extent) if extent else None, json.dumps(audits), layer.schema, layer.name,
         version.lease, VERSIONS],
    )  # fmt: skip
    return replace(version, state=state, rows=rows, bytes=size, extent=extent, audits=audits)


def making_current(layer: Layer, version: Version) -> list[sql.Composed]:
    """Make the statements by which this version is the current one; they belong into the publish transaction."""
    parts = {
        "schema": sql.Literal(layer.schema), "layer": sql.Literal(layer.name), "lease": sql.Literal(version.lease)
    }  # fmt: skip
    statements = (
        "UPDATE postgres_sync.layer_versions SET current = false"
        " WHERE schema_name = {schema} AND layer_name = {layer} AND current",
        "UPDATE postgres_sync.layer_versions SET current = true, state = 'published', published_at = clock_timestamp()"
        " WHERE schema_name = {schema} AND layer_name = {layer} AND lease = {lease}",
    )
    return [sql.SQL(statement).format(**parts) for statement in statements]


def mark_dropped(connection: psycopg.Connection, layer: Layer, version: Version) -> None:
    """The version's table is gone."""
    connection.execute(
        "UPDATE postgres_sync.layer_versions SET state = 'dropped'"
        " WHERE schema_name = %s AND layer_name = %s AND lease = %s",
        [layer.schema, layer.name, version.lease],
    )


def _read(**columns: Any) -> Version:  # noqa: ANN401 - a row of the register, in the order of no one
    extent = columns.pop("extent")
    return Version(extent=tuple(extent) if extent else None, **columns)


def _has_rows(connection: psycopg.Connection, version: Version) -> bool:
    query = sql.SQL("SELECT EXISTS (SELECT FROM {})").format(version_table(version.relation))
    row = connection.execute(query).fetchone()
    return bool(row and row[0])
