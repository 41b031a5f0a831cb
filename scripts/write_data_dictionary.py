"""Write docs/data-dictionary.md, every declared table and column in words: `.venv/bin/python scripts/…`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa

from flux_assets.spec import Declaration, DynamicTable, StaticTable, index_method, index_terms, type_ddl
from flux_assets.spec.facts import Derived
from flux_assets.tables import declarations

PAGE = Path(__file__).resolve().parent.parent / "docs" / "data-dictionary.md"

_HEAD = """# Data dictionary

Written from the declarations in `flux_assets/tables/` by `scripts/write_data_dictionary.py`; the test suite fails when
the two differ. All positions are degrees in EPSG:4326, all times are UTC. *Key* is the primary key; a reference (→) is
judged by the check `relationships` and enforced by nothing.
"""


def dictionary(tables: Sequence[Declaration]) -> str:
    """Return the dictionary of these tables, one section each, in the order given."""
    contents = "\n".join(f"- [{table.name}](#{table.name}): {table.description}" for table in tables)
    sections = "\n".join("\n".join(_section(table)) for table in tables)
    return f"{_HEAD}\n{contents}\n\n{sections}"


def _section(table: Declaration) -> Iterator[str]:
    yield f"## {table.name}"
    yield ""
    yield table.description
    yield ""
    yield from (f"- {fact}" for fact in _facts(table))
    yield ""
    yield from _columns(table)
    yield ""


def _facts(table: Declaration) -> Iterator[str]:
    if isinstance(table, StaticTable):
        file = f"`{table.file_name}` of a release, or the same in another [format](formats.md)"
        yield f"loaded from {file}, published as a version; kept by {table.owner}"
    if isinstance(table, DynamicTable):
        rows = f"rows of which {table.row_filter.description}" if table.row_filter else "every row"
        yield f"synced from Snowflake's `{table.source}`, {rows}; kept by {table.owner}"
        warn, fail = _minutes(table.freshness.warn), _minutes(table.freshness.fail)
        yield f"late {warn} after the last sync, not to be trusted after {fail}"
    yield f"key: {_names(table.key)}" if table.key else "no key"
    yield from (f"unique: {_names(columns)}" for columns in table.unique_keys)
    if table.indexes:
        shown = (
            f"{'unique ' if i.unique else ''}{index_method(i)} ({', '.join(index_terms(i))})" for i in table.indexes
        )
        yield f"indexes: {', '.join(shown)}"
    yield f"plausible number of rows, before there are earlier ones: {_bounds(table)}"


def _bounds(table: Declaration) -> str:
    least, most = table.volume.minimum, table.volume.maximum
    return f"{least or 0:,} or more" if most is None else f"{least or 0:,} to {most:,}"


def _minutes(span: timedelta) -> str:
    return f"{span.total_seconds() / 60:g} min"


def _columns(table: Declaration) -> Iterator[str]:
    yield "| column | type | what it holds |"
    yield "|---|---|---|"
    for column in table.columns:
        words = " ".join([str(column.comment), *_facts_of_column(table, column)])
        yield f"| `{column.name}` | {type_ddl(column)}{_marks(table, column)} | {words} |"


def _marks(table: Declaration, column: sa.Column[object]) -> str:
    if column.name in table.key:
        return ", key"
    return "" if column.nullable else ", not null"


def _facts_of_column(table: Declaration, column: sa.Column[object]) -> Iterator[str]:
    name = column.name
    yield from (f"→ `{r.to_table}.{r.to_column}`." for r in table.references if r.column == name)
    yield from (f"Between {r.minimum:g} and {r.maximum:g}." for r in table.ranges if r.column == name)
    yield from (f"One of {_either(a.values)}." for a in table.accepted if a.column == name)
    if isinstance(table, DynamicTable):
        yield from (_source(source.names) for source in table.source_columns if source.target == name)
        yield from (_derived(derived) for derived in table.derived if derived.target == name)


def _source(names: Sequence[str]) -> str:
    return f"Source: {', else '.join(f'`{name}`' for name in names)}."


def _derived(derived: Derived) -> str:
    rows = f"the rows of `{derived.from_table}` with the same `{derived.there}`"
    if derived.where_column:
        rows += f" whose `{derived.where_column}` is {_either(derived.where_values)}"
    what = {"count": f"the number of {rows}", "avg": f"the mean `{derived.of_column}` of {rows}"}
    value = what.get(derived.function, f"`{derived.of_column}` of {rows}")
    return f"Where the source has none, {value}." if derived.fills else f"Computed here: {value}."


def _either(values: Sequence[str]) -> str:
    *most, last = values
    return f"{', '.join(most)} or {last}" if most else last


def _names(columns: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in columns)


if __name__ == "__main__":
    PAGE.write_text(dictionary(declarations()), encoding="utf-8")
