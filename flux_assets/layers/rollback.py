"""What a person decides about versions: rolling a layer back to a kept one, or all to a release, pinning, unpinning."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import psycopg
from psycopg import errors

from flux_assets.errors import BusyError, FluxError, LayerError, PinnedError
from flux_assets.layers import publish, schema_diff
from flux_assets.layers.context import LoadOptions, recorded
from flux_assets.layers.indexes import make_equal
from flux_assets.layers.load import load_layer
from flux_assets.layers.publish import Publication
from flux_assets.layers.versions import LayerState, Pin, Version
from flux_assets.ledger.runs import Lease, leased, reach
from flux_assets.postgis import relations
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.locking import LockRetries, refresh_views
from flux_assets.postgis.relations import Layer
from flux_assets.postgis.session import Target, translated
from flux_assets.spec import StaticTable

# A publish holds the lease's row for less than a second; who holds it longer is stopped or frozen.
_LEASE_WAIT_MS = 10_000
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
        refresh_views(control, [layer], log, log, options.stop)
        reach("rollback.analyzed")
        return version.as_published(control, layer)


@dataclass(frozen=True, kw_only=True)
class _ReleaseRollback:
    """Layers that went back, and those that were of the release already; all are pinned to these versions now."""

    moved: list[tuple[StaticTable, Version]]
    stayed: list[tuple[StaticTable, Version]]


def rollback_release(
    tables: Sequence[StaticTable], target: Target, options: LoadOptions, log: Callable[[str], None], tag: str
) -> _ReleaseRollback:
    """Publish, in one transaction, the kept version of release `tag` of every layer that was ever published.

    All are pinned in it, also those that are of the release already. Raises LayerError naming the layers that have no
    such version, PublishError when they cannot be swapped in now; then none has changed.
    """
    layers = [Layer(target.schema, table) for table in sorted(tables, key=lambda table: table.name)]
    title = f"Release {tag}"
    with target.prepared(title, "look", options.stop) as session:
        moving, staying = _planned(session, layers, tag)
    with (
        recorded(title, list(moving), target, options, log, "ROLLBACK") as (control, contexts),
        _leased(control, target, options.patience(log), [*moving, *staying]) as taken,
    ):
        if _planned(control, list(taken), tag) != (moving, staying):
            raise LayerError("A layer was published meanwhile; no layer was rolled back.", "Run it again.")
        publications = []
        for context in contexts:
            layer, version = context.layer, moving[context.layer]
            with translated(layer.title, options.stop):
                public = schema_diff.reconcile(context, LayerState.of(control, layer), taken[layer])
                make_equal(context, version, public)
            pin = f"rolled back to release {tag}"
            publications.append(Publication(layer, public, version, taken[layer], context.entry, pin))
        pins = [
            part
            for layer, version in staying.items()
            for part in (taken[layer].holding(), version.pinning(layer, f"kept at release {tag}"))
        ]
        publish.publish(control, target, publications, options.patience(log), pins)
        for layer in moving:
            relations.analyze(control, layer.public)
        if moving:
            refresh_views(control, list(moving), log, log, options.stop)
        return _ReleaseRollback(
            moved=[(layer.table, version.as_published(control, layer)) for layer, version in moving.items()],
            stayed=[(layer.table, version) for layer, version in staying.items()],
        )


def bring_along(
    derived: Sequence[StaticTable], target: Target, options: LoadOptions, log: Callable[[str], None]
) -> Iterator[tuple[StaticTable, Version, bool, FluxError | None]]:
    """Have computed layers, each after its inputs, follow the inputs that are published; yield those that were behind.

    A kept version that was computed of exactly these inputs is published again, else one is computed. What was never
    published, or loaded from a file, stays. With a table come its live version, whether that had been kept, and why the
    table is behind, where it is.
    """
    for table in derived:
        layer = Layer(target.schema, table)
        with target.prepared(layer.title, f"look {layer.name}", options.stop) as session:
            live = Version.live(session, layer)
            if live is None or live.inputs is None:
                continue
            known = {version.version for version in Version.known(session, layer) if version.state == "published"}
            error: FluxError | None = None
            try:
                result = load_layer(table, None, target, replace(options, brought_along=True), log)
                if result.outcome == "unchanged":
                    continue
                if result.pin is not None:
                    error = PinnedError(f"{layer.title} is {result.pin}.", f"Run `flux-assets unpin {layer.name}`.")
            except FluxError as failed:
                error = failed
            version = Version.live(session, layer) or live
            yield table, version, version.version in known, error


@contextmanager
def _leased(
    control: psycopg.Connection, target: Target, patience: LockRetries, layers: Iterable[Layer]
) -> Iterator[dict[Layer, Lease]]:
    """Hold the leases of the layers, and that of whole releases: two such runs would wait for each other's."""
    with ExitStack() as held:
        held.enter_context(leased(control, target, patience))
        yield {
            layer: held.enter_context(leased(control, target, patience, layer))
            for layer in sorted(layers, key=lambda layer: layer.name)
        }


def _planned(
    connection: psycopg.Connection, layers: Sequence[Layer], tag: str
) -> tuple[dict[Layer, Version], dict[Layer, Version]]:
    """Return the version of release `tag` that each layer has to go back to, and that of each that is at it already.

    Layers that were never published are left out, and computed ones that the release had no file of. Raises LayerError
    naming every layer of which no version of the release is kept, and what there is of it.
    """
    moving: dict[Layer, Version] = {}
    staying: dict[Layer, Version] = {}
    lacking = []
    for layer in layers:
        known = Version.known(connection, layer)
        published = [version for version in known if version.state == "published"]
        from_file = [version for version in published if version.inputs is None]
        if not published or (layer.table.computed and not any(v.current or v.is_of(tag) for v in from_file)):
            continue
        fitting = [version for version in published if version.is_of(tag)]
        current = next((version for version in fitting if version.current), None)
        if current is not None and Version.live(connection, layer) is not None:
            staying[layer] = current
        elif whole := [version for version in fitting if not version.current and version.is_whole(connection)]:
            moving[layer] = max(whole, key=lambda version: version.published_at or version.staged_at)
        else:
            tags = dict.fromkeys(tag for version in published for tag in (version.release_tag, *version.further_tags))
            lacking.append(f"{layer.title} (has {', '.join(tags)})")
    if lacking or not (moving or staying):
        raise LayerError(
            f"No layer was rolled back: no whole version of release {tag} is kept of"
            f" {'; '.join(lacking) or 'any layer'}.",
            "See `flux-assets versions`; load that release instead (FLUX_RELEASE), or roll single layers back."
            " FLUX_KEEP_VERSIONS and FLUX_KEEP_BYTES say what is kept.",
        )
    return moving, staying


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
            session.execute(f"SET LOCAL lock_timeout = '{_LEASE_WAIT_MS}ms'")
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
