"""Taking the name of an ordinary table that another loader left, with all that hangs on it: the plan, and its steps.

The new table is made around the version in the schema of versions. In the swap it only moves to where the old one was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import psycopg
from psycopg import sql

from flux_assets.errors import LayerError
from flux_assets.layers.context import LoadOptions
from flux_assets.ledger.runs import Lease
from flux_assets.postgis.catalog import Relation
from flux_assets.postgis.hanging import Hanging
from flux_assets.postgis.relations import VERSIONS, Layer, revoking_all
from flux_assets.postgis.session import Target, run
from flux_assets.spec import StaticTable
from flux_assets.sqlfiles import query


@dataclass(frozen=True, kw_only=True)
class Takeover:
    """The plan for a plain table that a layer replaces: its new name, and what becomes of all that hangs on it."""

    layer: Layer
    old_name: str
    hanging: Hanging

    @classmethod
    def planned(
        cls, connection: psycopg.Connection, layer: Layer, oid: int, options: LoadOptions | None = None
    ) -> Takeover:
        """Ask what hangs on the table, and try for each thing whether the layer can have it. Changes nothing."""
        old_name, suffix = layer.free_old_name(connection)
        found = Hanging.on(connection, oid, layer.schema, suffix)
        undeclared = [
            Hanging.Part("column", column.name, "stays", "the layer has no such column")
            for column in Relation(connection, oid).columns()
            if column.name not in layer.table.column_names and not column.generated
        ]
        parts = [
            mine for part in found.parts for mine in _for_layer(part.beside(layer.table), options or LoadOptions())
        ]
        making = [_discarding(layer), *_new(layer).create_public()]
        hanging = replace(found, parts=(*undeclared, *parts)).tried(connection, making, VERSIONS)
        return cls(layer=layer, old_name=old_name, hanging=hanging)

    @classmethod
    def of_plain(cls, tables: Sequence[StaticTable], target: Target, options: LoadOptions) -> dict[str, Takeover]:
        """Return the plan for each of the layers whose name a plain table has, by that name. Changes nothing."""
        plans = {}
        for layer in (Layer(target.schema, table) for table in tables):
            with target.prepared(layer.title, f"look {layer.name}", options.stop) as session:
                found = Relation.find(session, layer.schema, layer.name)
                if found is not None and found.kind == "r":
                    plans[layer.name] = cls.planned(session, layer, found.oid, options)
        return plans

    @staticmethod
    def discard_left_over(connection: psycopg.Connection, layer: Layer) -> None:
        """Take back what a run prepared that could not do so itself."""
        if Relation.find(connection, VERSIONS, layer.name):
            connection.execute(_discarding(layer))

    @property
    def outcomes(self) -> list[tuple[str, str, str]]:
        """What hangs on the table: kind, name and what becomes of it."""
        return list(self.hanging.outcomes(self.old_name))

    def refusal(self) -> LayerError | None:
        """Return why the table cannot be taken over, with all that stands in the way; None when nothing does."""
        ways = {(part.kind, part.name) for part in self.hanging.parts if part.phase == "refused"}
        refused = [each for each in self.outcomes if each[:2] in ways]
        if not refused:
            return None
        return LayerError(
            f"{self.layer.title} cannot be taken over, and nothing was changed: {Hanging.listed(refused)}.",
            f"Do what the brackets say, or drop what nobody needs, and run it again; `flux-assets adopt --dry-run"
            f" {self.layer.name}` lists everything.",
        )

    def announce(self, log: Callable[[str], None]) -> None:
        """Say what will happen at the swap."""
        title = self.layer.title
        log(f"{title} is a plain table: at the swap it becomes {self.old_name}, with all its rows")
        staying = [each for each in self.outcomes if each[2].startswith("stays")]
        if moving := [each for each in self.outcomes if each not in staying]:
            log(f"{title}: {Hanging.listed(moving)}")
        if staying:
            log(f"{title}: {Hanging.listed(staying)}")

    @property
    def changes(self) -> tuple[sql.Composable, ...]:
        """What comes after ALTER TABLE, for the new table and for its version while that is empty."""
        return tuple(self.hanging.in_phase("column"))

    def prepare(self, connection: psycopg.Connection, version: sql.Identifier, lease: Lease) -> None:
        """Make the new table around the version, with its indexes, constraints and materialized views.

        Raises PublishError when the lease was overtaken: what is there by now is another run's.
        """
        new = _new(self.layer)
        attach = sql.SQL("ALTER TABLE {} ATTACH PARTITION {} DEFAULT").format(new.public, version)
        changes = [sql.SQL("ALTER TABLE {} {}").format(new.public, change) for change in self.changes]
        lease.keep(connection, [_discarding(self.layer), *new.create_public(), *changes, attach])
        path = Hanging.using((VERSIONS, *self.hanging.path))
        for statement in self.hanging.in_phase("made"):
            lease.keep(connection)
            run(connection, [path, statement])
        named = {"schema": self.layer.schema, "name": self.layer.name}
        connection.execute(query("takeover", "free_index_names").format(**named))

    def discard(self, connection: psycopg.Connection, lease: Lease) -> None:
        """Take back what was prepared; the version stays."""
        lease.keep(connection, [_discarding(self.layer)])

    def locking(self) -> list[sql.Composable]:
        """Return the statements that lock what readers of the table take before it."""
        return self.hanging.in_phase("lock")

    def swapping(self) -> Iterator[sql.Composable]:
        """Yield the statements of the swap, under the lock."""
        layer = self.layer
        yield Hanging.using(self.hanging.path)
        yield self.hanging.unchanged
        yield from self.hanging.in_phase("before", "dropped")
        yield sql.SQL("ALTER TABLE {} RENAME TO {}").format(layer.public, sql.Identifier(self.old_name))
        yield sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(_new(layer).public, sql.Identifier(layer.schema))
        yield revoking_all(layer.public)
        yield from self.hanging.in_phase("after", "last")


def _discarding(layer: Layer) -> sql.Composed:
    return query("takeover", "discard").format(name=layer.name)


def _new(layer: Layer) -> Layer:
    return replace(layer, schema=VERSIONS)


def _for_layer(part: Hanging.Part, options: LoadOptions) -> Iterator[Hanging.Part]:
    """Yield what is done with a part that a layer does not have by itself."""
    match part.kind:
        case "NOT NULL" if part.phase == "column" and options.accept_schema_change:
            yield part.leaving("the declaration allows NULL")
        case "setting" if part.phase == "setting":
            yield part.leaving("a partitioned table has none")
        case "inbound foreign key" if options.drop_foreign_keys:
            yield from part.dropped
        case _:
            yield part
