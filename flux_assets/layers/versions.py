"""What the database has of a layer: its versions by the register, its pin, and the table that readers see."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import sql

from flux_assets.ledger.runs import Entry
from flux_assets.postgis.catalog import Relation, Shape, count_rows
from flux_assets.postgis.relations import VERSIONS, Layer, own_rows, type_name
from flux_assets.postgis.session import run
from flux_assets.spec import StaticTable
from flux_assets.sqlfiles import query

Extent = tuple[float, float, float, float]
"""West, south, east and north in degrees (EPSG:4326)."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """A row of the register: one version of a layer. `bytes` is its size on disk.

    `base_version` is the version of the release that a version made by a replay contains, `inputs` are the versions of
    the layers that a computed one was made of, by their names. `is_there` tells whether the
    version's table exists, `is_attached` whether it is what readers of the public table see.
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
    extent: Extent | None = None
    audits: list[dict[str, object]] = field(default_factory=list)
    staged_at: datetime = datetime.min
    published_at: datetime | None = None
    further_tags: list[str] = field(default_factory=list)
    base_version: str | None = None
    inputs: Mapping[str, str] | None = None
    is_there: bool = True
    is_attached: bool = False

    @property
    def table(self) -> sql.Identifier:
        """The version's table."""
        return sql.Identifier(VERSIONS, self.relation)

    @classmethod
    def known(cls, connection: psycopg.Connection, layer: Layer) -> list[Version]:
        """Return every version of the layer whose table still exists by the register, the newest lease first."""
        return [_version(row) for row in connection.execute(_statement("versions", layer, leftovers=False))]

    @classmethod
    def live(cls, connection: psycopg.Connection, layer: Layer) -> Version | None:
        """Return the version that readers see, when it is the register's and has rows where it should."""
        return _live(connection, cls.known(connection, layer))

    @staticmethod
    def id_of(identity: str, table: StaticTable) -> str:
        """Return the id of the version that a declaration makes of what has this identity."""
        return hashlib.sha256(f"{identity}\n{table.digest}".encode()).hexdigest()

    def holds(self, version: str) -> bool:
        """Tell whether this is that version of a release, or contains it, with rows that a replay added."""
        return version in {self.version, self.base_version}

    def is_of(self, tag: str) -> bool:
        """Tell whether the version is one of release `tag`."""
        return tag in {self.release_tag, *self.further_tags}

    def is_whole(self, connection: psycopg.Connection) -> bool:
        """Tell whether the version still has its table, with the rows it was registered with."""
        there = Relation.find(connection, VERSIONS, self.relation) is not None
        return there and count_rows(connection, own_rows(self.table)) == self.rows

    def adding(self, layer: Layer) -> sql.Composed:
        """Make the statement that registers the version before its table is made, to be found if we die."""
        names = ("lease", "version", "sha256", "release_tag", "relation", "run_id")
        inputs = None if self.inputs is None else json.dumps(dict(self.inputs))
        return _statement("add_staging", layer, inputs=inputs, **{name: getattr(self, name) for name in names})

    def making_current(self, layer: Layer) -> list[sql.Composed]:
        """Make the statements by which this version is the current one; they belong into the publish transaction."""
        return [_statement("not_current", layer), _statement("current", layer, lease=self.lease)]

    def pinning(self, layer: Layer, reason: str) -> sql.Composed:
        """Make a statement that pins the layer to it; the reason of an earlier pin of it stays where none is given."""
        return _statement("pin", layer, version=self.version, reason=reason)

    def refusing_pinned(self, layer: Layer) -> sql.Composed:
        """Make a statement that fails when another version is pinned, for a publish that holds the layer's lease.

        Whoever pins holds the lease's row too, so that one comes before the other.
        """
        return _statement("refuse_pinned", layer, version=self.version)

    def dropping(self, layer: Layer) -> sql.Composed:
        """Make the statement by which the version's table is gone."""
        return _statement("dropped", layer, lease=self.lease)

    def giving_up(self, layer: Layer) -> list[sql.Composed]:
        """Make the statements by which its table is a version no more, and none is the current one."""
        return [_statement("not_current", layer), self.dropping(layer)]

    def noting_release(self, layer: Layer, tag: str) -> list[sql.Composed]:
        """Make the statement that notes that release `tag` holds this version too; none when that is known."""
        return [] if self.is_of(tag) else [_statement("further_tag", layer, lease=self.lease, tag=tag)]

    def noting_quarantined(self, layer: Layer, entry: Entry) -> sql.Composed:
        """Have the ledger's row of a run say how many records of its file the version lacks, and return that."""
        return _statement("note_quarantined", layer, lease=self.lease, sync_id=entry.sync_id)

    def judged(self, connection: psycopg.Connection, layer: Layer) -> Version:
        """Record the rows, extent, audits and state, `staged` or `rejected`, that were found; returns it with its size.

        One that a newer load has dropped meanwhile stays dropped, unless its table was not yet to be seen then.
        """
        found = {"state": self.state, "rows": self.rows, "audits": json.dumps(self.audits)}
        extent = list(self.extent) if self.extent else None
        row = connection.execute(_statement("judged", layer, lease=self.lease, extent=extent, **found)).fetchone()
        return replace(self, bytes=row[0] if row else None)

    def retagged(self, connection: psycopg.Connection, layer: Layer, tag: str) -> Version:
        """Have a version that was staged and never published be of release `tag`; any other stays as it is."""
        if self.state != "staged" or self.release_tag == tag:
            return self
        connection.execute(_statement("release_tag", layer, lease=self.lease, tag=tag))
        return replace(self, release_tag=tag)

    def as_published(self, connection: psycopg.Connection, layer: Layer) -> Version:
        """Return the version as it is once it was published: the current one, and since when."""
        return replace(self, current=True, published_at=VersionTimes.of(connection, layer).published_at)


def _attached(versions: Sequence[Version]) -> Version | None:
    return next((version for version in versions if version.current and version.is_attached), None)


def _live(connection: psycopg.Connection, versions: Sequence[Version]) -> Version | None:
    version = _attached(versions)
    if version is None:
        return None
    asking = sql.SQL("SELECT EXISTS (SELECT FROM {})").format(version.table)
    return version if connection.execute(asking).fetchone() == (bool(version.rows),) else None


_FIELDS = tuple(each.name for each in fields(Version))


def _version(row: Sequence[Any]) -> Version:
    columns = dict(zip(_FIELDS, row, strict=True))
    extent = columns.pop("extent")
    return Version(extent=tuple(extent) if extent else None, **columns)


@dataclass(frozen=True)
class VersionTimes:
    """Of a layer now: when its file was first seen, when it was last looked at, when what readers see last changed."""

    source_changed_at: datetime | None
    checked_at: datetime
    published_at: datetime | None

    @staticmethod
    def asking(layer: Layer) -> sql.Composed:
        """Make the query for them, whose answer `read` takes; view v_table_status tells the same."""
        return _statement("version_times", layer)

    @classmethod
    def read(cls, rows: Sequence[tuple[Any, ...]]) -> VersionTimes:
        """Return them from the answer."""
        return cls(*rows[0]) if rows else cls(None, datetime.now(UTC), None)

    @classmethod
    def of(cls, connection: psycopg.Connection, layer: Layer) -> VersionTimes:
        """Ask for them, at the end of a load or rollback."""
        return cls.read(connection.execute(cls.asking(layer)).fetchall())


@dataclass(frozen=True)
class Pin:
    """A layer's pin: the version that stays, whatever a load finds, since when, by which database role, and why."""

    layer_name: str
    version: str
    pinned_at: datetime
    pinned_by: str
    reason: str

    def __str__(self) -> str:
        since = f"{self.pinned_at:%Y-%m-%d %H:%M:%S}Z"
        reason = f" ({self.reason})" if self.reason else ""
        return f"pinned to version {self.version[:12]} since {since} by {self.pinned_by}{reason}"

    @classmethod
    def of(cls, connection: psycopg.Connection, layer: Layer) -> Pin | None:
        """Ask for the layer's pin; None when it has none."""
        row = connection.execute(_statement("pins", layer)).fetchone()
        return cls(*row) if row else None


@dataclass(frozen=True)
class PublicTable:
    """What stands under a layer's name; `partitioning` is the strategy (`l` for LIST) and column of its key.

    `partitions` are all of its partitions by name, `default_partition` is schema and name of one of them, and
    `inbound_keys` are foreign keys of other tables that point at it.
    """

    shape: Shape
    partitioning: list[str] | None
    primary_key: list[str]
    partitions: list[str]
    default_partition: list[str] | None
    inbound_keys: list[str]
    comment: str | None

    @property
    def oid(self) -> int:
        """The relation's OID."""
        return self.shape.oid


@dataclass(frozen=True, kw_only=True)
class LayerState:
    """A layer's public table, its versions by the register (the newest lease first), and its pin.

    `versions` are those whose table exists by the register. `leftovers` are those whose table exists although the
    register says that it was dropped: the next run had given the version up before the staging session, whose control
    session was gone, committed it. `waiting` records in quarantine are missing in a version, by its lease.
    """

    layer: Layer
    public: PublicTable | None
    versions: tuple[Version, ...]
    leftovers: tuple[Version, ...]
    pin: Pin | None
    waiting: dict[int, int]

    @property
    def attached(self) -> Version | None:
        """The register's current version where it is what readers of the public table see."""
        return _attached(self.versions)

    @property
    def kept_bytes(self) -> int:
        """The bytes on disk of all versions."""
        return sum(version.bytes or 0 for version in self.versions)

    def live(self, connection: psycopg.Connection) -> Version | None:
        """Return the attached version when it has rows where it should."""
        return _live(connection, self.versions)

    @property
    def keeps_declared_columns(self) -> bool:
        """Whether the public table still has every declared column with its type, whatever else users added."""
        live = {column.name: column.bare_type for column in self.public.shape.columns} if self.public else {}
        return all(live.get(column.name) == type_name(column) for column in self.layer.table.columns)

    def fits(self, connection: psycopg.Connection, version: Version) -> bool:
        """Tell whether a version made earlier has the columns that the public table will have once it is attached."""
        wanted: dict[str, tuple[str, str | None]] = {c.name: (type_name(c), None) for c in self.layer.table.columns}
        if self.public is not None and self.public.shape.is_partitioned:
            there = self.public.shape.columns
            wanted |= {c.name: (c.bare_type, c.collation) for c in there if c.generated}
            wanted |= {c.name: (wanted[c.name][0], c.collation) for c in there if c.name in wanted}
        found = Relation.find(connection, VERSIONS, version.relation)
        standing = found.columns() if found else []
        return wanted == {c.name: (c.bare_type, c.collation) for c in standing}

    def refresh_comments(self, connection: psycopg.Connection) -> None:
        """Bring the public table's comments up to date, touching only those that differ; a new table has them."""
        public, table = self.public, self.layer.table
        if public is None or not public.shape.is_partitioned:
            return
        live: dict[str | None, str | None] = {column.name: column.comment for column in public.shape.columns}
        wanted: dict[str | None, str | None] = {column.name: column.comment for column in table.columns}
        comments = {None: table.description} | wanted
        statements = zip(comments.items(), self.layer.comments(), strict=True)
        there = live | {None: public.comment}
        if outdated := [statement for (name, comment), statement in statements if there.get(name) != comment]:
            run(connection, outdated)

    @classmethod
    def of(cls, connection: psycopg.Connection, layer: Layer) -> LayerState:
        """Ask for the state of a layer, in one round trip."""
        shape = Shape.queries(Relation.oid_of(layer.schema, layer.name))
        more = [
            _statement("public_table", layer),
            _statement("versions", layer, leftovers=True),
            _statement("pins", layer),
            _statement("waiting", layer),
        ]
        answers = run(connection, [*shape, *more])
        public, register, pins, waiting = answers[len(shape) :]
        standing = Shape.read(answers[: len(shape)])
        found = [_version(row) for row in register]
        return cls(
            layer=layer,
            public=PublicTable(standing, *public[0]) if standing and public else None,
            versions=tuple(version for version in found if version.state != "dropped"),
            leftovers=tuple(version for version in found if version.state == "dropped"),
            pin=Pin(*pins[0]) if pins else None,
            waiting=dict(waiting),
        )


def _statement(statement: str, layer: Layer, /, **values: object) -> sql.Composed:
    """Make a statement of versions.sql about a layer."""
    named = {"schema": layer.schema, "name": layer.name, **values}
    return query("versions", statement).format(**{name: sql.Literal(value) for name, value in named.items()})
