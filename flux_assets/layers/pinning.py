"""Pinning a layer to a version, and unpinning it.

Here: what a person asks for. Not here: how a pin is kept and respected (postgis/pins.py), and publishing an earlier
version first (rollback.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import psycopg
from psycopg import errors

from flux_assets.errors import BusyError, LayerError
from flux_assets.layers import pins, versions
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.pins import Pin
from flux_assets.layers.rollback import rollback
from flux_assets.layers.versions import Version
from flux_assets.postgis.bootstrap import prepare
from flux_assets.postgis.connect import Target
from flux_assets.postgis.errors import translated
from flux_assets.postgis.names import Layer
from flux_assets.spec import StaticTable

# A publish holds the lease's row for less than a second; who holds it longer is stopped or frozen.
LEASE_WAIT_MS = 10_000
_LONGEST_REASON = 200


@dataclass(frozen=True, kw_only=True)
class Pinned:
    """A layer's pin, the version that it is pinned to, and whether that had to be published first."""

    pin: Pin
    version: Version
    published: bool


def pin(
    table: StaticTable,
    target: Target,
    options: LoadOptions,
    log: Callable[[str], None],
    to: str | None = None,
    *,
    reason: str = "",
) -> Pinned:
    """Pin a layer to the version that is live, or to the kept one whose id begins with `to`, which is published first.

    Raises LayerError when there is no such version, BusyError when the layer is being published.
    """
    layer, reason = Layer(target.schema, table), " ".join(reason.split())
    if len(reason) > _LONGEST_REASON:
        raise LayerError(
            f"The reason has {len(reason)} characters.", f"Give at most {_LONGEST_REASON}: it is shown in a line."
        )
    with translated(layer, options.stop), target.session(f"pin {layer.name}", options.stop) as session:
        prepare(session, target.schema)
        live = _pin_live(session, layer, to, reason)
        version = live or rollback(table, target, options, log, to, reason=reason)
        found = pins.pin_of(session, layer)
    if found is None:
        raise LayerError(f"{layer.title} was unpinned meanwhile.", "Pin it again if it is to stay.")
    return Pinned(pin=found, version=version, published=live is None)


def unpin(table: StaticTable, target: Target) -> bool:
    """Let loads publish the layer again; returns whether it was pinned."""
    layer, options = Layer(target.schema, table), LoadOptions()
    with translated(layer, options.stop), target.session(f"unpin {layer.name}") as session:
        prepare(session, target.schema)
        return pins.unpin(session, layer)


def _pin_live(session: psycopg.Connection, layer: Layer, to: str | None, reason: str) -> Version | None:
    """Pin the live version when it is the one asked for; None when it is another."""
    try:
        with session.transaction():
            session.execute(f"SET LOCAL lock_timeout = '{LEASE_WAIT_MS}ms'")
            # Until this transaction ends nobody publishes: what is live when the pin is set is what is pinned.
            pins.hold_still(session, layer)
            live = versions.live_version(session, layer)
            if live is None and to is None:
                raise LayerError(f"{layer.title} has no live version to pin.", "Load it first.")
            if live is None or (to is not None and not live.version.startswith(to)):
                return None
            _refuse_ambiguous(session, layer, to)
            session.execute(pins.pinning(layer, live.version, reason))
            return live
    except errors.LockNotAvailable:
        raise BusyError(f"{layer.title} is being published right now.", "Pin it when that is done.") from None


def _refuse_ambiguous(session: psycopg.Connection, layer: Layer, to: str | None) -> None:
    found = {v.version for v in versions.versions(session, layer) if v.state == "published"}
    if to is not None and len([version for version in found if version.startswith(to)]) > 1:
        raise LayerError(f"{layer.title}: several kept versions begin with {to}.", "Give more of the version's id.")
