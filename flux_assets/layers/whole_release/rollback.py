"""Going back to a release: all layers at once, or none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import psycopg

from flux_assets.errors import LayerError
from flux_assets.layers import publish, schema_diff
from flux_assets.layers.context import LoadOptions, recorded
from flux_assets.layers.indexes import make_equal
from flux_assets.layers.publish import Publication
from flux_assets.layers.versions import LayerState, Version, VersionTimes
from flux_assets.ledger.runs import Lease, leased
from flux_assets.postgis import relations
from flux_assets.postgis.locking import LockRetries
from flux_assets.postgis.relations import Layer
from flux_assets.postgis.session import Target, translated
from flux_assets.spec import StaticTable


@dataclass(frozen=True, kw_only=True)
class ReleaseRollback:
    """Layers that went back, and those that were of the release already; all are pinned to these versions now."""

    moved: list[tuple[StaticTable, Version]]
    stayed: list[tuple[StaticTable, Version]]


def rollback_release(
    tables: Sequence[StaticTable], target: Target, options: LoadOptions, log: Callable[[str], None], tag: str
) -> ReleaseRollback:
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
        return ReleaseRollback(
            moved=[(layer.table, _as_live(control, layer, version)) for layer, version in moving.items()],
            stayed=[(layer.table, version) for layer, version in staying.items()],
        )


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


def _as_live(control: psycopg.Connection, layer: Layer, version: Version) -> Version:
    relations.analyze(control, layer.public)
    return replace(version, current=True, published_at=VersionTimes.of(control, layer).published_at)


def _planned(
    connection: psycopg.Connection, layers: Sequence[Layer], tag: str
) -> tuple[dict[Layer, Version], dict[Layer, Version]]:
    """Return the version of release `tag` that each layer has to go back to, and that of each that is at it already.

    Layers that were never published are left out. Raises LayerError naming every layer of which no version of the
    release is kept, and what there is of it.
    """
    moving: dict[Layer, Version] = {}
    staying: dict[Layer, Version] = {}
    lacking = []
    for layer in layers:
        known = Version.known(connection, layer)
        published = [version for version in known if version.state == "published"]
        if not published:
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
