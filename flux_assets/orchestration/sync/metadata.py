"""What Dagster's UI shows about a dynamic table, and about what one sync did to it.

There are 288 ticks a day: figures are short, and what did not happen is left out.
"""

from __future__ import annotations

from typing import Any

import dagster as dg

from flux_assets.orchestration.layers.metadata import clock_metadata, column_schema
from flux_assets.orchestration.links import table_links
from flux_assets.spec import DynamicTable
from flux_assets.sync.result import TableResult

Metadata = dict[str, Any]


def declared_metadata(table: DynamicTable) -> Metadata:
    """Return the metadata of the asset itself, the same whatever is synced."""
    references = [f"{r.column} → {r.to_table}.{r.to_column}" for r in table.references]
    return {
        "dagster/column_schema": column_schema(table),
        "snowflake_table": table.source,
        "row_filter": table.row_filter.description if table.row_filter else "every row",
        **({"computed_columns": dg.MetadataValue.json(_computed(table))} if table.derived else {}),
        **({"references": "; ".join(references)} if references else {}),
        **table_links(table),
    }


def synced_metadata(done: TableResult) -> Metadata:
    """Return the metadata of one materialisation."""
    return {
        "outcome": done.outcome,
        "gate": done.gate,
        "dagster/row_count": done.rows,
        "rows_read": done.rows_read,
        "inserted": done.inserted,
        "updated": done.updated,
        "deleted": done.deleted,
        "unchanged": done.unchanged,
        "bytes": done.bytes,
        "total_seconds": round(done.total_seconds, 3),
        "seconds": dg.MetadataValue.json({step: round(took, 3) for step, took in done.seconds.items()}),
        **_clocks(done),
        **({"missing_columns": ", ".join(done.missing)} if done.missing else {}),
        **({"inherited_by": ", ".join(done.heirs)} if done.heirs else {}),
    }


def describe_result(done: TableResult) -> str:
    """Return the sync of one table in a line."""
    if done.outcome == "unchanged":
        return f"{done.table}: {done.rows:,} rows unchanged ({done.gate})"
    lag = "" if done.lag_seconds is None else f", {done.lag_seconds:.0f} s behind the source"
    written = f"{done.inserted:,} inserted, {done.updated:,} updated, {done.deleted:,} deleted"
    return f"{done.table}: {written}, {done.unchanged:,} unchanged{lag} ({done.gate})"


def _clocks(done: TableResult) -> Metadata:
    """Return the table's times; it was checked at the instant as of which its source was read."""
    clocks = clock_metadata(
        source_changed_at=done.source_changed_at, checked_at=done.source_instant, published_at=done.published_at
    )
    if done.lag_seconds is not None:
        clocks["lag_seconds"] = round(done.lag_seconds, 1)
    return clocks


def _computed(table: DynamicTable) -> dict[str, str]:
    """Return what each column is computed from."""
    shown = {}
    for column in table.derived:
        rows = f"rows of {column.from_table} with the same {column.there}"
        only = f", {column.where_column} one of {', '.join(column.where_values)}" if column.where_column else ""
        text = (
            f"count of {rows}{only}"
            if column.of_column is None
            else f"{column.function} of {column.of_column} of {rows}"
        )
        shown[column.target] = f"{text}, where the source has none" if column.fills else text
    return shown
