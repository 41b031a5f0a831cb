"""What prevents or delays publishing a layer, and what a partitioned public table changes for its users."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import psycopg
from psycopg import errors, sql

from flux_assets.doctor.finding import Finding, Group
from flux_assets.errors import LayerError, reported
from flux_assets.layers.takeover import left_behind, listed
from flux_assets.ledger import status
from flux_assets.postgis import catalog, row_security
from flux_assets.postgis.lock_holders import LockHolder, lock_holders
from flux_assets.postgis.names import VERSIONS, Layer
from flux_assets.spec import StaticTable
from flux_assets.sqlfiles import query

_GROUP = Group("Layers")


def findings(session: psycopg.Connection, schema: str, tables: Sequence[StaticTable]) -> Iterator[Finding]:
    """Yield the findings about single layers, then once those about all of them."""
    layers = [Layer(schema, table) for table in tables]
    published = []
    prevented = False
    for layer in layers:
        relation = catalog.find(session, schema, layer.name)
        if relation is not None and relation.kind == "p":
            published.append((layer, relation.oid))
        for finding in _of_layer(session, layer, relation):
            prevented = True
            yield finding
    if not prevented:
        yield _GROUP.ok(f"nothing prevents publishing the {len(layers)} layers")
    yield from _waiting(session, [(layer, oid) for layer, oid in published])
    if published:
        yield from _surprises(session, *published[0])


def _of_layer(session: psycopg.Connection, layer: Layer, relation: catalog.Relation | None) -> Iterator[Finding]:
    if relation is None:
        yield from _renamed_by_hand(session, layer)
        return
    if relation.kind != "p":
        kin = [*catalog.heirs(session, relation.oid), *catalog.parents(session, relation.oid)]
        if relation.kind == "r" and kin:
            yield _GROUP.failed(
                f"{layer.title} is an ordinary table and cannot be taken over: it inherits from, or is inherited by,"
                f" {', '.join(kin)}",
                "End that (ALTER TABLE … NO INHERIT …, which leaves all rows where they are) and load with take_over:"
                " true.",
            )
            return
        if relation.kind == "r" and (protection := row_security.protections(session, relation.oid)):
            yield _GROUP.failed(
                f"{layer.title} is an ordinary table and cannot be taken over: it has {' and '.join(protection)}, which"
                " the new table would lack",
                f"Revoke the readers' rights, run {row_security.lifting(session, layer.title, relation.oid)}; load"
                f" with take_over: true, create the policies on the new {layer.title}, and grant the rights again.",
            )
            return
        if relation.kind == "r" and (left := left_behind(session, layer, relation.oid, ())):
            yield _GROUP.note(
                f"what stays with the ordinary table {layer.title} when it is taken over: {listed(left)}",
                "Create on the new table what is still needed.",
            )
        yield _GROUP.failed(
            f"{layer.title} is {status.foreign_kind(relation.kind)} that flux_assets did not create",
            "Load it with take_over: true: the ordinary table is renamed once the new one is ready."
            if relation.kind == "r"
            else f"Rename it to {layer.old_name} and load the layer.",
        )
        return
    try:
        catalog.refuse_folding_keys(LayerError, layer.title, layer.table.key, catalog.columns(session, relation.oid))
    except LayerError as error:
        yield _GROUP.error(error)
    yield from _strange_partitions(session, layer, relation.oid)
    for key in catalog.inbound_keys(session, relation.oid):
        table, _, constraint = key.rstrip(")").partition(" (")
        yield _GROUP.failed(
            f"the foreign key {constraint} of {table} points at {layer.title}: its versions cannot be swapped",
            f"Run ALTER TABLE {table} DROP CONSTRAINT {constraint}; the audit `relationships` checks references.",
        )
    for index, column in session.execute(query("doctor", "gist_indexes_of_table"), [relation.oid]).fetchall():
        yield from _broken_extent(session, layer, index, column)


def _renamed_by_hand(session: psycopg.Connection, layer: Layer) -> Iterator[Finding]:
    old_title = layer.old_title
    old = catalog.find(session, layer.schema, layer.old_name)
    if old and (protection := row_security.protections(session, old.oid)):
        yield _GROUP.failed(
            f"{layer.title} is not created while {old_title} has {' and '.join(protection)}, which the new table"
            " would lack",
            f"Revoke the readers' rights, run {row_security.lifting(session, old_title, old.oid)}; load, create the"
            f" policies on {layer.title}, and grant the rights again.",
        )


def _strange_partitions(session: psycopg.Connection, layer: Layer, oid: int) -> Iterator[Finding]:
    found = catalog.partitions(session, oid)
    foreign = [name for name in found if not name.startswith(f"{VERSIONS}.")]
    if foreign or len(found) > 1:
        yield _GROUP.failed(
            f"{layer.title} has partitions that flux_assets did not create: {', '.join(foreign or found)}",
            "Detach them (ALTER TABLE … DETACH PARTITION …); a layer is one version under a DEFAULT partition.",
        )


def _broken_extent(session: psycopg.Connection, layer: Layer, index: str, column: str) -> Iterator[Finding]:
    """Yield a warning where ST_EstimatedExtent fails; later versions of PostGIS may answer."""
    try:
        session.execute("SELECT ST_EstimatedExtent(%s, %s, %s)", [layer.schema, layer.name, column])
    except psycopg.Error as error:
        yield _GROUP.warning(
            f"{index} is a GiST index on {layer.title} itself, and ST_EstimatedExtent fails on it, which map servers"
            f" call: {reported(error.diag.message_primary or error)}",
            f"Run DROP INDEX {index}, which drops the live version's index with it, then load {layer.name} with"
            " force: true; each version has a GiST index.",
        )


def _waiting(session: psycopg.Connection, published: Sequence[tuple[Layer, int]]) -> Iterator[Finding]:
    left_open: dict[tuple[int, str | None], tuple[LockHolder, list[str]]] = {}
    for layer, oid in published:
        for holder in lock_holders(session, [oid]):
            if holder.is_left_open:
                left_open.setdefault((holder.pid, holder.gid), (holder, []))[1].append(layer.name)
    for holder, names in left_open.values():
        yield _GROUP.warning(
            f"{holder.description} has read {', '.join(names)}; a publish waits until that transaction ends",
            f"End it where it was begun, or run {holder.ending}.",
        )


def _surprises(session: psycopg.Connection, layer: Layer, oid: int) -> Iterator[Finding]:
    """Yield what surprises users of a partitioned table, tried on one layer, for a later PostgreSQL may differ."""
    name = layer.name
    if not _copies_out(session, layer):
        yield _GROUP.note(
            f"COPY {name} TO is refused, because a layer is a partitioned table",
            f"Use COPY (SELECT * FROM {name}) TO, or \\copy with the same in psql.",  # noqa: S608 - words
        )
    size = session.execute("SELECT pg_total_relation_size(%s::oid)", [oid]).fetchone()
    if size is not None and size[0] == 0:
        yield _GROUP.note(
            f"pg_total_relation_size('{name}') is 0, because the rows are in its partition",
            f"Use SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('{name}').",  # noqa: S608 - words
        )
    version = next(iter(catalog.partitions(session, oid)), f"{VERSIONS}.<its version>")
    yield _GROUP.note(
        f"pg_dump -t {name} dumps no rows, because the rows are in its partition",
        f"Name both: pg_dump -t {layer.title} -t {version}; from pg_dump 16 on --table-and-children={layer.title}.\n"
        f"Restore into a database that has the schema {VERSIONS}. A dump of the whole database holds everything.",
    )
    yield _GROUP.note(
        f"CREATE INDEX CONCURRENTLY ON {name} is refused, because a layer is a partitioned table",
        f"Use CREATE INDEX ON {name}: readers are not blocked while it is built, and later versions get an equal"
        " one before they are published.",
    )


def _copies_out(session: psycopg.Connection, layer: Layer) -> bool:
    try:
        with session.cursor().copy(sql.SQL("COPY {} TO STDOUT").format(layer.public)) as copy:
            next(iter(copy), None)
    except (errors.WrongObjectType, errors.InsufficientPrivilege):  # the right to read is asked about first
        return False
    return True
