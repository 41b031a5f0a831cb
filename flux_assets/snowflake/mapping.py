"""Which source column feeds which target, for one declared table and the source object as it was found."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from flux_assets.errors import SourceError
from flux_assets.snowflake.account import Account
from flux_assets.snowflake.columns import FoundColumn, as_expected, comparable, conversion, fits, selected, target_kind
from flux_assets.snowflake.overrides import SourceOverride
from flux_assets.snowflake.quoting import identifier, literal, parts, quoted, template, text_literal
from flux_assets.spec import DynamicTable, type_ddl
from flux_assets.spec.facts import RowFilter, SourceColumn


@dataclass(frozen=True, kw_only=True)
class ObjectName:
    """The name of a source; `database` and `schema` None are those of the account."""

    name: str
    database: str | None = None
    schema: str | None = None

    @classmethod
    def of(cls, table: DynamicTable, override: SourceOverride) -> ObjectName:
        """Return the name of the declared source, or of the object that replaces it."""
        if override.object is None:
            return cls(name=table.source)
        *outer, name = parts(override.object) or (override.object,)
        schema, database = ([*reversed(outer), None, None])[:2]
        return cls(name=name, schema=schema, database=database)

    def sql(self, account: Account) -> str:
        """Return the full name as SQL."""
        return f"{self.schema_sql(account)}.{quoted(self.name)}"

    def schema_sql(self, account: Account) -> str:
        """Return the name of its schema as SQL."""
        database = quoted(self.database) if self.database else identifier(account.database)
        schema = quoted(self.schema) if self.schema else identifier(account.schema)
        return f"{database}.{schema}"

    @property
    def template(self) -> str:
        """The full name in a Snow CLI template, with the variables `database` and `schema`."""
        return self._template(quoted)

    @property
    def literal_template(self) -> str:
        """The same as a string literal, which functions that take a name want."""
        return f"'{self._template(lambda name: text_literal(quoted(name))[1:-1])}'"

    def _template(self, written: Callable[[str], str]) -> str:
        database = template(written(self.database)) if self.database else "<% database %>"
        schema = template(written(self.schema)) if self.schema else "<% schema | default('PRODUCTION') %>"
        return f"{database}.{schema}.{template(written(self.name))}"


@dataclass(frozen=True, kw_only=True)
class _MappedColumn:
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
    columns: tuple[_MappedColumn, ...]
    missing: tuple[str, ...]
    change_column: _MappedColumn | None
    time_zone: str

    @property
    def row_filter(self) -> RowFilter | None:
        """The filter of the rows that are read, as configured."""
        return self.table.row_filter

    @cached_property
    def by_target(self) -> dict[str, _MappedColumn]:
        return {column.target: column for column in self.columns}

    @cached_property
    def digest(self) -> str:
        """The SHA-256 (hex) of all that decides which rows and values are read."""
        content = (self.object, self.columns, self.missing, self.row_filter, self.time_zone)
        return hashlib.sha256(repr(content).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Resolver:
    """Resolves one table against the columns that its source object has.

    `expressions` are the found kinds of the configured expressions, by target. `config` names the FLUX_CONFIG file in
    messages.
    """

    table: DynamicTable
    override: SourceOverride
    object: str
    found: Sequence[FoundColumn]
    expressions: dict[str, FoundColumn]
    config: str = "FLUX_CONFIG"

    def mapping(self, object_template: str) -> Mapping:
        """Return the mapping. Raises SourceError naming a column missing or of the wrong type, and what was found."""
        resolved = {column.target: self._column(column) for column in self.table.source_columns}
        return Mapping(
            table=self.table,
            object=self.object,
            object_template=object_template,
            columns=tuple(mapped for name in self.table.source_filled if (mapped := resolved[name]) is not None),
            missing=tuple(
                name for name in self.table.source_filled if (mapped := resolved[name]) is None or mapped.absent
            ),
            change_column=self._change_column(),
            time_zone=self.override.time_zone,
        )

    def _column(self, declared: SourceColumn) -> _MappedColumn | None:
        target = target_kind(self.table.table.columns[declared.target])
        if (expression := self.expressions.get(declared.target)) is not None:
            sql = f"({self.override.columns[declared.target].expression})"
            if not as_expected(expression.kind, target):
                raise self._unfit(declared, expression, sql)
            return self._mapped(declared, [(sql, expression)], ())
        sources = self._sources(declared)
        if not sources:
            return self._absent(declared)
        if not fits(sources[0].kind, target):
            raise self._unfit(declared, sources[0], quoted(sources[0].name))
        fitting = [source for source in sources if fits(source.kind, target)]
        pieces = [(quoted(source.name), source) for source in fitting]
        return self._mapped(declared, pieces, tuple(source.name for source in fitting))

    def _mapped(
        self, declared: SourceColumn, pieces: Sequence[tuple[str, FoundColumn]], sources: tuple[str, ...]
    ) -> _MappedColumn:
        target = target_kind(self.table.table.columns[declared.target])
        alternatives = [comparable(sql, found, target, self.override.time_zone) for sql, found in pieces]
        if declared.otherwise is not None:
            alternatives.append(literal(declared.otherwise))
        sql = alternatives[0] if len(alternatives) == 1 else f"COALESCE({', '.join(alternatives)})"
        kinds = tuple(str(found) for _, found in pieces)
        return _MappedColumn(
            target=declared.target, comparable=sql, expression=selected(sql, target), sources=sources, found=kinds
        )

    def _sources(self, declared: SourceColumn) -> list[FoundColumn]:
        """Return the columns that exist, in order of preference; a configured name replaces the declared ones."""
        configured = self.override.columns.get(declared.target)
        if configured is not None and configured.column is not None:
            found = self._named(configured.column)
            if found is None:
                raise SourceError(
                    f"{self.table.name}.{declared.target}: {self.object} has no column {configured.column}, which "
                    f"{self.config} names; it has {self._shown()}.",
                    f"Correct {self.table.source}.columns.{declared.target} in {self.config}.",
                )
            return [found]
        return list(dict.fromkeys(filter(None, map(self._named, declared.names))))

    def _named(self, name: str) -> FoundColumn | None:
        """Return the column of exactly this name, or else the only one whose name differs in case alone."""
        exact = [column for column in self.found if column.name == name]
        alike = exact or [column for column in self.found if column.name.upper() == name.upper()]
        return alike[0] if len(alike) == 1 else None

    def _absent(self, declared: SourceColumn) -> _MappedColumn | None:
        """Return what replaces a column without a source. Raises SourceError when it is required."""
        if declared.required:
            raise SourceError(
                f"{self.table.name}.{declared.target} is required, and {self.object} has none of the columns "
                f"{', '.join(declared.names)}; it has {self._shown()}.",
                f'Name the column in {self.config}: [{self.table.source}.columns] {declared.target} = "COLUMN".',
            )
        if declared.otherwise is None:
            return None
        sql = literal(declared.otherwise)
        return _MappedColumn(target=declared.target, comparable=sql, expression=sql, sources=(), absent=True)

    def _unfit(self, declared: SourceColumn, found: FoundColumn, sql: str) -> SourceError:
        column = self.table.table.columns[declared.target]
        converted = conversion(target_kind(column), sql).replace("'", "\\'")
        return SourceError(
            f"{self.table.name}.{declared.target} is {type_ddl(column)}, and what {self.object} has for it is not: "
            f"{found}.",
            f"Set in {self.config} how to read it: [{self.table.source}.columns] "
            f"{declared.target} = {{ expression = '{converted}' }}.",
        )

    def _change_column(self) -> _MappedColumn | None:
        """Return the column that dates a row's last change, where the source has one that is a time."""
        for found in filter(None, map(self._named, self.table.change_names)):
            if fits(found.kind, "timestamp"):
                sql = comparable(quoted(found.name), found, "timestamp", self.override.time_zone)
                expression = selected(sql, "timestamp")
                return _MappedColumn(target="", comparable=sql, expression=expression, sources=(found.name,))
        return None

    def _shown(self) -> str:
        return ", ".join(str(column) for column in self.found) or "no columns"
