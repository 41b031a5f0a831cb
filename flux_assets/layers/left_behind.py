"""What stays with a table that gave way, or with a version that goes, and that its heirs do not have."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from flux_assets.postgis.relations import Layer
from flux_assets.sqlfiles import query


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
            found = (
                cursor.execute(query("left_behind", name), {"oid": oid}).fetchall() for name in ("readers", "parts")
            )
            return [each for kind in found for each in sorted(kind, key=str)]

    @classmethod
    def left_behind(
        cls, connection: psycopg.Connection, layer: Layer, oid: int, heirs: Collection[int] = ()
    ) -> list[Dependent]:
        """Return what stays with a table when the `heirs` take its place: all that neither a layer nor these have."""
        there = {each.twin for heir in heirs for each in cls.of(connection, heir)} | set(layer.table.twins)
        return [each for each in cls.of(connection, oid) if each.twin is None or each.twin not in there]

    @staticmethod
    def listed(found: Collection[Dependent]) -> str:
        """List them in words, those of a kind together."""
        kinds = dict.fromkeys(each.kind for each in found)
        return "; ".join(f"{kind} {', '.join(each.name for each in found if each.kind == kind)}" for kind in kinds)
