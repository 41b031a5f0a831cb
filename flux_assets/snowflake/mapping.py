"""A source as it was found: its name, the SQL of each of its columns, and the statements that read it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from flux_assets.snowflake.account import Account
from flux_assets.spec import DynamicTable

if TYPE_CHECKING:
    from jinja2 import Template

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")
_PART = re.compile(r'\s*(?:"((?:[^"]|"")+)"|([A-Za-z_][A-Za-z0-9_$]*))\s*(\.|\Z)')
_MARKS = re.compile(r"<%|%>|\{#|#\}")
# Snow CLI has no blocks: their marks are ones that nobody writes.
_NO_BLOCKS = "___very___unique___block___to___disable___logic___blocks___"
# The aliases of the column that dates a row's last change, read for its maximum and not kept, and of the last column:
# how many rows the query found, whatever limit cuts its result.
_CHANGED, _FOUND = "flux:changed", "flux:found"


def quoted(name: str) -> str:
    """Quote a name in its exact case."""
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def literal(value: object) -> str:
    """Write a value as a SQL literal; a time is written as it is, without its zone."""
    if isinstance(value, (int, Decimal)):
        return str(value)
    if isinstance(value, float):
        return f"'{value!r}'::FLOAT"
    if isinstance(value, datetime):
        return f"'{value.replace(tzinfo=None).isoformat(sep=' ')}'::TIMESTAMP_NTZ"
    if isinstance(value, date):
        return f"'{value.isoformat()}'::DATE"
    # Snowflake reads a backslash in a literal as an escape.
    escaped = str(value).replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"


def template(text: str) -> str:
    """Escape SQL for a template: what Snow CLI would take for its own marks becomes text."""
    return _MARKS.sub(lambda match: f"<% {match[0]!r} %>", text)


def render(text: str, account: Account | None = None, **variables: str) -> str:
    """Fill in the variables of a template, as `snow sql -D name=value` does; one without a value is an error.

    Database and schema are those of the account, where one is given.
    """
    place = {"database": _of_setting(account.database), "schema": _of_setting(account.schema)} if account else {}
    return _compiled(text).render(place, **variables)


@lru_cache(maxsize=32)
def _compiled(text: str) -> Template:
    """Return the template, compiled, which takes as long as a small query."""
    from jinja2 import StrictUndefined, Template

    return Template(
        text,
        variable_start_string="<%",
        variable_end_string="%>",
        block_start_string=_NO_BLOCKS,
        block_end_string=_NO_BLOCKS,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )


def _of_setting(name: str) -> str:
    """Write a name from a setting as SQL: plain ones in upper case, as Snowflake reads them; others in quotes."""
    if name.startswith('"') and name.endswith('"') and len(name) > 2:
        return name
    return name.upper() if _PLAIN.fullmatch(name) else quoted(name)


@dataclass(frozen=True, kw_only=True)
class ObjectName:
    """The name of a source; `database` and `schema` None are those of the account."""

    name: str
    database: str | None = None
    schema: str | None = None

    @classmethod
    def of(cls, table: DynamicTable, replacement: str | None) -> ObjectName:
        """Return the name of the declared source, or of the object that replaces it."""
        if replacement is None:
            return cls(name=table.source)
        *outer, name = cls.parts(replacement) or (replacement,)
        schema, database = ([*reversed(outer), None, None])[:2]
        return cls(name=name, schema=schema, database=database)

    @staticmethod
    def parts(text: str) -> tuple[str, ...] | None:
        """Return the exact names in `database.schema.name`, quoted or not; None when it is not of that form."""
        found: list[str] = []
        position, ended = 0, False
        while not ended:
            match = _PART.match(text, position)
            if match is None or len(found) == 3:
                return None
            found.append(match[1].replace('""', '"') if match[1] else match[2].upper())
            position, ended = match.end(), match[3] == ""
        return tuple(found)

    def sql(self, account: Account) -> str:
        """Return the full name as SQL."""
        return render(self.template, account)

    def schema_sql(self, account: Account) -> str:
        """Return the name of its schema as SQL."""
        return self.sql(account).removesuffix(f".{quoted(self.name)}")

    @property
    def template(self) -> str:
        """The full name in a Snow CLI template, with the variables `database` and `schema`."""
        return self._template(quoted)

    @property
    def literal_template(self) -> str:
        """The same as a string literal, which functions that take a name want."""
        return f"'{self._template(lambda name: literal(quoted(name))[1:-1])}'"

    def _template(self, written: Callable[[str], str]) -> str:
        database = template(written(self.database)) if self.database else "<% database %>"
        schema = template(written(self.schema)) if self.schema else "<% schema | default('PRODUCTION') %>"
        return f"{database}.{schema}.{template(written(self.name))}"


def tokens_template(names: Sequence[tuple[DynamicTable, ObjectName]]) -> str:
    """Return one SELECT of the change tokens of the objects that feed tables."""
    asked = (
        f"    SYSTEM$LAST_CHANGE_COMMIT_TIME({name.literal_template}) AS {quoted(table.name)}" for table, name in names
    )
    return "SELECT\n" + ",\n".join(asked) + "\n"


@dataclass(frozen=True, kw_only=True)
class MappedColumn:
    """A target with the SQL that is selected for it, the same before cutting (to compare with), and its sources.

    `found` is what was found for it, with types: another type may mean other values of the same SQL. One that is
    `absent` has no source column and is the same value in every row.
    """

    target: str
    expression: str
    comparable: str
    sources: tuple[str, ...]
    found: tuple[str, ...] = ()
    absent: bool = False


@dataclass(frozen=True, kw_only=True)
class Mapping:
    """A declared table's source as resolved: everything that the text of its query depends on.

    `missing` are targets without a source column: NULL, or what is declared for that (then they are in `columns` too).
    """

    table: DynamicTable
    object: str
    object_template: str
    columns: tuple[MappedColumn, ...]
    missing: tuple[str, ...]
    change_column: MappedColumn | None
    time_zone: str

    @cached_property
    def by_target(self) -> dict[str, MappedColumn]:
        return {column.target: column for column in self.columns}

    @cached_property
    def digest(self) -> str:
        """The SHA-256 (hex) of all that decides which rows and values are read."""
        content = (self.object, self.columns, self.missing, self.table.row_filter, self.time_zone)
        return hashlib.sha256(repr(content).encode()).hexdigest()

    @cached_property
    def rows_template(self) -> str:
        """The SELECT of the rows to read. Variables: `database`, with defaults `schema`, `snapshot`, `cutoff`."""
        selected = [f"{column.expression} AS {quoted(column.target)}" for column in self.columns]
        if self.change_column is not None:
            selected.append(f"{self.change_column.expression} AS {quoted(_CHANGED)}")
        selected.append(f"COUNT(*) OVER () AS {quoted(_FOUND)}")
        lines = ["SELECT", ",\n".join(f"    {template(item)}" for item in selected), self._from]
        if taken := self._taken:
            lines.append(f"WHERE {taken}")
        order = ", ".join(self.by_target[name].comparable for name in self.table.key)
        # In the order of the key, so that a fingerprint can be taken of the stream.
        lines.append(f"ORDER BY {template(order)}")
        return "\n".join(lines) + "\n"

    def prepare(self) -> None:
        """Do the part of `rows_query` that does not need the instant."""
        _compiled(self.rows_template)

    def rows_query(self, account: Account, instant: datetime, *, travel: bool) -> str:
        """Return the SELECT of the rows to read, as of `instant` where the source supports time travel."""
        return self._rendered(self.rows_template, account, instant, travel=travel)

    def existing_query(
        self,
        keys: Sequence[tuple[Any, ...]],
        account: Account,
        instant: datetime,
        *,
        travel: bool,
        only_taken: bool = False,
    ) -> str:
        """Return the SELECT of those of the keys that the object has; with `only_taken`, of rows to read alone."""
        own = [self.by_target[name] for name in self.table.key]
        selected = ", ".join(f"{column.expression} AS {quoted(column.target)}" for column in own)
        if len(own) == 1:
            where = f"{own[0].comparable} IN ({', '.join(literal(key[0]) for key in keys)})"
        else:
            equal = (
                " AND ".join(f"{column.comparable} = {literal(value)}" for column, value in zip(own, key, strict=True))
                for key in keys
            )
            where = " OR ".join(f"({pairs})" for pairs in equal)
        text = f"SELECT {template(selected)}\n{self._from}\nWHERE ({template(where)})"
        if only_taken and (taken := self._taken):
            text += f"\n    AND ({taken})"
        return self._rendered(text, account, instant, travel=travel)

    @property
    def _from(self) -> str:
        return f"FROM {self.object_template}<% snapshot | default('') %>"

    @property
    def _taken(self) -> str:
        """The condition of the rows to read; empty where every row is."""
        if (taken := self.table.row_filter) is None:
            return ""
        status, time = self.by_target[taken.status_column].comparable, self.by_target[taken.time_column].comparable
        seconds = round(taken.window.total_seconds())
        cutoff = f"<% cutoff | default(\"DATEADD('second', -{seconds}, SYSDATE())\") %>"
        statuses = template(", ".join(literal(each) for each in taken.open_statuses))
        return f"{template(status)} IN ({statuses})\n    OR {template(time)} >= {cutoff}"

    def _rendered(self, text: str, account: Account, instant: datetime, *, travel: bool) -> str:
        """Fill in the place, the instant, and the cutoff as a literal, so that the result cache can answer."""
        values = {"snapshot": _snapshot(instant) if travel else ""}
        if taken := self.table.row_filter:
            values["cutoff"] = literal((instant - taken.window).astimezone(UTC))
        return render(text, account, **values)


def _snapshot(instant: datetime) -> str:
    return f" AT(TIMESTAMP => '{instant.astimezone(UTC).isoformat()}'::TIMESTAMP_TZ)"
