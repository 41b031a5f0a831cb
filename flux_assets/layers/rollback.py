"""What a person decides about the version of a layer: rolling back to a kept one, pinning, unpinning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import psycopg
from psycopg import errors

from flux_assets.errors import BusyError, LayerError
from flux_assets.layers import indexes, publish, schema_diff, versions
from flux_assets.layers.context import LoadOptions, recorded
from flux_assets.layers.indexes import make_equal
from flux_assets.layers.publish import Publication, Swap
from flux_assets.layers.versions import Pin, Version, ask_state
from flux_assets.ledger import leases
from flux_assets.postgis import relations
from flux_assets.postgis.relations import Layer
from flux_assets.postgis.session import Target, prepare, translated
from flux_assets.spec import StaticTable
from flux_assets.steps import reach


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
    _refuse_hopeless(layer, target, options, to)
    with (
        recorded(layer, target, options, "ROLLBACK") as (control, entry),
        leases.leased(control, target, layer, options.patience(log)) as lease,
    ):
        reach("rollback.leased")
        version = _kept_version(control, layer, to)
        public = schema_diff.reconcile(control, layer, ask_state(control, layer), lease, options.patience(log))
        reach("rollback.reconciled")
        make_equal(control, layer, target, options, version.relation, public)
        reach("rollback.before_swap")
        swap = Swap(version, lease, entry, "ROLLBACK", pin=reason or pin_reason(control, layer))
        publish.publish(control, target, [Publication(layer, public, swap)], options.patience(log))
        reach("rollback.swapped")
        relations.analyze(control, layer.public)
        reach("rollback.analyzed")
        return replace(version, current=True, published_at=versions.version_times(control, layer).published_at)


def pin_reason(connection: psycopg.Connection, layer: Layer) -> str:
    """Return why a layer is pinned that is about to be rolled back."""
    current = next((version for version in versions.known_versions(connection, layer) if version.current), None)
    return f"rolled back from version {current.version[:12]}" if current else "rolled back"


def _refuse_hopeless(layer: Layer, target: Target, options: LoadOptions, to: str | None) -> None:
    """Raise LayerError for a version that is not there, which is no failed run for the ledger."""
    with translated(layer.title, options.stop), target.session(f"look {layer.name}", options.stop) as session:
        prepare(session, target.schema)
        _kept_version(session, layer, to)


def _kept_version(connection: psycopg.Connection, layer: Layer, to: str | None) -> Version:
    found = versions.known_versions(connection, layer)
    kept = [version for version in found if version.state == "published" and not version.current]
    kept.sort(key=lambda version: version.published_at or version.staged_at, reverse=True)
    fitting = [version for version in kept if to is None or version.version.startswith(to)]
    if not fitting:
        names = ", ".join(version.version[:12] for version in kept) or "none"
        raise LayerError(
            f"{layer.title} has no {f'kept version {to}' if to else 'earlier version'} to roll back to; kept: {names}.",
            "See `flux-assets versions`; FLUX_KEEP_VERSIONS says how many are kept.",
        )
    if not indexes.is_whole(connection, fitting[0].relation, fitting[0].rows):
        raise LayerError(
            f"{layer.title}: version {fitting[0].version[:12]} is not published: its table"
            f" flux_versions.{fitting[0].relation} is gone or has lost rows.",
            "Choose another version (`flux-assets versions`), or load the release it came from.",
        )
    if to is not None and len({version.version for version in fitting}) > 1:
        raise LayerError(f"{layer.title}: several kept versions begin with {to}.", "Give more of the version's id.")
    return fitting[0]


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
    with translated(layer.title, options.stop), target.session(f"pin {layer.name}", options.stop) as session:
        prepare(session, target.schema)
        live = _pin_live(session, layer, to, reason)
        version = live or rollback(table, target, options, log, to, reason=reason)
        found = versions.pin_of(session, layer)
    if found is None:
        raise LayerError(f"{layer.title} was unpinned meanwhile.", "Pin it again if it is to stay.")
    return Pinned(pin=found, version=version, published=live is None)


def unpin(table: StaticTable, target: Target) -> bool:
    """Let loads publish the layer again; returns whether it was pinned."""
    layer, options = Layer(target.schema, table), LoadOptions()
    with translated(layer.title, options.stop), target.session(f"unpin {layer.name}") as session:
        prepare(session, target.schema)
        return versions.unpin(session, layer)


def _pin_live(session: psycopg.Connection, layer: Layer, to: str | None, reason: str) -> Version | None:
    """Pin the live version when it is the one asked for; None when it is another."""
    try:
        with session.transaction():
            session.execute(f"SET LOCAL lock_timeout = '{LEASE_WAIT_MS}ms'")
            # Until this transaction ends nobody publishes: what is live when the pin is set is what is pinned.
            versions.hold_still(session, layer)
            live = versions.live_version(session, layer)
            if live is None and to is None:
                raise LayerError(f"{layer.title} has no live version to pin.", "Load it first.")
            if live is None or (to is not None and not live.version.startswith(to)):
                return None
            _refuse_ambiguous(session, layer, to)
            session.execute(versions.pinning(layer, live.version, reason))
            return live
    except errors.LockNotAvailable:
        raise BusyError(f"{layer.title} is being published right now.", "Pin it when that is done.") from None


def _refuse_ambiguous(session: psycopg.Connection, layer: Layer, to: str | None) -> None:
    found = {v.version for v in versions.known_versions(session, layer) if v.state == "published"}
    if to is not None and len([version for version in found if version.startswith(to)]) > 1:
        raise LayerError(f"{layer.title}: several kept versions begin with {to}.", "Give more of the version's id.")
