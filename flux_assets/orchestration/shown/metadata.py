"""What Dagster's UI shows of a table: its columns, links to SQL, code and docs, and the figures of a load or sync."""

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
from flux_assets.orchestration.names import Names
from flux_assets.settings import REPOSITORY
from flux_assets.spec import Declaration, DynamicTable, StaticTable, View, type_ddl
from flux_assets.spec.facts import SourceColumn
from flux_assets.sqlfiles import query
from flux_assets.sync.result import TableResult

if TYPE_CHECKING:
    from flux_assets.layers.load import LoadResult

_Metadata = dict[str, Any]


def declared_metadata(table: StaticTable | DynamicTable, names: Names) -> _Metadata:
    """Return the metadata of the asset itself, the same whatever is loaded or synced."""
    shown: _Metadata = {"dagster/column_schema": _column_schema(table)}
    if isinstance(table, StaticTable):
        if table.file != "none":
            shown["release_file"] = table.file_name
        if table.computed:
            shown["query"] = dg.MetadataValue.md(f"```sql\n{table.computed.query}\n```")
    else:
        shown["snowflake_table"] = table.source
        shown["row_filter"] = table.row_filter.description if table.row_filter else "every row"
        if table.derived:
            shown["computed_columns"] = dg.MetadataValue.json(_computed(table))
    if table.references:
        shown["references"] = "; ".join(f"{r.column} → {r.to_table}.{r.to_column}" for r in table.references)
    queries = f"{_some_rows(table.name)}\n{_ledger('status', table)}"
    about = "publishing.md" if isinstance(table, StaticTable) else "syncing.md"
    if isinstance(table, StaticTable) and table.computed:
        about = "derived-layers.md"
    return shown | _links(table, names, queries, "`flux-assets psql`, or any client of PostGIS", about)


def _column_schema(table: Declaration) -> dg.TableSchema:
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


def _computed(table: DynamicTable) -> dict[str, str]:
    """Return what each column is computed from."""
    shown = {}
    for column in table.derived:
        what = "count" if column.of_column is None else f"{column.function} of {column.of_column}"
        only = f", {column.where_column} one of {', '.join(column.where_values)}" if column.where_column else ""
        unless = ", where the source has none" if column.fills else ""
        shown[column.target] = f"{what} of rows of {column.from_table} with the same {column.there}{only}{unless}"
    return shown


def origin_metadata(table: StaticTable | DynamicTable, names: Names) -> _Metadata:
    """Return the metadata of a layer's file in the release, or of a dynamic table's source in Snowflake.

    The types of a source's columns are those that they become: its own may be any that can be read as such.
    """
    if isinstance(table, StaticTable):
        by = "the versions made from it, by `flux-assets psql`"
        links = _links(table, names, _ledger("versions", table), by, "publishing.md")
        return {"dagster/column_schema": _column_schema(table), **links}
    types = {column.name: type_ddl(column) for column in table.columns}
    columns = [
        dg.TableColumn(
            column.names[0],
            types[column.target],
            description=_feeding(column),
            constraints=dg.TableColumnConstraints(other=["required"] if column.required else []),
        )
        for column in table.source_columns
    ]
    by = "in Snowflake, in the database and schema of the settings"
    links = _links(table, names, _some_rows(table.source), by, "source-contract.md")
    return {"dagster/column_schema": dg.TableSchema(columns), **links}


def _feeding(column: SourceColumn) -> str:
    others = " or ".join(column.names[1:])
    return f"Feeds {column.target}" + (f"; where there is none of this name, {others} does." if others else ".")


def _some_rows(table: str) -> str:
    return query("links", "some_rows").format(table=psql.SQL(table)).as_string() + ";"


def _ledger(name: str, table: Declaration) -> str:
    return query("links", name).format(layer=psql.Literal(table.name)).as_string() + ";"


def view_metadata(view: View, names: Names) -> _Metadata:
    """Return the metadata of a view's asset itself."""
    shown = {"query": dg.MetadataValue.md(f"```sql\n{view.query}\n```")}
    return shown | _links(
        view, names, _some_rows(view.name), "`flux-assets psql`, or any client of PostGIS", "derived-layers.md"
    )


def _links(table: Declaration | View, names: Names, queries: str, by: str, about: str) -> _Metadata:
    """Return queries to copy, and those files on this machine that exist, for the button that opens an editor."""
    shown: _Metadata = {"sql": dg.MetadataValue.md(f"```sql\n{queries}\n```\n{by}")}
    files = [(names.catalogue.files.get(table.name), "the declaration"), (REPOSITORY / "docs" / about, f"docs/{about}")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        if references := [
            dg.LocalFileCodeReference(file_path=str(path), line_number=1, label=label)
            for path, label in files
            if path and path.is_file()
        ]:
            shown["dagster/code_references"] = dg.CodeReferencesMetadataValue(code_references=list(references))
    return shown


def loaded_metadata(result: LoadResult) -> _Metadata:
    """Return the metadata of one materialisation of a layer."""
    total_seconds = sum(result.seconds.values())
    figures: _Metadata = {
        "outcome": result.outcome,
        "dagster/row_count": result.rows,
        "rows_quarantined": result.quarantined,
        "version": result.version,
        "release_tag": result.release_tag,
        "sha256": result.sha256,
        "gz_bytes": result.gz_bytes,
        "table_bytes": result.table_bytes,
        "duration_seconds": round(total_seconds, 3),
        **({"lock_seconds": round(result.lock_seconds, 4)} if result.lock_seconds is not None else {}),
        **({"pinned": str(result.pin)} if result.pin else {}),
        **({"mapping": result.mapping} if result.mapping else {}),
        **({"inputs": dg.MetadataValue.json(dict(result.inputs))} if result.inputs else {}),
    }
    if result.held is not None:
        figures |= {"not_published": str(result.held), "held_version": result.held.version}
        figures.pop("gz_bytes")
    if result.extent is not None:
        figures["extent"] = "west {:.5f}, south {:.5f}, east {:.5f}, north {:.5f}".format(*result.extent)
    if result.clocks is not None:
        figures |= _clock_metadata(**asdict(result.clocks))
    if result.rows_changed:
        seconds = [(step, round(took, 3)) for step, took in result.seconds.items()]
        figures |= {
            "csv_bytes": result.csv_bytes,
            "rows_per_second": round(result.rows / max(0.001, total_seconds)),
            "peak_memory_bytes": result.peak_memory_bytes,
            "step_seconds": _table({"step": "string", "seconds": "float"}, seconds),
        }
    if result.audits:
        columns = dict.fromkeys(("audit", "outcome", "figures"), "string")
        figures["audits"] = _table(columns, [_audit_row(audit) for audit in result.audits])
    return figures


def _clock_metadata(**clocks: datetime | None) -> _Metadata:
    """Return a table's times (source_changed_at, checked_at, published_at) as far as they are known."""
    return {name: dg.MetadataValue.timestamp(moment) for name, moment in clocks.items() if moment is not None}


def _audit_row(audit: AuditResult) -> tuple[str, str, str]:
    outcome = "passed" if audit.passed else ("failed" if audit.severity == "ERROR" else "warning")
    return audit.name, outcome, ", ".join(f"{name} {value}" for name, value in audit.numbers.items())


def _table(columns: dict[str, str], rows: Sequence[tuple[str | float, ...]]) -> dg.TableMetadataValue:
    return dg.MetadataValue.table(
        records=[dg.TableRecord(dict(zip(columns, row, strict=True))) for row in rows],
        schema=dg.TableSchema([dg.TableColumn(name, kind) for name, kind in columns.items()]),
    )


def synced_metadata(done: TableResult) -> _Metadata:
    """Return the metadata of one materialisation of a dynamic table: short, for there are 288 a day.

    The table was checked at the instant as of which its source was read. What the ledger and its views know too has the
    same name there; how old the newest change was when readers could see it, they do not.
    """
    age = {} if done.lag_seconds is None else {"change_age_seconds": round(done.lag_seconds, 1)}
    return {
        "outcome": done.outcome,
        "gate": done.gate,
        "dagster/row_count": done.rows,
        "rows_read": done.rows_read,
        "rows_inserted": done.inserted,
        "rows_updated": done.updated,
        "rows_deleted": done.deleted,
        "rows_unchanged": done.unchanged,
        "bytes": done.bytes,
        "duration_seconds": round(done.total_seconds, 3),
        "step_seconds": dg.MetadataValue.json({step: round(took, 3) for step, took in done.seconds.items()}),
        **_clock_metadata(
            source_changed_at=done.source_changed_at, checked_at=done.source_instant, published_at=done.published_at
        ),
        **age,
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
