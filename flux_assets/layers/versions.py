"""The register: what is known of every version of a layer, which is current, and which releases it belongs to."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import sql

from flux_assets.errors import PinnedError
from flux_assets.postgis import catalog
from flux_assets.postgis.catalog import Shape
from flux_assets.postgis.relations import VERSIONS, Layer, version_table
from flux_assets.postgis.session import run
from flux_assets.sqlfiles import query


@dataclass(frozen=True, kw_only=True)
class Version:
    """A row of the register: one version of a layer. `bytes` is its size on disk, `extent` in degrees (EPSG:4326).

    `base_version` is the version of the release that a version made by a replay contains; `is_there` tells whether
    the version's table exists.
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
    is_there: bool = True

    def holds(self, version: str) -> bool:
        """Tell whether this is that version of a release, or contains it, with rows that a replay added."""
        return version in {self.version, self.base_version}


@dataclass(frozen=True, kw_only=True)
class VersionTimes:
    """Of a layer now: when its file was first seen, when it was last looked at, when what readers see last changed."""

    source_changed_at: datetime | None
    checked_at: datetime
    published_at: datetime | None


_COLUMNS = (
    "lease",
    "version",
    "sha256",
    "release_tag",
    "relation",
    "run_id",
    "state",
    "current",
    "rows",
    "bytes",
    "extent",
    "audits",
    "staged_at",
    "published_at",
    "further_tags",
    "base_version",
    "is_there",
)


def asking_times(layer: Layer) -> sql.Composed:
    """Make the query for the layer's three clocks; `read_times` takes the answer."""
    return query("versions", "version_times").format(**_named(layer))


def read_times(rows: Sequence[tuple[Any, ...]]) -> VersionTimes:
    """Return the clocks from the answer to `asking_times`."""
    source_changed_at, checked_at, published_at = rows[0] if rows else (None, datetime.now(UTC), None)
    return VersionTimes(source_changed_at=source_changed_at, checked_at=checked_at, published_at=published_at)


def version_times(connection: psycopg.Connection, layer: Layer) -> VersionTimes:
    """Return the layer's three clocks, at the end of a load or rollback; view v_table_status tells the same."""
    return read_times(connection.execute(asking_times(layer)).fetchall())


def asking(layer: Layer, *, with_leftovers: bool = False) -> sql.Composed:
    """Make the query for the layer's versions, whose rows `read` takes.

    Leftovers are those whose table exists although the register says that it was dropped: the next run had given
    the version up before the staging session, whose control session was gone, committed it.
    """
    return query("versions", "versions").format(**_named(layer), leftovers=sql.Literal(with_leftovers))


def read(row: Sequence[Any]) -> Version:
    """Return a row of the register."""
    columns = dict(zip(_COLUMNS, row, strict=True))
    extent = columns.pop("extent")
    return Version(extent=tuple(extent) if extent else None, **columns)


def known_versions(connection: psycopg.Connection, layer: Layer) -> list[Version]:
    """Return every version of the layer whose table still exists by the register, the newest lease first."""
    return [read(row) for row in connection.execute(asking(layer))]


def live_version(connection: psycopg.Connection, layer: Layer) -> Version | None:
    """Return the current version when it is the public table's default partition and has rows where it should."""
    current = next((version for version in known_versions(connection, layer) if version.current), None)
    if current is None or default_partition(connection, layer) != (VERSIONS, current.relation):
        return None
    return current if has_rows(connection, current) == bool(current.rows) else None


def default_partition(connection: psycopg.Connection, layer: Layer) -> tuple[str, str] | None:
    """Return schema and name of the public table's default partition, None when there is none."""
    return connection.execute(query("versions", "default_partition").format(**_named(layer))).fetchone()


def adding_staging(layer: Layer, version: Version) -> sql.Composed:
    """Make the statement that registers a version before its table is made.

    It can then be found and dropped if we die.
    """
    values = {
        name: sql.Literal(getattr(version, name)) for name in ("version", "sha256", "release_tag", "relation", "run_id")
    }
    return query("versions", "add_staging").format(**_of(layer, version), **values)


def judged(  # noqa: PLR0913 - one parameter a column
    connection: psycopg.Connection,
    layer: Layer,
    version: Version,
    *,
    state: str,
    rows: int,
    extent: tuple[float, float, float, float] | None,
    audits: list[dict[str, object]],
) -> Version:
    """Record what the audits found of a staged version, and its size: `staged` when it may be published, or `rejected`.

    One that a newer load has dropped meanwhile stays dropped, unless its table was not yet to be seen then.
    """
    size = sql.SQL("pg_total_relation_size(to_regclass({}))").format(
        sql.Literal(version_table(version.relation).as_string(connection))
    )
    update = query("versions", "judged").format(
        **_of(layer, version),
        state=sql.Literal(state),
        rows=sql.Literal(rows),
        bytes=size,
        extent=sql.Literal(list(extent) if extent else None),
        audits=sql.Literal(json.dumps(audits)),
    )
    [[(measured,)]] = run(connection, [sql.SQL("SELECT {}").format(size), update])
    return replace(version, state=state, rows=rows, bytes=measured, extent=extent, audits=audits)


def making_current(layer: Layer, version: Version) -> list[sql.Composed]:
    """Make the statements by which this version is the current one; they belong into the publish transaction."""
    return [
        query("versions", "not_current").format(**_named(layer)),
        query("versions", "current").format(**_of(layer, version)),
    ]


def dropping(layer: Layer, version: Version) -> sql.Composed:
    """Make the statement by which the version's table is gone."""
    return query("versions", "dropped").format(**_of(layer, version))


def has_rows(connection: psycopg.Connection, version: Version) -> bool:
    """Tell whether the version's table has any row."""
    found = sql.SQL("SELECT EXISTS (SELECT FROM {})").format(version_table(version.relation))
    row = connection.execute(found).fetchone()
    return bool(row and row[0])


def _named(layer: Layer) -> dict[str, sql.Literal]:
    return {"schema": sql.Literal(layer.schema), "name": sql.Literal(layer.name)}


def _of(layer: Layer, version: Version) -> dict[str, sql.Literal]:
    return {**_named(layer), "lease": sql.Literal(version.lease)}


def note_release(connection: psycopg.Connection, layer: Layer, version: Version, tag: str) -> None:
    """Note that release `tag` holds this version too; nothing is written when that is known."""
    for statement in noting_release(layer, version, tag):
        connection.execute(statement)


def noting_release(layer: Layer, version: Version, tag: str) -> list[sql.Composed]:
    """Make the statement that notes release `tag` for this version; none when that is known."""
    return [] if is_of(version, tag) else [_statement("further_tag", layer, version, tag)]


def retag(connection: psycopg.Connection, layer: Layer, version: Version, tag: str) -> Version:
    """Have a version that was staged and never published be of release `tag`; any other stays as it is."""
    if version.state != "staged" or version.release_tag == tag:
        return version
    connection.execute(_statement("release_tag", layer, version, tag))
    return replace(version, release_tag=tag)


def is_of(version: Version, tag: str) -> bool:
    """Tell whether the version is one of release `tag`."""
    return tag == version.release_tag or tag in version.further_tags


def _statement(name: str, layer: Layer, version: Version, tag: str) -> sql.Composed:
    return query("versions", name).format(
        schema=sql.Literal(layer.schema),
        name=sql.Literal(layer.name),
        lease=sql.Literal(version.lease),
        tag=sql.Literal(tag),
    )


# postgres_sync.refuse_pinned raises it.
_REFUSED = "FXPIN"
_PIN_COLUMNS = ("layer_name", "version", "pinned_at", "pinned_by", "reason")


@dataclass(frozen=True, kw_only=True)
class Pin:
    """A layer's pin: the version that stays, since when, by which database role, and why."""

    layer_name: str
    version: str
    pinned_at: datetime
    pinned_by: str
    reason: str

    def __str__(self) -> str:
        since = f"{self.pinned_at:%Y-%m-%d %H:%M:%S}Z"
        reason = f" ({self.reason})" if self.reason else ""
        return f"pinned to version {self.version[:12]} since {since} by {self.pinned_by}{reason}"


def known_pins(connection: psycopg.Connection, schema: str) -> dict[str, Pin]:
    """Return the pins of a schema by layer; none where the ledger is of an earlier release, or not there."""
    if catalog.find(connection, "postgres_sync", "layer_pins") is None:
        return {}
    found = connection.execute(query("pins", "pins").format(schema=sql.Literal(schema), name=sql.NULL))
    return {row[0]: _pin(row) for row in found}


def asking_pin(layer: Layer) -> sql.Composed:
    """Make the query for the layer's pin; `read` takes the answer."""
    return query("pins", "pins").format(schema=sql.Literal(layer.schema), name=sql.Literal(layer.name))


def read_pin(rows: Sequence[tuple[Any, ...]]) -> Pin | None:
    """Return the pin from the answer to `asking`, None when there is none."""
    return _pin(rows[0]) if rows else None


def _pin(row: Sequence[Any]) -> Pin:
    return Pin(**dict(zip(_PIN_COLUMNS, row, strict=True)))


def pin_of(connection: psycopg.Connection, layer: Layer) -> Pin | None:
    """Return the layer's pin, None when it has none."""
    return read_pin(connection.execute(asking_pin(layer)).fetchall())


def pinning(layer: Layer, version: str, reason: str) -> sql.Composed:
    """Make a statement that pins the layer, in place of an earlier pin, whose reason stays where none is given."""
    schema, name, said = sql.Literal(layer.schema), sql.Literal(layer.name), sql.Literal(reason)
    return query("pins", "pin").format(schema=schema, name=name, version=sql.Literal(version), reason=said)


def hold_still(connection: psycopg.Connection, layer: Layer) -> None:
    """Within a transaction: keep the layer from being published until it ends."""
    statement = "SELECT FROM postgres_sync.layer_leases WHERE schema_name = %s AND layer_name = %s FOR UPDATE"
    connection.execute(statement, [layer.schema, layer.name])


def unpin(connection: psycopg.Connection, layer: Layer) -> bool:
    """Remove the layer's pin; returns whether it had one."""
    statement = "DELETE FROM postgres_sync.layer_pins WHERE schema_name = %s AND layer_name = %s"
    return connection.execute(statement, [layer.schema, layer.name]).rowcount > 0


def refusing(layer: Layer, version: str) -> sql.Composed:
    """Make a statement that fails when another version is pinned, for a publish that holds the layer's lease.

    Whoever pins holds the lease's row too, so that one comes before the other.
    """
    return sql.SQL("SELECT postgres_sync.refuse_pinned({}, {}, {})").format(
        *map(sql.Literal, (layer.schema, layer.name, version))
    )


def tell_refusal(error: psycopg.Error) -> None:
    """Raise the failure of `refusing` as a PinnedError; do nothing about another failure."""
    if error.sqlstate != _REFUSED:
        return
    name, version = error.diag.table_name, (error.diag.constraint_name or "")[:12]
    pinned = (error.diag.message_primary or "").removeprefix("pinned to version ")[:12]
    raise PinnedError(
        f"{error.diag.schema_name}.{name} is pinned to version {pinned}, so version {version} was not published.",
        f"Run `flux-assets unpin {name}` and load again.",
    ) from error


_SHAPE_ANSWERS = 4


@dataclass(frozen=True, kw_only=True)
class PublicTable:
    """What stands under a layer's name; `partitioning` is the strategy (`l` for LIST) and column of its key.

    `inbound_keys` are foreign keys of other tables that point at it, `partitions` all of its partitions by name.
    """

    shape: Shape
    partitioning: tuple[str, str] | None
    primary_key: tuple[str, ...]
    partitions: list[str]
    default_partition: tuple[str, str] | None
    inbound_keys: list[str]
    comment: str | None

    @property
    def oid(self) -> int:
        """The relation's OID."""
        return self.shape.oid


@dataclass(frozen=True, kw_only=True)
class LayerState:
    """A layer's public table, its versions by the register (the newest lease first), and its pin.

    `versions` are those whose table exists by the register; `leftovers` those whose table exists although the register
    says that it was dropped. `waiting` records in quarantine are missing in the current version.
    """

    public: PublicTable | None
    versions: tuple[Version, ...]
    leftovers: tuple[Version, ...]
    pin: Pin | None
    waiting: int

    @property
    def default_partition(self) -> tuple[str, str] | None:
        """Schema and name of the public table's default partition."""
        return self.public.default_partition if self.public else None

    @property
    def current(self) -> Version | None:
        """The version that the register calls current."""
        return next((version for version in self.versions if version.current), None)

    @property
    def kept_bytes(self) -> int:
        """The bytes on disk of all versions."""
        return sum(version.bytes or 0 for version in self.versions)

    def without(self, dropped: Collection[Version]) -> LayerState:
        """Return the state once these versions are dropped."""
        return replace(self, versions=tuple(version for version in self.versions if version not in dropped))

    @property
    def attached(self) -> Version | None:
        """The current version where it is the public table's default partition."""
        current = self.current
        return current if current and self.default_partition == (VERSIONS, current.relation) else None


def ask_state(connection: psycopg.Connection, layer: Layer) -> LayerState:
    """Ask for the state of a layer, in one round trip."""
    named = {"schema": sql.Literal(layer.schema), "name": sql.Literal(layer.name)}
    answers = run(
        connection,
        [
            *catalog.Shape.queries(catalog.oid_of(layer.schema, layer.name)),
            query("layer_state", "public_table").format(**named),
            asking(layer, with_leftovers=True),
            asking_pin(layer),
            query("layer_state", "waiting").format(**named),
        ],
    )
    public, register, pin, [(waiting,)] = answers[_SHAPE_ANSWERS:]
    shape = catalog.Shape.read(answers[:_SHAPE_ANSWERS])
    found = [read(row) for row in register]
    return LayerState(
        public=_public(shape, *public[0]) if shape and public else None,
        versions=tuple(version for version in found if version.state != "dropped"),
        leftovers=tuple(version for version in found if version.state == "dropped"),
        pin=read_pin(pin),
        waiting=waiting,
    )


def confirm_live(connection: psycopg.Connection, state: LayerState) -> Version | None:
    """Return the attached version when it has rows where it should."""
    attached = state.attached
    return attached if attached and has_rows(connection, attached) == bool(attached.rows) else None


def _public(  # noqa: PLR0913, PLR0917 - a row's columns
    shape: Shape,
    partitioning: list[str] | None,
    primary_key: list[str],
    partitions: list[str],
    default_partition: list[str] | None,
    inbound_keys: list[str],
    comment: str | None,
) -> PublicTable:
    return PublicTable(
        shape=shape,
        partitioning=(partitioning[0], partitioning[1]) if partitioning else None,
        primary_key=tuple(primary_key),
        partitions=partitions,
        default_partition=(default_partition[0], default_partition[1]) if default_partition else None,
        inbound_keys=inbound_keys,
        comment=comment,
    )
