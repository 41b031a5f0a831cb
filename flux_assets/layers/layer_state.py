"""What stands in the database of one layer, asked in one round trip and handed down as a frozen value."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import psycopg
from psycopg import sql

from flux_assets.layers import pins, versions
from flux_assets.layers.context import Retention
from flux_assets.layers.pins import Pin
from flux_assets.layers.versions import Version
from flux_assets.postgis import catalog
from flux_assets.postgis.catalog import Shape
from flux_assets.postgis.relations import VERSIONS, Layer
from flux_assets.postgis.session import run
from flux_assets.sqlfiles import query

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
            *catalog.shape_queries(catalog.oid_of(layer.schema, layer.name)),
            query("layer_state", "public_table").format(**named),
            versions.asking(layer, with_leftovers=True),
            pins.asking(layer),
            query("layer_state", "waiting").format(**named),
        ],
    )
    public, register, pin, [(waiting,)] = answers[_SHAPE_ANSWERS:]
    shape = catalog.read_shape(answers[:_SHAPE_ANSWERS])
    found = [versions.read(row) for row in register]
    return LayerState(
        public=_public(shape, *public[0]) if shape and public else None,
        versions=tuple(version for version in found if version.state != "dropped"),
        leftovers=tuple(version for version in found if version.state == "dropped"),
        pin=pins.read(pin),
        waiting=waiting,
    )


def confirm_live(connection: psycopg.Connection, state: LayerState) -> Version | None:
    """Return the attached version when it has rows where it should."""
    attached = state.attached
    return attached if attached and versions.has_rows(connection, attached) == bool(attached.rows) else None


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


def worth_keeping(state: LayerState, retention: Retention) -> set[int]:
    """Return the leases of the earlier versions to keep: published ones with their tables, and a pinned one always.

    Another copy of the current version is no earlier version.
    """
    current = {version.version for version in state.versions if version.current}
    earlier = [
        version
        for version in state.versions
        if version.state == "published" and version.is_there and version.version not in current
    ]
    earlier.sort(key=lambda version: version.published_at or version.staged_at, reverse=True)
    pinned = {version.lease for version in earlier if state.pin is not None and version.version == state.pin.version}
    return {version.lease for version in retention.newest(earlier)} | pinned
