"""What prevents or delays publishing a layer, and what a publish changes for others or leaves behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import psycopg
from psycopg import errors, sql

from flux_assets.doctor.finding import Finding, Group
from flux_assets.errors import LayerError, reported
from flux_assets.layers.takeover import Dependent, left_behind, listed, parts, readers
from flux_assets.ledger import status
from flux_assets.postgis import catalog
from flux_assets.postgis.catalog import hidden, hides_rows, protection
from flux_assets.postgis.locking import LockHolder, lock_holders
from flux_assets.postgis.relations import VERSIONS, Layer
from flux_assets.spec import StaticTable
from flux_assets.sqlfiles import query

_LAYERS = Group("Layers")


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
        yield _LAYERS.ok(f"nothing prevents publishing the {len(layers)} layers")
    yield from _waiting(session, [(layer, oid) for layer, oid in published])
    if published:
        yield from _surprises(session, *published[0])


def _of_layer(session: psycopg.Connection, layer: Layer, relation: catalog.Relation | None) -> Iterator[Finding]:
    if relation is None:
        yield from _renamed_by_hand(session, layer)
        return
    if relation.kind != "p":
        kin = [*catalog.kin(session, relation.oid, "heirs"), *catalog.kin(session, relation.oid, "parents")]
        if relation.kind == "r" and kin:
            yield _LAYERS.failed(
                f"{layer.title} is an ordinary table and cannot be taken over: it inherits from, or is inherited by,"
                f" {', '.join(kin)}",
                "End that (ALTER TABLE … NO INHERIT …, which leaves all rows where they are) and load with take_over:"
                " true.",
            )
            return
        if relation.kind == "r" and (protects := protection(session, layer.title, relation.oid))[0]:
            yield _LAYERS.failed(
                f"{layer.title} is an ordinary table and cannot be taken over: it has {protects[0]}, which"
                " the new table would lack",
                f"Revoke the readers' rights, run {protects[1]}; load with take_over: true, create"
                f" the policies on the new {layer.title}, and grant the rights again.",
            )
            return
        if relation.kind == "r" and (left := left_behind(session, layer, relation.oid, ())):
            yield _LAYERS.note(
                f"what stays with the ordinary table {layer.title} when it is taken over: {listed(left)}",
                "Create on the new table what is still needed.",
            )
        yield _LAYERS.failed(
            f"{layer.title} is {status.foreign_kind(relation.kind)} that flux_assets did not create",
            "Load it with take_over: true: the ordinary table is renamed once the new one is ready."
            if relation.kind == "r"
            else f"Rename it to {layer.old_name} and load the layer.",
        )
        return
    try:
        catalog.refuse_folding_keys(LayerError, layer.title, layer.table.key, catalog.columns(session, relation.oid))
    except LayerError as error:
        yield _LAYERS.error(error)
    yield from _strange_partitions(session, layer, relation.oid)
    for key in catalog.kin(session, relation.oid, "inbound_keys"):
        table, _, constraint = key.rstrip(")").partition(" (")
        yield _LAYERS.failed(
            f"the foreign key {constraint} of {table} points at {layer.title}: its versions cannot be swapped",
            f"Run ALTER TABLE {table} DROP CONSTRAINT {constraint}; the audit `relationships` checks references.",
        )
    for index, column in session.execute(query("doctor", "gist_indexes_of_table"), [relation.oid]).fetchall():
        yield from _broken_extent(session, layer, index, column)


def _renamed_by_hand(session: psycopg.Connection, layer: Layer) -> Iterator[Finding]:
    old_title = layer.old_title
    old = catalog.find(session, layer.schema, layer.old_name)
    if old and (protects := protection(session, old_title, old.oid))[0]:
        yield _LAYERS.failed(
            f"{layer.title} is not created while {old_title} has {protects[0]}, which the new table would lack",
            f"Revoke the readers' rights, run {protects[1]}; load, create the"
            f" policies on {layer.title}, and grant the rights again.",
        )


def _strange_partitions(session: psycopg.Connection, layer: Layer, oid: int) -> Iterator[Finding]:
    found = catalog.kin(session, oid, "heirs")
    foreign = [name for name in found if not name.startswith(f"{VERSIONS}.")]
    if foreign or len(found) > 1:
        yield _LAYERS.failed(
            f"{layer.title} has partitions that flux_assets did not create: {', '.join(foreign or found)}",
            "Detach them (ALTER TABLE … DETACH PARTITION …); a layer is one version under a DEFAULT partition.",
        )


def _broken_extent(session: psycopg.Connection, layer: Layer, index: str, column: str) -> Iterator[Finding]:
    """Yield a warning where ST_EstimatedExtent fails; later versions of PostGIS may answer."""
    try:
        session.execute("SELECT ST_EstimatedExtent(%s, %s, %s)", [layer.schema, layer.name, column])
    except psycopg.Error as error:
        yield _LAYERS.warning(
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
        yield _LAYERS.warning(
            f"{holder.description} has read {', '.join(names)}; a publish waits until that transaction ends",
            f"End it where it was begun, or run {holder.ending}.",
        )


def _surprises(session: psycopg.Connection, layer: Layer, oid: int) -> Iterator[Finding]:
    """Yield what surprises users of a partitioned table, tried on one layer, for a later PostgreSQL may differ."""
    name = layer.name
    if not _copies_out(session, layer):
        yield _LAYERS.note(
            f"COPY {name} TO is refused, because a layer is a partitioned table",
            f"Use COPY (SELECT * FROM {name}) TO, or \\copy with the same in psql.",  # noqa: S608 - words
        )
    size = session.execute("SELECT pg_total_relation_size(%s::oid)", [oid]).fetchone()
    if size is not None and size[0] == 0:
        yield _LAYERS.note(
            f"pg_total_relation_size('{name}') is 0, because the rows are in its partition",
            f"Use SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('{name}').",  # noqa: S608 - words
        )
    version = next(iter(catalog.kin(session, oid, "heirs")), f"{VERSIONS}.<its version>")
    yield _LAYERS.note(
        f"pg_dump -t {name} dumps no rows, because the rows are in its partition",
        f"Name both: pg_dump -t {layer.title} -t {version}; from pg_dump 16 on --table-and-children={layer.title}.\n"
        f"Restore into a database that has the schema {VERSIONS}. A dump of the whole database holds everything.",
    )
    yield _LAYERS.note(
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


# A materialized view is as old as its last REFRESH, and row triggers do not fire for the rows of a version.
_NOT_REACHED = {"materialized view", "trigger"}
_VERSIONS = "SELECT inhrelid FROM pg_inherits WHERE inhparent = %s"
_ENABLED = "SELECT relrowsecurity FROM pg_class WHERE oid = %s"


def left_on_tables(session: psycopg.Connection, layers: Sequence[Layer]) -> Iterator[Finding]:
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
        yield _LAYERS.warning(
            f"{old_name}, which {layer.title} replaced, still has what the layer lacks: {listed(found)}",
            f"Create on {layer.title} what is still needed (CREATE OR REPLACE VIEW … for views), and drop"
            f" {old_name} when nothing reads it any more.",
        )
    protects, _ = protection(session, old_name, old.oid)
    if protects and not protection(session, layer.title, heirs[0])[0]:
        yield _LAYERS.warning(
            f"{old_name} has {protects}, and {layer.title} has not: whoever may read the layer sees every row",
            f"Create the policies on {layer.title}, which keeps them through every load.",
        )


def _of_the_version(session: psycopg.Connection, layer: Layer, version: int, public: int) -> Iterator[Finding]:
    if found := _but_policies(left_behind(session, layer, version, [public])):
        yield _LAYERS.warning(
            f"the next publish of {layer.title} drops what depends on its version: {listed(found)}",
            f"Create it on {layer.title} instead, which stays and gives access to every version.",
        )
    protects, _ = protection(session, layer.title, version)
    if protects:
        yield _LAYERS.warning(
            f"the version of {layer.title} has {protects}, which do not apply to readers of"
            f" {layer.title}"
            " and are dropped by the next publish",
            f"Enable row-level security and create the policies on {layer.title}: every version is read through them.",
        )


def _but_policies(found: Sequence[Dependent]) -> list[Dependent]:
    return [each for each in found if each.kind != "policy"]


def _of_the_layer(session: psycopg.Connection, layer: Layer, oid: int) -> Iterator[Finding]:
    both = [*readers(session, oid), *parts(session, oid)]
    if found := [each for each in both if each.kind in _NOT_REACHED]:
        yield _LAYERS.note(
            f"a load of {layer.title} swaps whole versions, which these do not notice: {listed(found)}",
            "LISTEN to flux_published, and then run REFRESH MATERIALIZED VIEW CONCURRENTLY, or what the trigger"
            " would have"
            " done.",
        )
    enabled = session.execute(_ENABLED, [oid]).fetchone()
    if any(each.kind == "policy" for each in both) and not (enabled and enabled[0]):
        yield _LAYERS.warning(
            f"{layer.title} has policies, and row-level security is off: the policies hide nothing",
            f"Run ALTER TABLE {layer.title} ENABLE ROW LEVEL SECURITY, or drop the policies.",
        )
    if hides_rows(session, oid):
        error = hidden(LayerError, session, layer.title)
        yield _LAYERS.failed(error.problem.rstrip("."), error.remedy)


def publications(session: psycopg.Connection, layers: Sequence[Layer]) -> Iterator[Finding]:
    """Yield a warning for each publication whose subscribers keep the rows of a replaced version."""
    schema = layers[0].schema if layers else ""
    asked = {"schema": schema, "names": [layer.name for layer in layers], "versions": VERSIONS}
    for publication, everything, names, whole_schema in session.execute(
        query("doctor", "publications"), asked
    ).fetchall():
        if names:
            yield _LAYERS.warning(
                f"publication {publication} holds {', '.join(names)}: logical replication does not tell a subscriber"
                " that a version was attached, so it keeps the rows that it had, and gets none of a new version",
                _publication_remedy(publication, is_with_versions=everything or whole_schema),
            )
        elif whole_schema:
            yield _LAYERS.note(
                f"publication {publication} holds the schema {VERSIONS}: a subscriber gets a version once it has"
                " created"
                " the version's table and refreshed its subscription",
                "docs/reliability.md has the statements for a subscriber.",
            )


def _publication_remedy(publication: str, *, is_with_versions: bool) -> str:
    by_hand = (
        "After a load, on the subscriber: DROP SUBSCRIPTION …; TRUNCATE the table; CREATE SUBSCRIPTION … again, which"
        " copies it."
    )
    if is_with_versions:
        return f"Have the subscriber create each version's table and refresh (docs/reliability.md). {by_hand}"
    return (
        f"Publish the versions: CREATE PUBLICATION … FOR TABLES IN SCHEMA {VERSIONS} (docs/reliability.md has the"
        f" statements for a subscriber), in place of {publication}. {by_hand}"
    )
