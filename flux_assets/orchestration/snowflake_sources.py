"""The Snowflake tables that dynamic tables come from, as external assets upstream of them.

Here: their keys and what the asset graph knows of them. Not here: reading them (warehouse/), and the mapping of columns
as it is resolved (`flux-assets doctor` prints it).
"""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from flux_assets.orchestration.asset_links import source_links
from flux_assets.spec import DynamicTable, SourceColumn, type_ddl

GROUP = "snowflake"


def source_key(table: DynamicTable) -> dg.AssetKey:
    """Key of the asset that stands for the table's source."""
    return dg.AssetKey([GROUP, table.source.lower()])


def snowflake_sources(tables: Sequence[DynamicTable]) -> list[dg.AssetSpec]:
    """The source of every declared dynamic table; nobody here materialises it."""
    return [_spec(table) for table in tables]


def _spec(table: DynamicTable) -> dg.AssetSpec:
    return dg.AssetSpec(
        source_key(table),
        description=f"The table {table.source} in Snowflake: {table.description}",
        group_name=GROUP,
        owners=[table.owner],
        kinds={"snowflake"},
        metadata={"dagster/column_schema": _columns(table), **source_links(table)},
    )


def _columns(table: DynamicTable) -> dg.TableSchema:
    """The columns that are read, with what each feeds. Their types are those that they become: the source's own may be
    any that can be read as such."""
    types = {column.name: type_ddl(column) for column in table.columns}
    return dg.TableSchema([
        dg.TableColumn(
            column.names[0], types[column.target], description=_said(column),
            constraints=dg.TableColumnConstraints(other=["required"] if column.required else []),
        )
        for column in table.source_columns
    ])  # fmt: skip


def _said(column: SourceColumn) -> str:
    others = " or ".join(column.names[1:])
    return f"Feeds {column.target}" + (f"; where there is none of this name, {others} does." if others else ".")
