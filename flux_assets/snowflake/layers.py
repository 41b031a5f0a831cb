"""Layers that lie in Snowflake, in tables of their names and columns: read as the sources of synced tables are."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from geoalchemy2 import Geography, Geometry

from flux_assets.errors import SourceError
from flux_assets.snowflake.columns import FoundColumn, Resolver
from flux_assets.snowflake.mapping import Mapping, ObjectName, quoted
from flux_assets.snowflake.overrides import SourceOverride
from flux_assets.snowflake.source import Source
from flux_assets.spec import DynamicTable, StaticTable
from flux_assets.spec.facts import SourceColumn

# By the kind of a column that holds geometry, what makes hexadecimal EWKB of it; a text is that already.
_AS_HEX = {
    "GEOGRAPHY": "HEX_ENCODE(ST_ASEWKB({}))",
    "GEOMETRY": "HEX_ENCODE(ST_ASEWKB({}))",
    "BINARY": "HEX_ENCODE({})",
}


def staged_columns(table: StaticTable) -> list[sa.Column[object]]:
    """Return the columns of what is read: geometry as hexadecimal EWKB, times in UTC without a zone."""
    return [
        sa.Column(
            column.name,
            _read_type(column),
            primary_key=column.primary_key,
            nullable=column.nullable,
            autoincrement=False,
            comment=column.comment,
        )
        for column in table.columns
    ]


def _read_type(column: sa.Column[object]) -> Any:  # noqa: ANN401 - a type of any value
    if isinstance(column.type, (Geometry, Geography)):
        return sa.Text()
    return sa.DateTime() if isinstance(column.type, sa.DateTime) else column.type


def layer_mapping(source: Source, table: StaticTable) -> Mapping:
    """Return how a layer's columns come from its table. Raises SourceError for one that is missing or does not fit."""
    if not table.key:
        raise SourceError(f"{table.name} has no key, so it cannot be read from Snowflake.", "Leave it out.")
    read = sa.Table(table.name, sa.MetaData(), *staged_columns(table), comment=table.description)
    columns = [SourceColumn(target=name, names=(name.upper(),), required=True) for name in table.column_names]
    synced = DynamicTable(table=read, source=table.name.upper(), source_columns=tuple(columns))
    found, name = source.columns(synced), ObjectName.of(synced, None)
    kinds = {column.name.upper(): column for column in found}
    shapes = {
        column.name: _AS_HEX[there.kind].format(quoted(there.name))
        for column in table.spatial_columns
        if (there := kinds.get(column.name.upper())) and there.kind in _AS_HEX
    }
    override = SourceOverride.model_validate({"columns": {to: {"expression": by} for to, by in shapes.items()}})
    resolver = Resolver(
        table=synced,
        object=name.sql(source.account),
        object_template=name.template,
        found=found,
        override=override,
        expressions={to: FoundColumn(name=to, kind="TEXT") for to in shapes},
    )
    return resolver.mapping()
