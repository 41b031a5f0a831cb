"""Computing a layer: its query reads its inputs as of one instant, and its rows are staged as those of a file are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import psycopg
import sqlalchemy as sa
from psycopg import errors, sql

from flux_assets.errors import LayerError, reported
from flux_assets.layers.context import VersionContext
from flux_assets.layers.schema_diff import Public
from flux_assets.layers.staging import Filled, fill
from flux_assets.layers.versions import Extent, LayerState, Version
from flux_assets.postgis.locking import GIVES_WAY
from flux_assets.postgis.relations import Layer, type_name
from flux_assets.postgis.session import run
from flux_assets.spec.facts import Computed
from flux_assets.sqlfiles import query


class MissingInputsError(LayerError):
    """A layer that others are computed from, or read, has never been loaded."""


class InputsChangedError(LayerError):
    """An input was published while the layer was computed from its earlier version."""


@dataclass(frozen=True, kw_only=True)
class QueryOrigin:
    """A query, and the versions of its inputs (by their names) that it is to read."""

    layer: Layer
    computed: Computed
    inputs: Mapping[str, str]
    release_tag: str
    address: str = ""
    rows_called: str = "what its query makes"
    rows: None = None
    bytes: None = None
    mapping: str = ""

    @classmethod
    def of(cls, connection: psycopg.Connection, layer: Layer, computed: Computed) -> QueryOrigin:
        """Return the query with the versions that are live. Raises MissingInputsError when one was never loaded."""
        [found] = run(connection, [_asking_inputs(layer, computed)])
        versions = {name: version for name, version, _ in found}
        if missing := sorted(set(computed.inputs) - set(versions)):
            raise MissingInputsError(
                f"{layer.title} is computed from {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'}"
                " not loaded yet.",
                f"Run `flux-assets load {' '.join(missing)}`, or adopt what another loader made there.",
            )
        tags = ", ".join(dict.fromkeys(tag for _, _, tag in found))
        return cls(layer=layer, computed=computed, inputs=versions, release_tag=tags)

    @property
    def sha256(self) -> str:
        read = [f"{name} {version}" for name, version in sorted(self.inputs.items())]
        return hashlib.sha256("\n".join([self.computed.prepare, self.computed.query, *read]).encode()).hexdigest()

    @property
    def identity(self) -> str:
        return self.sha256

    def at_hand(self, context: VersionContext, state: LayerState) -> Callable[[Version, Public], Filled]:
        """Return what computes the rows. It raises InputsChangedError, and LayerError when the query fails."""
        limit = context.options.disk_limit
        room = None if limit is None else limit - state.kept_bytes

        def computed(version: Version, public: Public) -> Filled:
            try:
                rows = self._copied(context, version, public, room)
            except (errors.AdminShutdown, errors.QueryCanceled) as error:
                context.options.stop.check()
                raise self._changed() from error
            except (
                psycopg.ProgrammingError,
                psycopg.DataError,
                psycopg.IntegrityError,
                psycopg.InternalError,
            ) as error:
                raise LayerError(
                    f"The query of {self.layer.title} fails: {reported(error.diag.message_primary or error)}"
                    f"{f' ({where})' if (where := error.diag.context) else ''}.",
                    f"Fix the SQL of its declaration. It may read {', '.join(self.computed.inputs)}; what is published"
                    " stays.",
                ) from error
            return Filled(rows=rows, extent=self._extent(context.control, version))

        return computed

    def _copied(self, context: VersionContext, version: Version, public: Public, room: int | None) -> int:
        """Copy what the query returns into the version's table; returns the number of rows.

        The rows pass through here because only COPY (FREEZE) makes them visible to transactions that began before.
        """
        columns = self.layer.table.columns
        # A cast to a shorter text would cut it; COPY refuses one that is too long.
        kinds = (
            (column.name, "text" if isinstance(column.type, sa.String) else type_name(column)) for column in columns
        )
        values = (sql.SQL("{}::{}").format(sql.Identifier(name), sql.SQL(kind)) for name, kind in kinds)
        copy_out = sql.SQL("COPY (SELECT {} FROM ({}) AS computed) TO STDOUT (FORMAT binary)").format(
            sql.SQL(", ").join(values), trusted(self.computed.query)
        )
        name, stop = self.layer.name, context.options.stop
        with context.target.session(f"{GIVES_WAY} {name}", stop) as session, session.cursor() as cursor:
            self._begin(session)
            if self.computed.prepare:
                session.execute(trusted(self.computed.prepare))
            with cursor.copy(copy_out) as copy:
                fill(context, version, public, map(bytes, copy), tuple(column.name for column in columns), room)
            unwatched = query("computing", "unwatched").format(
                schema=self.layer.schema, names=list(self.computed.inputs)
            )
            with suppress(psycopg.OperationalError):  # it may have given way by now; all rows are here
                if read := run(session, [unwatched, sql.SQL("ROLLBACK")])[0]:
                    context.log(
                        f"{self.layer.title}: its query reads {', '.join(name for (name,) in read)} too, whose changes"
                        " do not have it computed again; a layer belongs into the inputs of the declaration"
                    )
            return cursor.rowcount

    def _begin(self, session: psycopg.Connection) -> None:
        """Begin to read the inputs as of one instant, and keep publishes of them from coming in between."""
        tables = sql.SQL(", ").join(sql.Identifier(self.layer.schema, name) for name in self.computed.inputs)
        begin = query("computing", "begin").format(tables=tables)
        found = run(session, [begin, searching(self.layer.schema), _asking_inputs(self.layer, self.computed)])[-1]
        if {name: version for name, version, _ in found} != self.inputs:
            raise self._changed()

    def _changed(self) -> InputsChangedError:
        return InputsChangedError(
            f"An input of {self.layer.title} was published again and again while it was computed.",
            f"Run `flux-assets load {self.layer.name}` when that has ended.",
        )

    def _extent(self, connection: psycopg.Connection, version: Version) -> Extent | None:
        for column in self.layer.table.spatial_columns[:1]:
            asking = query("computing", "extent").format(column=sql.Identifier(column.name), table=version.table)
            return connection.execute(asking).fetchone()
        return None


def _asking_inputs(layer: Layer, computed: Computed) -> sql.Composed:
    names = sql.Literal(list(computed.inputs))
    return query("computing", "inputs").format(schema=sql.Literal(layer.schema), names=names)


def searching(schema: str) -> sql.Composed:
    """Make the statement that has a transaction find the tables of a schema, and what PostGIS has, by their names."""
    return query("computing", "search_path").format(schema=sql.Literal(schema))


def trusted(text: str) -> sql.SQL:
    """Return the SQL of a declaration, which belongs to the program as its Python does."""
    # A line of its own, for it may end with a comment.
    return sql.SQL(text.replace("{", "{{").replace("}", "}}") + "\n")
