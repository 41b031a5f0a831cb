"""Taking the name of a plain table that another loader left, without a moment in which readers find nothing.

Here: the statements that rename it and give its grants to the new table, for the publish transaction. The old table
is never dropped or emptied. Not here: deciding whether that is wanted (shape.py), the transaction (publish.py), what
else stays with the old table (dependents.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
from psycopg import sql

from flux_assets.errors import LayerError
from flux_assets.layers.dependents import VIEWS, left_behind, listed, undeclared_columns
from flux_assets.postgis import catalog
from flux_assets.postgis.ddl import revoking_all
from flux_assets.postgis.names import Layer
from flux_assets.postgis.row_security import refuse_unprotected_copy

_GRANTS = """
SELECT privilege_type, NULL AS column_name, grantee::regrole::text, is_grantable
FROM pg_class, aclexplode(coalesce(relacl, acldefault('r', relowner)))
WHERE oid = %(oid)s AND grantee <> current_user::regrole
UNION ALL
SELECT acl.privilege_type, attname, acl.grantee::regrole::text, acl.is_grantable
FROM pg_attribute, aclexplode(attacl) AS acl WHERE attrelid = %(oid)s AND attnum > 0 AND NOT attisdropped
  AND acl.grantee <> current_user::regrole
"""
_OWNER = "SELECT relowner::regrole::text, relowner = current_user::regrole FROM pg_class WHERE oid = %s"


def announce(connection: psycopg.Connection, layer: Layer, oid: int, log: Callable[[str], None]) -> None:
    """Say what will happen at the swap, and what stays with the old table.

    Raises LayerError when its new name is taken, when it is kin, or when something protects its rows.
    """
    _refuse_kin(connection, layer, oid)
    refuse_unprotected_copy(LayerError, connection, layer.title, layer.title, oid)
    if catalog.find(connection, layer.schema, layer.old_name):
        raise LayerError(
            f"{layer.title} cannot be renamed to {layer.old_name}, for there is a table of that name already.",
            "Rename or drop one of the two.",
        )
    left = [*undeclared_columns(connection, layer, oid), *left_behind(connection, layer, oid, ())]
    views = [each.name for each in left if each.kind in VIEWS]
    reading = f"; these views go on reading it: {', '.join(views)}" if views else ""
    log(f"{layer.title} is a plain table: at the swap it becomes {layer.old_name}, with all its rows{reading}")
    if others := [each for each in left if each.kind not in VIEWS]:
        log(f"{layer.title}: what stays with {layer.old_name}, and the new table does not have: {listed(others)}")
    owner, is_ours = connection.execute(_OWNER, [oid]).fetchone() or ("", True)
    if not is_ours:
        log(f"{layer.title}: the new table belongs to {connection.info.user}; {owner} gets its rights, as others do")


def _refuse_kin(connection: psycopg.Connection, layer: Layer, oid: int) -> None:
    """Inheritance goes with the table that is renamed, and nothing can inherit from the partitioned table that comes.

    Whoever reads a parent would find the old rows there for ever, and whoever reads the layer its child's no more.
    """
    if heirs := catalog.heirs(connection, oid):
        raise LayerError(
            f"{layer.title} cannot be taken over, for {', '.join(heirs)} {'inherits' if len(heirs) == 1 else 'inherit'}"
            " from it, and nothing can inherit from the partitioned table that a layer is.",
            "; ".join(f"Run ALTER TABLE {name} NO INHERIT {layer.title}" for name in heirs)
            + ", which leaves all rows where they are, and load again.",
        )
    if parents := catalog.parents(connection, oid):
        raise LayerError(
            f"{layer.title} cannot be taken over, for it inherits from {', '.join(parents)} or is a partition of it,"
            " and the partitioned table that a layer is cannot.",
            "; ".join(f"Run ALTER TABLE {layer.title} NO INHERIT {name}" for name in parents)
            + f", or, where that is partitioned, ALTER TABLE {parents[0]} DETACH PARTITION {layer.title}, and load"
            " again.",
        )


def rename(layer: Layer) -> sql.Composed:
    """Give the old table its new name."""
    return sql.SQL("ALTER TABLE {} RENAME TO {}").format(layer.public, sql.Identifier(layer.old_name))


def grants(connection: psycopg.Connection, layer: Layer, oid: int) -> Iterator[sql.Composed]:
    """What others may do with the old table, as grants on the new one, and nothing besides by default privileges."""
    yield revoking_all(layer.public)
    found = connection.execute(_GRANTS, {"oid": oid}).fetchall()
    for privilege, column, grantee, grantable in found:
        if column is not None and column not in layer.table.column_names:
            continue
        yield sql.SQL("GRANT {}{} ON {} TO {}{}").format(
            sql.SQL(privilege),
            sql.SQL(" ({})").format(sql.Identifier(column)) if column else sql.SQL(""),
            layer.public,
            # regrole shows OID 0, which stands for everybody, as a dash, and quotes names where they need it.
            sql.SQL("PUBLIC" if grantee == "-" else grantee),
            sql.SQL(" WITH GRANT OPTION" if grantable else ""),
        )
