"""Where an asset's page leads: SQL that shows its rows, the file that declares it, the page of the docs about it."""

from __future__ import annotations

import warnings
from typing import Any

import dagster as dg
from psycopg import sql as psql

from flux_assets.settings import REPOSITORY
from flux_assets.spec import Declaration, DynamicTable, StaticTable
from flux_assets.sqlfiles import query
from flux_assets.tables import declared_in

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
