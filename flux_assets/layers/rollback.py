"""What a person decides about the version of a layer: rolling back to a kept one, pinning, unpinning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import psycopg
from psycopg import errors

from flux_assets.errors import BusyError, LayerError
from flux_assets.layers import publish, schema_diff
from flux_assets.layers.context import LoadOptions, recorded
from flux_assets.layers.indexes import make_equal
from flux_assets.layers.publish import Publication
from flux_assets.layers.versions import LayerState, Pin, Version, VersionTimes
from flux_assets.ledger.runs import leased, reach
from flux_assets.postgis import relations
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.relations import Layer
from flux_assets.postgis.session import Target
from flux_assets.spec import StaticTable

# A publish holds the lease's row for less than a second; who holds it longer is stopped or frozen.
LEASE_WAIT_MS = 10_000
_LONGEST_REASON = 200


def rollback(
    table: StaticTable,
    target: Target,
    options: LoadOptions,
    log: Callable[[str], None],
    to: str | None = None,
    *,
    reason: str = "",
) -> Version:
    """Publish a kept earlier version of a layer: the one whose id begins with `to`, or the one published last before.

    The layer is pinned to it in the same transaction, for the `reason` given, else for the rollback. Raises LayerError
    when there is no such version, PublishError when it cannot be swapped in now.
    """
    layer = Layer(target.schema, table)
    with target.prepared(layer.title, f"look {layer.name}", options.stop) as session:
        _kept_version(layer, session, to)  # a version that is not there is no failed run for the ledger
    with (
        recorded(layer.title, [layer], target, options, log, "ROLLBACK") as (control, [context]),
        leased(control, target, context.patience, layer) as lease,
    ):
        reach("rollback.leased")
        version, current = _kept_version(layer, control, to)
        public = schema_diff.reconcile(context, LayerState.of(control, layer), lease)
        reach("rollback.reconciled")
        make_equal(context, version, public)
        reach("rollback.before_swap")
        before = f"rolled back from version {current.version[:12]}" if current else "rolled back"
        publication = Publication(layer, public, version, lease, context.entry, pin=reason or before)
        publish.publish(control, target, [publication], context.patience)
        reach("rollback.swapped")
        relations.analyze(control, layer.public)
        reach("rollback.analyzed")
        return replace(version, current=True, published_at=VersionTimes.of(control, layer).published_at)


def _kept_version(layer: Layer, connection: psycopg.Connection, to: str | None) -> tuple[Version, Version | None]:
    """Return the version to roll back to, and the register's current one."""
    found = Version.known(connection, layer)
    kept = [version for version in found if version.state == "published" and not version.current]
    kept.sort(key=lambda version: version.published_at or version.staged_at, reverse=True)
    fitting = [version for version in kept if to is None or version.version.startswith(to)]
    if not fitting:
        names = ", ".join(version.version[:12] for version in kept) or "none"
        raise LayerError(
            f"{layer.title} has no {f'kept version {to}' if to else 'earlier version'} to roll back to; kept: {names}.",
            "See `flux-assets versions`; FLUX_KEEP_VERSIONS says how many are kept.",
        )
    version = fitting[0]
    if not version.is_whole(connection):
        raise LayerError(
            f"{layer.title}: version {version.version[:12]} is not published: its table"
            f" flux_versions.{version.relation} is gone or has lost rows.",
            "Choose another version (`flux-assets versions`), or load the release it came from.",
        )
    if to is not None:
        _refuse_ambiguous(layer, to, fitting)
    return version, next((version for version in found if version.current), None)


def _refuse_ambiguous(layer: Layer, to: str, fitting: list[Version]) -> None:
    if len({version.version for version in fitting}) > 1:
        raise LayerError(f"{layer.title}: several kept versions begin with {to}.", "Give more of the version's id.")


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
    with target.prepared(layer.title, f"pin {layer.name}", options.stop) as session:
        live = _pin_live(session, layer, to, reason)
        version = live or rollback(table, target, options, log, to, reason=reason)
        found = Pin.of(session, layer)
    if found is None:
        raise LayerError(f"{layer.title} was unpinned meanwhile.", "Pin it again if it is to stay.")
    return Pinned(pin=found, version=version, published=live is None)


def unpin(table: StaticTable, target: Target) -> bool:
    """Let loads publish the layer again; returns whether it was pinned."""
    layer = Layer(target.schema, table)
    statement = "DELETE FROM postgres_sync.layer_pins WHERE schema_name = %s AND layer_name = %s"
    with target.prepared(layer.title, f"unpin {layer.name}", Stop()) as session:
        return session.execute(statement, [layer.schema, layer.name]).rowcount > 0


def _pin_live(session: psycopg.Connection, layer: Layer, to: str | None, reason: str) -> Version | None:
    """Pin the live version when it is the one asked for; None when it is another."""
    leased = "SELECT FROM postgres_sync.layer_leases WHERE schema_name = %s AND layer_name = %s FOR UPDATE"
    try:
        with session.transaction():
            session.execute(f"SET LOCAL lock_timeout = '{LEASE_WAIT_MS}ms'")
            # Until this transaction ends nobody publishes: what is live when the pin is set is what is pinned.
            session.execute(leased, [layer.schema, layer.name])
            live = Version.live(session, layer)
            if live is None and to is None:
                raise LayerError(f"{layer.title} has no live version to pin.", "Load it first.")
            if live is None or (to is not None and not live.version.startswith(to)):
                return None
            if to is not None:
                published = [each for each in Version.known(session, layer) if each.state == "published"]
                _refuse_ambiguous(layer, to, [each for each in published if each.version.startswith(to)])
            session.execute(live.pinning(layer, reason))
            return live
    except errors.LockNotAvailable:
        raise BusyError(f"{layer.title} is being published right now.", "Pin it when that is done.") from None
