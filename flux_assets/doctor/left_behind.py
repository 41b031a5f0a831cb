"""What others put on a table that gave way, or that will: views, policies, triggers and whatever else stays with it.

Here: tables that were taken over, versions that the next publish takes away, and what a publish does not reach. Not
here: what keeps a layer from being published (layers.py), and publications (replication.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import psycopg

from flux_assets.doctor.finding import Finding, Group
from flux_assets.errors import LayerError
from flux_assets.layers.takeover import Dependent, left_behind, listed, parts, readers
from flux_assets.postgis import catalog
from flux_assets.postgis.names import Layer
from flux_assets.postgis.row_security import hidden, hides_rows, protections

_GROUP = Group("Layers")
# A copy of rows is as old as its last REFRESH, and triggers of rows see none that a version brings.
_NOT_REACHED = {"materialized view", "trigger"}
_VERSIONS = "SELECT inhrelid FROM pg_inherits WHERE inhparent = %s"
_ENABLED = "SELECT relrowsecurity FROM pg_class WHERE oid = %s"


def findings(session: psycopg.Connection, layers: Sequence[Layer]) -> Iterator[Finding]:
    """What stays behind, of each published layer in turn."""
    for layer in layers:
        relation = catalog.find(session, layer.schema, layer.name)
        if relation is None or relation.kind != "p":
            continue
        versions = [row[0] for row in session.execute(_VERSIONS, [relation.oid])]
        yield from _of_the_old_table(session, layer, [relation.oid, *versions])
        for version in versions:
            yield from _of_the_version(session, layer, version, relation.oid)
        yield from _of_the_layer(session, layer, relation.oid)


def _of_the_old_table(session: psycopg.Connection, layer: Layer, heirs: Sequence[int]) -> Iterator[Finding]:
    old_name = layer.old_title
    old = catalog.find(session, layer.schema, layer.old_name)
    if old is None:
        return
    if found := _but_policies(left_behind(session, layer, old.oid, heirs)):
        yield _GROUP.warning(
            f"{old_name}, which {layer.title} took the place of, still has what the layer has not: {listed(found)}",
            f"Make again on {layer.title} what is still needed (CREATE OR REPLACE VIEW … for views), and drop"
            f" {old_name} when nothing reads it any more.",
        )
    said = protections(session, old.oid)
    if said and not protections(session, heirs[0]):
        yield _GROUP.warning(
            f"{old_name} has {' and '.join(said)}, and {layer.title} has nothing of it: whoever may read the layer sees"
            " every row",
            f"Create the policies on {layer.title}, which keeps them through every load.",
        )


def _of_the_version(session: psycopg.Connection, layer: Layer, version: int, public: int) -> Iterator[Finding]:
    if found := _but_policies(left_behind(session, layer, version, [public])):
        yield _GROUP.warning(
            f"what stands on the version of {layer.title} goes with it at the next publish: {listed(found)}",
            f"Make it on {layer.title} instead, which stays: whatever reads or guards that follows every version.",
        )
    if said := protections(session, version):
        yield _GROUP.warning(
            f"the version of {layer.title} has {' and '.join(said)}, which hold for nobody who reads {layer.title}, and"
            " go at the next publish",
            f"Enable row-level security and create the policies on {layer.title}: every version is read through them.",
        )


def _but_policies(found: Sequence[Dependent]) -> list[Dependent]:
    return [each for each in found if each.kind != "policy"]


def _of_the_layer(session: psycopg.Connection, layer: Layer, oid: int) -> Iterator[Finding]:
    both = [*readers(session, oid), *parts(session, oid)]
    if found := [each for each in both if each.kind in _NOT_REACHED]:
        yield _GROUP.note(
            f"a load of {layer.title} swaps whole versions, which these do not notice: {listed(found)}",
            "LISTEN flux_published, and run REFRESH MATERIALIZED VIEW CONCURRENTLY, or what the trigger would have"
            " done, then.",
        )
    enabled = session.execute(_ENABLED, [oid]).fetchone()
    if any(each.kind == "policy" for each in both) and not (enabled and enabled[0]):
        yield _GROUP.warning(
            f"{layer.title} has policies, and row-level security is off: they hide nothing",
            f"Run ALTER TABLE {layer.title} ENABLE ROW LEVEL SECURITY, or drop the policies.",
        )
    if hides_rows(session, oid):
        error = hidden(LayerError, session, layer.title)
        yield _GROUP.failed(error.problem.rstrip("."), error.remedy)
