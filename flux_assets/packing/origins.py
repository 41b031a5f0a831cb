"""Where a release's rows come from: published tables, the tables of Snowflake, or another release."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from psycopg import sql

from flux_assets.compare.staging import Staging
from flux_assets.errors import LayerError
from flux_assets.postgis import relations
from flux_assets.postgis.catalog import Relation
from flux_assets.postgis.relations import own_rows
from flux_assets.release.files import MissingError
from flux_assets.release.release import Release
from flux_assets.snowflake.layers import layer_mapping, staged_columns
from flux_assets.snowflake.source import Source
from flux_assets.spec import StaticTable

RowsOf = Callable[[StaticTable], sql.Composable | None]
"""Returns what has a layer's rows, with the declared columns, for FROM in the session; None where there are none."""
Origin = Callable[[Staging, Sequence[StaticTable]], AbstractContextManager[RowsOf]]
"""Opens the origin of layers for a session: all that it returns meanwhile is of one instant."""

_STAGED = sql.Identifier("pg_temp", "flux_packed")


@contextmanager
def published(staging: Staging, tables: Sequence[StaticTable]) -> Iterator[RowsOf]:
    """Open the tables of the target's schema, whoever made them, as of one snapshot."""
    session, schema = staging.session, staging.target.schema

    def rows_of(table: StaticTable) -> sql.Composable | None:
        relation = Relation.find(session, schema, table.name)
        if relation is None:
            return None
        there = {column.name for column in relation.columns()}
        if lacking := [name for name in table.column_names if name not in there]:
            raise LayerError(
                f"{schema}.{table.name} has no column {', '.join(lacking)}.", "Load the layer, or leave it out."
            )
        return own_rows(sql.Identifier(schema, table.name), relation.kind)

    with session.transaction():
        # Locked before the snapshot is taken: none is published between the first that is read and the last.
        for table in tables:
            if (relation := Relation.find(session, schema, table.name)) and relation.kind in {"r", "p"}:
                locking = sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE")
                session.execute(locking.format(sql.Identifier(schema, table.name)))
        yield rows_of


def delivered(release: Release) -> Origin:
    """Return the files of a release, of any format, as an origin."""

    @contextmanager
    def opened(staging: Staging, _tables: Sequence[StaticTable]) -> Iterator[RowsOf]:
        def rows_of(table: StaticTable) -> sql.Composable | None:
            try:
                file = release.resolve(table.file_name, table.name)
            except MissingError:
                return None
            staging.put_file(_STAGED, release, file, table)
            return _STAGED

        yield rows_of

    return opened


def warehouse(open_source: Callable[[], AbstractContextManager[Source]]) -> Origin:
    """Return tables of Snowflake that have a layer's name and columns, all read as of one instant, as an origin."""

    @contextmanager
    def opened(staging: Staging, tables: Sequence[StaticTable]) -> Iterator[RowsOf]:
        with open_source() as source:
            instant = source.retrying(partial(source.instant, len(tables) + 1))

            def rows_of(table: StaticTable) -> sql.Composable | None:
                columns = [relations.column_definition(column) for column in staged_columns(table)]

                def stage() -> None:
                    rows = source.rows(layer_mapping(source, table), instant)
                    staging.put(_STAGED, columns, rows, rows.schema)

                source.retrying(stage)
                return _STAGED

            yield rows_of

    return opened
