"""What Dagster's UI shows of a table: its columns, figures of a load or sync, and links to SQL, code and docs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
import sqlalchemy as sa
from psycopg import sql as psql

from flux_assets.checks.audit import AuditResult
from flux_assets.layers.versions import Pin
from flux_assets.settings import REPOSITORY
from flux_assets.spec import Declaration, DynamicTable, StaticTable, type_ddl
from flux_assets.sqlfiles import query
from flux_assets.sync.result import TableResult
from flux_assets.tables import declared_in

if TYPE_CHECKING:
    from flux_assets.layers.load import LoadResult

Metadata = dict[str, Any]


def table_links(table: Declaration) -> Metadata:
    """Return the links of a table in PostGIS."""
    about = "syncing.md" if isinstance(table, DynamicTable) else "publishing.md"
    return {
        "sql": _sql(
            _some_rows(table.name), _ledger("status", table), by="`flux-assets psql`, or any client of PostGIS"
        ),
        **_code(table, about),
    }


def file_links(table: StaticTable) -> Metadata:
    """Return the links of a layer's file in the release."""
    by = "the versions made from it, by `flux-assets psql`"
    return {"sql": _sql(_ledger("versions", table), by=by), **_code(table, "publishing.md")}


def source_links(table: DynamicTable) -> Metadata:
    """Return the links of a table in Snowflake."""
    by = "in Snowflake, in the database and schema of the settings"
    return {"sql": _sql(_some_rows(table.source), by=by), **_code(table, "source-contract.md")}


def _some_rows(table: str) -> str:
    return f"SELECT * FROM {table} LIMIT 10;"  # noqa: S608 - shown, never run


def _ledger(name: str, table: Declaration) -> str:
    return query("links", name).format(layer=psql.Literal(table.name)).as_string() + ";"


def _sql(*queries: str, by: str) -> dg.MarkdownMetadataValue:
    written = "\n".join(queries)
    return dg.MetadataValue.md(f"```sql\n{written}\n```\n{by}")


def _code(table: Declaration, about: str) -> Metadata:
    """Return the files on this machine that exist, for the button that opens an editor."""
    declared = declared_in(table)
    files = [
        (path, label)
        for path, label in ((declared, "the declaration"), (REPOSITORY / "docs" / about, f"docs/{about}"))
        if path and path.is_file()
    ]
    if not files:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        references = [dg.LocalFileCodeReference(file_path=str(at), line_number=1, label=label) for at, label in files]
        return {"dagster/code_references": dg.CodeReferencesMetadataValue(code_references=list(references))}


def declared_layer_metadata(table: StaticTable) -> Metadata:
    """Return the metadata of the asset itself, the same whatever is loaded."""
    references = [f"{r.column} → {r.to_table}.{r.to_column}" for r in table.references]
    return {
        "dagster/column_schema": column_schema(table),
        "release_file": table.file_name,
        **({"references": "; ".join(references)} if references else {}),
        **table_links(table),
    }


def column_schema(table: Declaration) -> dg.TableSchema:
    """Return the table's columns with types, comments and constraints."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=column.name,
                type=type_ddl(column),
                description=column.comment,
                constraints=_constraints(table, column),
            )
            for column in table.columns
        ]
    )


def _constraints(table: Declaration, column: sa.Column[object]) -> dg.TableColumnConstraints:
    sole_keys = {keys[0] for keys in (table.key, *table.unique_keys) if len(keys) == 1}
    ranges = [f"{r.minimum:g} to {r.maximum:g}" for r in table.ranges if r.column == column.name]
    return dg.TableColumnConstraints(
        nullable=bool(column.nullable),
        unique=column.name in sole_keys,
        other=(["primary key"] if column.primary_key else []) + ranges,
    )


def loaded_metadata(result: LoadResult) -> Metadata:
    """Return the metadata of one materialisation."""
    figures: Metadata = {
        "outcome": result.outcome,
        "dagster/row_count": result.rows,
        "quarantined": result.quarantined,
        "version": result.version,
        "release_tag": result.release_tag,
        "sha256": result.sha256,
        "gz_bytes": result.gz_bytes,
        "table_bytes": result.table_bytes,
        "total_seconds": round(sum(result.seconds.values()), 3),
    }
    figures |= pin_metadata(result.pin)
    if result.held is not None:
        figures |= {"not_published": str(result.held), "held_version": result.held.version}
        figures.pop("gz_bytes")
    if result.extent is not None:
        figures["extent"] = "west {:.5f}, south {:.5f}, east {:.5f}, north {:.5f}".format(*result.extent)
    if result.clocks is not None:
        figures |= clock_metadata(**asdict(result.clocks))
    if result.rows_changed:
        figures |= _effort(result)
    if result.audits:
        figures["audits"] = _table(["audit", "outcome", "figures"], [_audit_row(audit) for audit in result.audits])
    return figures


def pin_metadata(pin: Pin | None) -> Metadata:
    """Return since when a layer is pinned, by whom, and why; nothing where it is not."""
    return {} if pin is None else {"pinned": str(pin)}


def clock_metadata(**clocks: datetime | None) -> Metadata:
    """Return a table's times (source_changed_at, checked_at, published_at) as far as they are known."""
    return {name: dg.MetadataValue.timestamp(moment) for name, moment in clocks.items() if moment is not None}


def _effort(result: LoadResult) -> Metadata:
    """Return what the load of these rows took."""
    return {
        "csv_bytes": result.csv_bytes,
        "rows_per_second": round(result.rows / max(0.001, sum(result.seconds.values()))),
        "peak_memory_bytes": result.peak_memory_bytes,
        "seconds": _table(["stage", "seconds"], [(stage, round(took, 3)) for stage, took in result.seconds.items()]),
    }


def _audit_row(audit: AuditResult) -> tuple[str, str, str]:
    outcome = "passed" if audit.passed else ("failed" if audit.severity == "ERROR" else "warning")
    return audit.name, outcome, ", ".join(f"{name} {value}" for name, value in audit.numbers.items())


def _table(columns: Sequence[str], rows: Sequence[tuple[str | float, ...]]) -> dg.TableMetadataValue:
    numeric = {name for row in rows for name, value in zip(columns, row, strict=True) if not isinstance(value, str)}
    return dg.MetadataValue.table(
        records=[dg.TableRecord(dict(zip(columns, row, strict=True))) for row in rows],
        schema=dg.TableSchema([dg.TableColumn(name, "float" if name in numeric else "string") for name in columns]),
    )


def declared_sync_metadata(table: DynamicTable) -> Metadata:
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
