"""The Snowflake tables that dynamic tables come from, as external assets upstream of them."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from flux_assets.errors import SettingError
from flux_assets.orchestration.links import source_links
from flux_assets.settings import STAND_IN, load_settings
from flux_assets.spec import DynamicTable, SourceColumn, type_ddl

_GROUP = "snowflake"


def source_key(table: DynamicTable) -> dg.AssetKey:
    """Return the key of the asset that stands for the table's source."""
    return dg.AssetKey([_GROUP, table.source.lower()])


def snowflake_sources(tables: Sequence[DynamicTable]) -> list[dg.AssetSpec]:
    """Return the source of every declared dynamic table; no run materialises it."""
    return [_spec(table) for table in tables]


def _spec(table: DynamicTable) -> dg.AssetSpec:
    read_from, place = _place(table)
    return dg.AssetSpec(
        source_key(table),
        description=f"The table {table.source} in Snowflake: {table.description}\n\n{read_from}",
        group_name=_GROUP,
        owners=[table.owner],
        kinds={"snowflake"},
        metadata={"dagster/column_schema": _columns(table), **place, **source_links(table)},
    )


def _place(table: DynamicTable) -> tuple[str, dict[str, str]]:
    """Return which object of which account the settings name; nothing connects."""
    from flux_assets.snowflake.overrides import load_overrides
    from flux_assets.snowflake.quoting import parts

    try:
        settings = load_settings()
        own = load_overrides(settings.flux_config).of(table).object or table.source
    except SettingError:
        return "Its origin is unknown: a setting is illegal. `flux-assets doctor` names it.", {}
    names = parts(own) or (own,)
    full = ".".join((settings.snowflake_database, settings.snowflake_schema)[: 3 - len(names)] + tuple(names))
    if settings.source_is_stand_in:
        account, of = STAND_IN, "the stand-in, which is simulated"
    elif settings.snowflake_account not in {None, STAND_IN}:
        account, of = str(settings.snowflake_account), f"the Snowflake account {settings.snowflake_account}"
    else:
        return f"It is {full}, of no account yet: set SNOWFLAKE_ACCOUNT.", {"dagster/table_name": full}
    return f"It is read from {full} of {of}.", {"dagster/table_name": full, "account": account}


def _columns(table: DynamicTable) -> dg.TableSchema:
    """Return the columns that are read, with what each feeds.

    Their types are those that they become: the source's own may be any that can be read as such.
    """
    types = {column.name: type_ddl(column) for column in table.columns}
    return dg.TableSchema(
        [
            dg.TableColumn(
                column.names[0],
                types[column.target],
                description=_description(column),
                constraints=dg.TableColumnConstraints(other=["required"] if column.required else []),
            )
            for column in table.source_columns
        ]
    )


def _description(column: SourceColumn) -> str:
    others = " or ".join(column.names[1:])
    return f"Feeds {column.target}" + (f"; where there is none of this name, {others} does." if others else ".")
