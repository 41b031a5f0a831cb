"""Pins: a pinned layer stays at the version that it has, whatever a load finds in the release."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from flux_assets.errors import PinnedError
from flux_assets.layers.context import LoadContext
from flux_assets.layers.versions import Version
from flux_assets.ledger.entries import Entry
from flux_assets.postgis import catalog
from flux_assets.postgis.relations import Layer
from flux_assets.sqlfiles import query

# postgres_sync.refuse_pinned raises it.
_REFUSED = "FXPIN"
_COLUMNS = ("layer_name", "version", "pinned_at", "pinned_by", "reason")


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


def pins(connection: psycopg.Connection, schema: str) -> dict[str, Pin]:
    """Return the pins of a schema by layer; none where the ledger is of an earlier release, or not there."""
    if catalog.find(connection, "postgres_sync", "layer_pins") is None:
        return {}
    found = connection.execute(query("pins", "pins").format(schema=sql.Literal(schema), name=sql.NULL))
    return {row[0]: _pin(row) for row in found}


def asking(layer: Layer) -> sql.Composed:
    """Make the query for the layer's pin; `read` takes the answer."""
    return query("pins", "pins").format(schema=sql.Literal(layer.schema), name=sql.Literal(layer.name))


def read(rows: Sequence[tuple[Any, ...]]) -> Pin | None:
    """Return the pin from the answer to `asking`, None when there is none."""
    return _pin(rows[0]) if rows else None


def _pin(row: Sequence[Any]) -> Pin:
    return Pin(**dict(zip(_COLUMNS, row, strict=True)))


def pin_of(connection: psycopg.Connection, layer: Layer) -> Pin | None:
    """Return the layer's pin, None when it has none."""
    return read(connection.execute(asking(layer)).fetchall())


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


def _record_held(connection: psycopg.Connection, entry: Entry, live: str, held: str) -> None:
    """Close a load's row of the ledger as PINNED: version `live` stays, version `held` was not published."""
    connection.execute(
        query("entries", "close_held").format(
            version=sql.Literal(live), held=sql.Literal(held), sync_id=sql.Literal(entry.sync_id)
        )
    )


@dataclass(frozen=True, kw_only=True)
class HeldLoad:
    """What a load left unpublished: the release's version, its file and release, and whether it is staged already."""

    version: str
    sha256: str
    release_tag: str
    staged: bool

    def __str__(self) -> str:
        kept = "staged and audited already" if self.staged else "not staged"
        return f"version {self.version[:12]} of release {self.release_tag} was not published ({kept})"


def hold(context: LoadContext, live: Version | None, entry: Entry, pin: Pin, held: HeldLoad) -> Version:
    """End a load of a pinned layer well; returns the version that stays, which is the `live` one.

    Raises PinnedError when the version that the layer is pinned to is not what readers see: that calls for a person.
    """
    layer = context.layer
    if live is None or live.version != pin.version:
        raise PinnedError(
            f"{layer.title} is {pin}, but readers do not see that version any more.",
            f"Run `flux-assets unpin {layer.name}` and load again.",
        )
    _record_held(context.control, entry, live.version, held.version)
    forced = "; force: true does not override a pin" if context.options.force else ""
    context.log(
        f"{layer.title} is {pin}: {held}{forced}. `flux-assets unpin {layer.name}` lets the next load publish it."
    )
    return live
