"""The Snowflake tables that dynamic tables come from, as external assets upstream of them.

Here: their keys and what the asset graph knows of them. Not here: reading them (warehouse/), and the mapping of columns
as it is resolved (`flux-assets doctor` prints it).
"""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from flux_assets.spec import DynamicTable

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
        metadata={"columns_read": dg.MetadataValue.json(_read(table))},
    )


def _read(table: DynamicTable) -> dict[str, str]:
    """By target column, the source columns that it may come from, the first that is there."""
    return {column.target: " or ".join(column.names) for column in table.source_columns}
