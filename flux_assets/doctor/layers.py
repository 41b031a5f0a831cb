"""What prevents or delays publishing a layer, and what a publish changes for others or leaves behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import psycopg
from psycopg import errors, sql

from flux_assets.checks.audit import Case
from flux_assets.checks.live_audits import all_audits_of
from flux_assets.doctor.finding import Finding, Group, examined
from flux_assets.errors import LayerError, reported
from flux_assets.layers.left_behind import Dependent
from flux_assets.layers.takeover import Takeover
from flux_assets.postgis.catalog import Relation, hidden, refuse_folding_keys
from flux_assets.postgis.locking import LockHolder
from flux_assets.postgis.relations import VERSIONS, Layer, PublicTable
from flux_assets.spec import StaticTable
from flux_assets.sqlfiles import query

_LAYERS = Group("Layers")


def findings(session: psycopg.Connection, schema: str, tables: Sequence[StaticTable]) -> Iterator[Finding]:
    """Yield the findings about single layers, once those about all of them, then those about what others put there."""
    layers = [Layer(schema, table) for table in tables]
    yield from examined(_on_layers(session, layers), _left_on_tables(session, layers), _publications(session, layers))


def _on_layers(session: psycopg.Connection, layers: Sequence[Layer]) -> Iterator[Finding]:
    published: list[tuple[Layer, int]] = []
    is_prevented = False
    for layer in layers:
        relation = Relation.find(session, layer.schema, layer.name)
        if relation is None:
            found = list(_renamed_by_hand(session, layer))
        elif relation.kind != "p":
            found = list(_foreign(session, layer, relation))
        else:
            published.append((layer, relation.oid))
            found = list(_published(session, layer, relation.oid))
        yield from found
        is_prevented = is_prevented or bool(found)
    if not is_prevented:
        yield _LAYERS.ok(f"nothing prevents publishing the {len(layers)} layers")
    yield from _waiting(session, published)
    if published:
        yield from _surprises(session, *published[0])


def _renamed_by_hand(session: psycopg.Connection, layer: Layer) -> Iterator[Finding]:
    old = Relation.find(session, layer.schema, layer.old_name)
    protected, lifting = old.protection(layer.old_title) if old else ("", "")
    if protected:
        yield _LAYERS.failed(
            f"{layer.title} is not created while {layer.old_title} has {protected}, which the new table would lack",
            f"Revoke the readers' rights, run {lifting}; load, create the policies on {layer.title}, and grant the"
            " rights again.",
        )


def _foreign(session: psycopg.Connection, layer: Layer, relation: Relation) -> Iterator[Finding]:
    """Yield what prevents taking over a relation that has the layer's name, or how to do it."""
    problem = f"{layer.title} is {relation.kind_in_words} that flux_assets did not create"
    if relation.kind != "r":
        yield _LAYERS.failed(problem, f"Rename it to {layer.old_name} and load the layer.")
        return
    plan = Takeover.planned(session, layer, relation.oid)
    if refusal := plan.refusal():
        yield _LAYERS.error(refusal)
        return
    details = "\n".join(f"{kind} {name}: {outcome}" for kind, name, outcome in plan.outcomes)
    yield _LAYERS.failed(
        problem,
        f"Run `flux-assets adopt {layer.name}`, or load it with take_over: true: the table becomes {plan.old_name} once"
        f" the new one is ready. What hangs on it:\n{details or 'nothing'}",
    )


def _published(session: psycopg.Connection, layer: Layer, oid: int) -> Iterator[Finding]:
    """Yield what prevents publishing into a partitioned table, and an index that breaks what map servers call."""
    try:
        refuse_folding_keys(LayerError, layer.title, layer.table.key, Relation(session, oid).columns())
    except LayerError as error:
        yield _LAYERS.error(error)
    partitions = Relation(session, oid).kin("heirs")
    foreign = [name for name in partitions if not name.startswith(f"{VERSIONS}.")]
    if foreign or len(partitions) > 1:
        yield _LAYERS.failed(
            f"{layer.title} has partitions that flux_assets did not create: {', '.join(foreign or partitions)}",
            "Detach them (ALTER TABLE … DETACH PARTITION …); a layer is one version under a DEFAULT partition.",
        )
    for key in Relation(session, oid).kin("inbound_keys"):
        table, _, constraint = key.rstrip(")").partition(" (")
        yield _LAYERS.failed(
            f"the foreign key {constraint} of {table} points at {layer.title}: its versions cannot be swapped",
            f"Run ALTER TABLE {table} DROP CONSTRAINT {constraint}; the audit `relationships` checks references.",
        )
    for index, column in session.execute(query("doctor", "gist_indexes_of_table"), [oid]).fetchall():
        try:  # later versions of PostGIS may answer
            session.execute("SELECT ST_EstimatedExtent(%s, %s, %s)", [layer.schema, layer.name, column])
        except psycopg.Error as error:
            yield _LAYERS.warning(
                f"{index} is a GiST index on {layer.title} itself, and ST_EstimatedExtent fails on it, which map"
                f" servers call: {reported(error.diag.message_primary or error)}",
                f"Run DROP INDEX {index}, which drops the live version's index with it, then load {layer.name} with"
                " force: true; each version has a GiST index.",
            )


def _waiting(session: psycopg.Connection, published: Sequence[tuple[Layer, int]]) -> Iterator[Finding]:
    left_open: dict[tuple[int, str | None], tuple[LockHolder, list[str]]] = {}
    for layer, oid in published:
        for holder in LockHolder.find(session, [oid]):
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
    if session.execute("SELECT pg_total_relation_size(%s::oid)", [oid]).fetchone() == (0,):
        yield _LAYERS.note(
            f"pg_total_relation_size('{name}') is 0, because the rows are in its partition",
            f"Use SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('{name}').",  # noqa: S608 - words
        )
    version = next(iter(Relation(session, oid).kin("heirs")), f"{VERSIONS}.<its version>")
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


def _left_on_tables(session: psycopg.Connection, layers: Sequence[Layer]) -> Iterator[Finding]:
    """Yield what others put on a table that a layer replaced, on a version or on the layer, one layer after another."""
    for layer in layers:
        relation = Relation.find(session, layer.schema, layer.name)
        if relation is None or relation.kind != "p":
            continue
        versions = [row[0] for row in session.execute(query("doctor", "versions_of_layer"), [relation.oid])]
        yield from _on_the_old_table(session, layer, [relation.oid, *versions])
        for version in versions:
            yield from _on_the_version(session, layer, version, relation.oid)
        yield from _on_the_layer(session, layer, relation.oid)


def _but_policies(session: psycopg.Connection, layer: Layer, oid: int, heirs: Sequence[int]) -> str:
    return Dependent.listed(
        [each for each in Dependent.left_behind(session, layer, oid, heirs) if each.kind != "policy"]
    )


def _on_the_old_table(session: psycopg.Connection, layer: Layer, heirs: Sequence[int]) -> Iterator[Finding]:
    old = Relation.find(session, layer.schema, layer.old_name)
    if old is None:
        return
    if found := _but_policies(session, layer, old.oid, heirs):
        yield _LAYERS.warning(
            f"{layer.old_title}, which {layer.title} replaced, still has what the layer lacks: {found}",
            f"Create on {layer.title} what is still needed (CREATE OR REPLACE VIEW … for views), and drop"
            f" {layer.old_title} when nothing reads it any more.",
        )
    protected, _ = old.protection(layer.old_title)
    if protected and not Relation(session, heirs[0]).protection(layer.title)[0]:
        yield _LAYERS.warning(
            f"{layer.old_title} has {protected}, and {layer.title} has not: whoever may read the layer sees every row",
            f"Create the policies on {layer.title}, which keeps them through every load.",
        )


def _on_the_version(session: psycopg.Connection, layer: Layer, version: int, public: int) -> Iterator[Finding]:
    if found := _but_policies(session, layer, version, [public]):
        yield _LAYERS.warning(
            f"the next publish of {layer.title} drops what depends on its version: {found}",
            f"Create it on {layer.title} instead, which stays and gives access to every version.",
        )
    protected, _ = Relation(session, version).protection(layer.title)
    if protected:
        yield _LAYERS.warning(
            f"the version of {layer.title} has {protected}, which do not apply to readers of {layer.title} and are"
            " dropped by the next publish",
            f"Enable row-level security and create the policies on {layer.title}: every version is read through them.",
        )


def _on_the_layer(session: psycopg.Connection, layer: Layer, oid: int) -> Iterator[Finding]:
    """Yield what a publish does not update or apply."""
    both = Dependent.of(session, oid)
    if found := [each for each in both if each.kind == "trigger"]:
        yield _LAYERS.note(
            f"a load of {layer.title} swaps whole versions, which these do not notice: {Dependent.listed(found)}",
            "LISTEN to flux_published, and then run what the trigger would have done.",
        )
    yield from hanging_on(_LAYERS, session, layer, "p")
    is_enabled = session.execute(query("doctor", "has_row_security"), [oid]).fetchone() == (True,)
    if any(each.kind == "policy" for each in both) and not is_enabled:
        yield _LAYERS.warning(
            f"{layer.title} has policies, and row-level security is off: the policies hide nothing",
            f"Run ALTER TABLE {layer.title} ENABLE ROW LEVEL SECURITY, or drop the policies.",
        )
    if Relation(session, oid).hides_rows():
        error = hidden(LayerError, session, layer.title)
        yield _LAYERS.failed(error.problem.rstrip("."), error.remedy)


def hanging_on(group: Group, session: psycopg.Connection, table: PublicTable, kind: str) -> Iterator[Finding]:
    """Yield what a load or sync of the table, of a kind as in pg_class.relkind, means for others that read it."""
    yield from _materialized_views(group, session, table, "load" if kind == "p" else "sync")
    yield from _dropped_keys(group, session, table, kind)


def _materialized_views(group: Group, session: psycopg.Connection, table: PublicTable, after: str) -> Iterator[Finding]:
    """Yield the views that are not refreshed `after` a load or sync of the table, and those that block readers then."""
    asked = query("publish", "materialized_views").format(schema=table.schema, names=[table.name])
    for _, schema, name, is_ours, has_key in session.execute(asked).fetchall():
        if not is_ours:
            yield group.warning(
                f"the materialized view {schema}.{name} reads {table.title} and belongs to somebody else: a {after}"
                " does not refresh it",
                f'GRANT its owner TO "{session.info.user}", or LISTEN to flux_published and refresh it then.',
            )
        elif not has_key:
            yield group.note(
                f"a {after} of {table.title} refreshes the materialized view {schema}.{name}, whose readers wait"
                " meanwhile",
                f"CREATE UNIQUE INDEX ON {schema}.{name} (what tells its rows apart), without a condition: then it is"
                " refreshed CONCURRENTLY.",
            )


def _dropped_keys(group: Group, session: psycopg.Connection, table: PublicTable, kind: str) -> Iterator[Finding]:
    """Yield what the foreign keys that were dropped when the table was taken over would refuse by now."""
    remembered = Relation.find(session, "postgres_sync", "dropped_keys")
    if remembered is None or not remembered.may("SELECT"):
        return
    case = Case(connection=session, layer=table, relation=table.public, rows=0, alone=kind != "p")
    for audit in all_audits_of(table.table):
        if audit.name == "dropped_keys":
            for said in audit.run(case).sample:
                yield group.warning(
                    said, "Fix those rows, or their origin; or delete the key from postgres_sync.dropped_keys."
                )


def _publications(session: psycopg.Connection, layers: Sequence[Layer]) -> Iterator[Finding]:
    """Yield a warning for each publication whose subscribers keep the rows of a replaced version."""
    by_hand = (
        "After a load, on the subscriber: DROP SUBSCRIPTION …; TRUNCATE the table; CREATE SUBSCRIPTION … again, which"
        " copies it."
    )
    schema = layers[0].schema if layers else ""
    asked = {"schema": schema, "names": [layer.name for layer in layers], "versions": VERSIONS}
    found = session.execute(query("doctor", "publications"), asked).fetchall()
    for publication, is_of_all_tables, names, is_of_versions in found:
        if names:
            remedy = (
                "Have the subscriber create each version's table and refresh (docs/reliability.md)."
                if is_of_all_tables or is_of_versions
                else f"Publish the versions: CREATE PUBLICATION … FOR TABLES IN SCHEMA {VERSIONS} (docs/reliability.md"
                f" has the statements for a subscriber), in place of {publication}."
            )
            yield _LAYERS.warning(
                f"publication {publication} holds {', '.join(names)}: logical replication does not tell a subscriber"
                " that a version was attached, so it keeps the rows that it had, and gets none of a new version",
                f"{remedy} {by_hand}",
            )
        elif is_of_versions:
            yield _LAYERS.note(
                f"publication {publication} holds the schema {VERSIONS}: a subscriber gets a version once it has"
                " created the version's table and refreshed its subscription",
                "docs/reliability.md has the statements for a subscriber.",
            )
