"""The statements that the sync sends, as Snow CLI templates and rendered."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from flux_assets.snowflake.account import Account
from flux_assets.snowflake.mapping import Mapping
from flux_assets.snowflake.quoting import (
    compiled,
    identifier,
    literal,
    literals,
    quoted,
    render,
    template,
    text_literal,
)
from flux_assets.spec import DynamicTable
from flux_assets.spec.facts import RowFilter

# The alias of the column that dates a row's last change; it is read for its maximum and not kept.
_CHANGED = "flux:changed"
# The alias of the last column: how many rows the query found, whatever limit cuts its result.
_FOUND = "flux:found"


def rows_template(mapping: Mapping) -> str:
    """Return the SELECT of the rows to read. Variables: `database`, with defaults `schema`, `snapshot`, `cutoff`."""
    selected = [f"{column.expression} AS {quoted(column.target)}" for column in mapping.columns]
    if mapping.change_column is not None:
        selected.append(f"{mapping.change_column.expression} AS {quoted(_CHANGED)}")
    selected.append(f"COUNT(*) OVER () AS {quoted(_FOUND)}")
    lines = ["SELECT", ",\n".join(f"    {template(item)}" for item in selected), _from(mapping)]
    if mapping.row_filter is not None:
        lines.append(f"WHERE {_taken(mapping, mapping.row_filter)}")
    order = ", ".join(mapping.by_target[name].comparable for name in mapping.table.key)
    # In the order of the key, so that a fingerprint can be taken of the stream.
    lines.append(f"ORDER BY {template(order)}")
    return "\n".join(lines) + "\n"


def prepare_rows(mapping: Mapping) -> None:
    """Do the part of `rows_query` that does not need the instant."""
    compiled(rows_template(mapping))


def rows_query(mapping: Mapping, account: Account, instant: datetime, *, travel: bool) -> str:
    """Return the SELECT of the rows to read, as of `instant` where the source supports time travel."""
    place = _place(account) | _snapshot(instant, travel=travel) | _cutoff(mapping, instant)
    return render(rows_template(mapping), **place)


def existing_query(
    mapping: Mapping,
    keys: Sequence[tuple[object, ...]],
    account: Account,
    instant: datetime,
    *,
    travel: bool,
    only_taken: bool = False,
) -> str:
    """Return the SELECT of those of the keys that the source object has; with `only_taken`, of rows to read alone."""
    own = [mapping.by_target[name] for name in mapping.table.key]
    selected = ", ".join(f"{column.expression} AS {quoted(column.target)}" for column in own)
    if len(own) == 1:
        where = f"{own[0].comparable} IN ({literals([key[0] for key in keys])})"
    else:
        equal = (zip(own, key, strict=True) for key in keys)
        where = " OR ".join(f"({' AND '.join(f'{c.comparable} = {literal(v)}' for c, v in pairs)})" for pairs in equal)
    text = f"SELECT {template(selected)}\n{_from(mapping)}\nWHERE ({template(where)})"
    if only_taken and mapping.row_filter is not None:
        text += f"\n    AND ({_taken(mapping, mapping.row_filter)})"
    return render(text, **_place(account), **_snapshot(instant, travel=travel), **_cutoff(mapping, instant))


def tokens_template(objects: Sequence[tuple[DynamicTable, str]]) -> str:
    """Return one SELECT of the change tokens of objects, each given as the template of a literal with its name."""
    asked = (f"    SYSTEM$LAST_CHANGE_COMMIT_TIME({name}) AS {quoted(table.name)}" for table, name in objects)
    return "SELECT\n" + ",\n".join(asked) + "\n"


def tokens_query(objects: Sequence[tuple[DynamicTable, str]], account: Account) -> str:
    """Return the same, rendered."""
    return render(tokens_template(objects), **_place(account))


def everything(object_sql: str) -> str:
    """Return a statement whose description lists the columns of an object of any kind."""
    return f"SELECT * FROM {object_sql}"


def expression_probe(expression: str, object_sql: str) -> str:
    """Return a statement whose description tells the type of a configured expression."""
    return f"SELECT ({expression}) AS A FROM {object_sql}"


def travel_probe(object_sql: str) -> str:
    """Return a statement that can be described if the object can be read as of an instant."""
    return f"SELECT 1 AS A FROM {object_sql} AT(TIMESTAMP => CURRENT_TIMESTAMP())"


def _from(mapping: Mapping) -> str:
    return f"FROM {mapping.object_template}<% snapshot | default('') %>"


def _taken(mapping: Mapping, taken: RowFilter) -> str:
    status = mapping.by_target[taken.status_column].comparable
    time = mapping.by_target[taken.time_column].comparable
    seconds = round(taken.window.total_seconds())
    cutoff = f"<% cutoff | default(\"DATEADD('second', -{seconds}, SYSDATE())\") %>"
    statuses = f"{template(status)} IN ({template(literals(taken.open_statuses))})"
    return f"{statuses}\n    OR {template(time)} >= {cutoff}"


def _cutoff(mapping: Mapping, instant: datetime) -> dict[str, str]:
    """Return the cutoff as a literal, so that the result cache can answer."""
    taken = mapping.row_filter
    return {} if taken is None else {"cutoff": literal(_naive(instant - taken.window))}


def _place(account: Account) -> dict[str, str]:
    return {"database": identifier(account.database), "schema": identifier(account.schema)}


def _snapshot(instant: datetime, *, travel: bool) -> dict[str, str]:
    stamp = text_literal(instant.astimezone(UTC).isoformat())
    return {"snapshot": f" AT(TIMESTAMP => {stamp}::TIMESTAMP_TZ)" if travel else ""}


def _naive(instant: datetime) -> datetime:
    return instant.astimezone(UTC).replace(tzinfo=None)
