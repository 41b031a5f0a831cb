"""What Dagster's UI shows about a layer: its columns, and the figures of one load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
import sqlalchemy as sa

from flux_assets.checks.audit import AuditResult
from flux_assets.layers.pins import Pin
from flux_assets.orchestration.links import table_links
from flux_assets.spec import Declaration, StaticTable, type_ddl

if TYPE_CHECKING:
    from flux_assets.layers.load import LoadResult

Metadata = dict[str, Any]


def declared_metadata(table: StaticTable) -> Metadata:
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
