"""What others put on a table that a layer replaced or on a version, and what a publish does not update."""

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
# A materialized view is as old as its last REFRESH, and row triggers do not fire for the rows of a version.
_NOT_REACHED = {"materialized view", "trigger"}
_VERSIONS = "SELECT inhrelid FROM pg_inherits WHERE inhparent = %s"
_ENABLED = "SELECT relrowsecurity FROM pg_class WHERE oid = %s"


def findings(session: psycopg.Connection, layers: Sequence[Layer]) -> Iterator[Finding]:
    """Yield what stays behind, for one published layer after the other."""
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
            f"{old_name}, which {layer.title} replaced, still has what the layer lacks: {listed(found)}",
            f"Create on {layer.title} what is still needed (CREATE OR REPLACE VIEW … for views), and drop"
            f" {old_name} when nothing reads it any more.",
        )
    protection = protections(session, old.oid)
    if protection and not protections(session, heirs[0]):
        yield _GROUP.warning(
            f"{old_name} has {' and '.join(protection)}, and {layer.title} has not: whoever may read the layer sees"
            " every row",
            f"Create the policies on {layer.title}, which keeps them through every load.",
        )


def _of_the_version(session: psycopg.Connection, layer: Layer, version: int, public: int) -> Iterator[Finding]:
    if found := _but_policies(left_behind(session, layer, version, [public])):
        yield _GROUP.warning(
            f"the next publish of {layer.title} drops what depends on its version: {listed(found)}",
            f"Create it on {layer.title} instead, which stays and gives access to every version.",
        )
    if protection := protections(session, version):
        yield _GROUP.warning(
            f"the version of {layer.title} has {' and '.join(protection)}, which do not apply to readers of"
            f" {layer.title}"
            " and are dropped by the next publish",
            f"Enable row-level security and create the policies on {layer.title}: every version is read through them.",
        )


def _but_policies(found: Sequence[Dependent]) -> list[Dependent]:
    return [each for each in found if each.kind != "policy"]


def _of_the_layer(session: psycopg.Connection, layer: Layer, oid: int) -> Iterator[Finding]:
    both = [*readers(session, oid), *parts(session, oid)]
    if found := [each for each in both if each.kind in _NOT_REACHED]:
        yield _GROUP.note(
            f"a load of {layer.title} swaps whole versions, which these do not notice: {listed(found)}",
            "LISTEN to flux_published, and then run REFRESH MATERIALIZED VIEW CONCURRENTLY, or what the trigger"
            " would have"
            " done.",
        )
    enabled = session.execute(_ENABLED, [oid]).fetchone()
    if any(each.kind == "policy" for each in both) and not (enabled and enabled[0]):
        yield _GROUP.warning(
            f"{layer.title} has policies, and row-level security is off: the policies hide nothing",
            f"Run ALTER TABLE {layer.title} ENABLE ROW LEVEL SECURITY, or drop the policies.",
        )
    if hides_rows(session, oid):
        error = hidden(LayerError, session, layer.title)
        yield _GROUP.failed(error.problem.rstrip("."), error.remedy)
