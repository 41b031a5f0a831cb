"""Taking the name of an ordinary table that another loader left, and naming what stays with that table."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from flux_assets.errors import LayerError
from flux_assets.postgis.catalog import Relation
from flux_assets.postgis.relations import Layer, revoking_all
from flux_assets.spec import index_method
from flux_assets.sqlfiles import query


def announce(connection: psycopg.Connection, layer: Layer, oid: int, log: Callable[[str], None]) -> None:
    """Say what will happen at the swap, and what stays with the old table.

    Raises LayerError when its new name is taken, when it is kin, or when something protects its rows.
    """
    old = Relation(connection, oid)
    _refuse_kin(layer, old)
    old.refuse_unprotected_copy(LayerError, layer.title, layer.title)
    if Relation.find(connection, layer.schema, layer.old_name):
        raise LayerError(
            f"{layer.title} cannot be renamed to {layer.old_name}, because a table of that name already exists.",
            "Rename or drop one of the two.",
        )
    columns = (column.name for column in old.columns())
    undeclared = [Dependent("column", name, None) for name in columns if name not in layer.table.column_names]
    left = [*undeclared, *Dependent.left_behind(connection, layer, oid)]
    views = [each.name for each in left if each.kind in _VIEWS]
    reading = f"; these views keep reading it: {', '.join(views)}" if views else ""
    log(f"{layer.title} is a plain table: at the swap it becomes {layer.old_name}, with all its rows{reading}")
    if others := [each for each in left if each.kind not in _VIEWS]:
        listed = Dependent.listed(others)
        log(f"{layer.title}: what stays with {layer.old_name}, and the new table does not have: {listed}")
    owner, is_ours = connection.execute(query("takeover", "owner"), [oid]).fetchone() or ("", True)
    if not is_ours:
        log(f"{layer.title}: the new table belongs to {connection.info.user}; {owner} gets its rights, as others do")


def _refuse_kin(layer: Layer, old: Relation) -> None:
    """Raise LayerError for inheritance, which goes with the renamed table and which no partitioned table can have.

    Whoever reads a parent would find the old rows there for ever, and whoever reads the layer its child's no more.
    """
    if heirs := old.kin("heirs"):
        raise LayerError(
            f"{layer.title} cannot be taken over, because {', '.join(heirs)}"
            f" {'inherits' if len(heirs) == 1 else 'inherit'} from it, and nothing can inherit from the partitioned"
            " table that a layer is.",
            "; ".join(f"Run ALTER TABLE {name} NO INHERIT {layer.title}" for name in heirs)
            + ", which leaves all rows where they are, and load again.",
        )
    if parents := old.kin("parents"):
        raise LayerError(
            f"{layer.title} cannot be taken over, because it inherits from {', '.join(parents)} or is a partition of"
            " it, and the partitioned table that a layer is cannot.",
            "; ".join(f"Run ALTER TABLE {layer.title} NO INHERIT {name}" for name in parents)
            + f", or, where that is partitioned, ALTER TABLE {parents[0]} DETACH PARTITION {layer.title}, and load"
            " again.",
        )


def grants(connection: psycopg.Connection, layer: Layer, oid: int) -> Iterator[sql.Composed]:
    """Repeat what others may do with the old table as grants on the new one, without any default privileges."""
    yield revoking_all(layer.public)
    found = connection.execute(query("takeover", "grants"), {"oid": oid}).fetchall()
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


_VIEWS = frozenset({"view", "materialized view"})


@dataclass(frozen=True)
class Dependent:
    """Something that stays with a table, in words; its `twin`, where it can have one, is the same of its equal's."""

    kind: str
    name: str
    twin: str | None

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    @classmethod
    def of(cls, connection: psycopg.Connection, oid: int) -> list[Dependent]:
        """Return what reads or points at this very table, whatever its name, and what others have put on it."""
        with connection.cursor(row_factory=class_row(cls)) as cursor:
            found = (cursor.execute(query("takeover", name), {"oid": oid}).fetchall() for name in ("readers", "parts"))
            return [each for kind in found for each in sorted(kind, key=str)]

    @classmethod
    def left_behind(
        cls, connection: psycopg.Connection, layer: Layer, oid: int, heirs: Collection[int] = ()
    ) -> list[Dependent]:
        """Return what stays with a table when the `heirs` take its place: all that neither a layer nor these have."""
        there = {each.twin for heir in heirs for each in cls.of(connection, heir)} | set(_declared(layer))
        return [each for each in cls.of(connection, oid) if each.twin is None or each.twin not in there]

    @staticmethod
    def listed(found: Collection[Dependent]) -> str:
        """List them in words, those of a kind together."""
        kinds = dict.fromkeys(each.kind for each in found)
        return "; ".join(f"{kind} {', '.join(each.name for each in found if each.kind == kind)}" for kind in kinds)


def _declared(layer: Layer) -> Iterator[str]:
    """Yield indexes and unique keys of every version, as their twins are written."""
    for index in layer.table.indexes:
        yield f"{str(bool(index.unique)).lower()}{index_method(index)} ({', '.join(index.columns.keys())})"
    for key in layer.table.unique_keys:
        yield f"UNIQUE ({', '.join(key)})"
        yield f"truebtree ({', '.join(key)})"
