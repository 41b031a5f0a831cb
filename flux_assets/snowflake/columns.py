"""Which source column feeds which target, for one declared table; the SQL that reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import sqlalchemy as sa

from flux_assets.errors import SourceError
from flux_assets.snowflake.mapping import MappedColumn, Mapping, literal, quoted
from flux_assets.snowflake.overrides import SourceOverride
from flux_assets.spec import DynamicTable, type_ddl
from flux_assets.spec.facts import SourceColumn

_NUMBERS = ("FIXED", "REAL")
_TIMES = ("TIMESTAMP", "TIMESTAMP_NTZ", "TIMESTAMP_LTZ", "TIMESTAMP_TZ", "DATE")
_TYPE_NAMES = {"FIXED": "NUMBER", "REAL": "FLOAT", "TEXT": "VARCHAR"}


@dataclass(frozen=True, kw_only=True)
class FoundColumn:
    """A column of a source object: its exact name, and Snowflake's kind of type."""

    name: str
    kind: str

    def __str__(self) -> str:
        return f"{self.name} ({_TYPE_NAMES.get(self.kind, self.kind)})"


@dataclass(frozen=True)
class _Target:
    """A declared type as the target of source columns of the `fitting` kinds; others need the `conversion`."""

    name: str
    declared: type[object]
    arrow: pa.DataType
    fitting: tuple[str, ...]
    conversion: str


# Derived types before those that they derive from.
_TARGETS = (
    # Identifiers may be kept as numbers.
    _Target("text", sa.String, pa.string(), ("TEXT", "FIXED"), "TO_VARCHAR({})"),
    # Counts may be kept as floating point; a value with a fraction is refused when it arrives.
    _Target("integer", sa.BigInteger, pa.int64(), _NUMBERS, "TRY_TO_NUMBER({}::VARCHAR)"),
    _Target("integer", sa.Integer, pa.int32(), _NUMBERS, "TRY_TO_NUMBER({}::VARCHAR)"),
    _Target("double", sa.Float, pa.float64(), _NUMBERS, "TRY_TO_DOUBLE({}::VARCHAR)"),
    _Target("numeric", sa.Numeric, pa.decimal128(38), _NUMBERS, "TRY_TO_NUMBER({}::VARCHAR, 38, 10)"),
    _Target("timestamp", sa.DateTime, pa.timestamp("us"), _TIMES, "TRY_CAST({}::VARCHAR AS TIMESTAMP_NTZ)"),
    _Target("date", sa.Date, pa.date32(), _TIMES, "TRY_TO_DATE({}::VARCHAR)"),
)


def _target(column: sa.Column[object]) -> _Target:
    return next(target for target in _TARGETS if isinstance(column.type, target.declared))


def arrow_type(column: sa.Column[object]) -> pa.DataType:
    """Return the Arrow type that a declared column's values have once they are read."""
    target = _target(column)
    if target.name == "numeric" and isinstance(column.type, sa.Numeric):
        return pa.decimal128(column.type.precision or 38, column.type.scale or 0)
    return target.arrow


def _comparable(sql: str, found: FoundColumn, target: str, time_zone: str) -> str:
    """Return `sql`, of the found kind, as the target's: times in UTC without a zone. Prunes if the source is in UTC."""
    if target == "text":
        return sql if found.kind == "TEXT" else f"{sql}::VARCHAR"
    if target not in {"timestamp", "date"}:
        return sql
    if found.kind in {"TIMESTAMP_LTZ", "TIMESTAMP_TZ", "TIMESTAMP"}:
        return f"CONVERT_TIMEZONE('UTC', {sql})::TIMESTAMP_NTZ"
    if found.kind == "DATE":
        if target == "date":
            return sql
        sql = f"{sql}::TIMESTAMP_NTZ"
    return sql if time_zone == "UTC" else f"CONVERT_TIMEZONE({literal(time_zone)}, 'UTC', {sql})"


def _selected(sql: str, target: str) -> str:
    """Return a comparable expression as it is selected: times cut to microseconds, as PostgreSQL keeps them."""
    if target == "timestamp":
        # The connector refuses nanoseconds in years that a 64-bit count of them does not reach, such as 9999.
        return f"DATE_TRUNC('MICROSECOND', {sql})"
    return f"{sql}::DATE" if target == "date" else sql


@dataclass(frozen=True, kw_only=True)
class Resolver:
    """Resolves one table against the columns that its source object has.

    `expressions` are the found kinds of the configured expressions, by target. `config` names the FLUX_CONFIG file in
    messages.
    """

    table: DynamicTable
    object: str
    object_template: str
    found: Sequence[FoundColumn]
    override: SourceOverride = field(default_factory=SourceOverride)
    expressions: dict[str, FoundColumn] = field(default_factory=dict)
    config: str = "FLUX_CONFIG"

    def mapping(self) -> Mapping:
        """Return the mapping. Raises SourceError naming a column missing or of the wrong type, and what was found."""
        resolved = {column.target: self._column(column) for column in self.table.source_columns}
        optional = {column.target for column in self.table.source_columns if column.optional}
        in_order = [(name, resolved[name]) for name in self.table.source_filled]
        return Mapping(
            table=self.table,
            object=self.object,
            object_template=self.object_template,
            columns=tuple(mapped for _, mapped in in_order if mapped is not None),
            missing=tuple(
                name for name, mapped in in_order if name not in optional and (mapped is None or mapped.absent)
            ),
            change_column=self._change_column(),
            time_zone=self.override.time_zone,
        )

    def _column(self, declared: SourceColumn) -> MappedColumn | None:
        target = _target(self.table.table.columns[declared.target])
        if (expression := self.expressions.get(declared.target)) is not None:
            sql = f"({self.override.columns[declared.target].expression})"
            # Text of an expression may hold numbers, and is judged when it arrives.
            if ("FIXED" if expression.kind == "TEXT" else expression.kind) not in target.fitting:
                raise self._unfit(declared, expression, sql)
            return self._mapped(declared, target.name, [(sql, expression)], ())
        sources = self._sources(declared)
        # A yes or no becomes true or false in a text that few sources have.
        kinds = (*target.fitting, "BOOLEAN") if declared.optional and target.name == "text" else target.fitting
        fitting = [source for source in sources if source.kind in kinds]
        if declared.optional and declared.target not in self.override.columns:
            sources = fitting
        if not sources:
            return self._absent(declared)
        if sources[0] not in fitting:
            raise self._unfit(declared, sources[0], quoted(sources[0].name))
        pieces = [(quoted(source.name), source) for source in fitting]
        return self._mapped(declared, target.name, pieces, tuple(source.name for source in fitting))

    def _mapped(
        self,
        declared: SourceColumn,
        target: str,
        pieces: Sequence[tuple[str, FoundColumn]],
        sources: tuple[str, ...],
    ) -> MappedColumn:
        alternatives = [_comparable(sql, found, target, self.override.time_zone) for sql, found in pieces]
        if declared.otherwise is not None:
            alternatives.append(literal(declared.otherwise))
        sql = alternatives[0] if len(alternatives) == 1 else f"COALESCE({', '.join(alternatives)})"
        configured = self.override.columns.get(declared.target)
        if configured is not None and configured.values:
            replaced = (f"WHEN {literal(old)} THEN {literal(new)}" for old, new in configured.values.items())
            sql = f"CASE {sql} {' '.join(replaced)} ELSE {sql} END"
        return MappedColumn(
            target=declared.target,
            comparable=sql,
            expression=_selected(sql, target),
            sources=sources,
            found=tuple(str(found) for _, found in pieces),
        )

    def _sources(self, declared: SourceColumn) -> list[FoundColumn]:
        """Return the columns that exist, in order of preference; a configured name replaces the declared ones."""
        configured = self.override.columns.get(declared.target)
        if configured is None or configured.column is None:
            return list(dict.fromkeys(filter(None, map(self._named, declared.names))))
        if found := self._named(configured.column):
            return [found]
        raise SourceError(
            f"{self.table.name}.{declared.target}: {self.object} has no column {configured.column}, which "
            f"{self.config} names; it has {self._shown}.",
            f"Correct {self.table.source}.columns.{declared.target} in {self.config}.",
        )

    def _named(self, name: str) -> FoundColumn | None:
        """Return the column of exactly this name, or else the only one whose name differs in case alone."""
        exact = [column for column in self.found if column.name == name]
        alike = exact or [column for column in self.found if column.name.upper() == name.upper()]
        return alike[0] if len(alike) == 1 else None

    def _absent(self, declared: SourceColumn) -> MappedColumn | None:
        """Return what replaces a column without a source. Raises SourceError when it is required."""
        if declared.required:
            raise SourceError(
                f"{self.table.name}.{declared.target} is required, and {self.object} has none of the columns "
                f"{', '.join(declared.names)}; it has {self._shown}.",
                f'Name the column in {self.config}: [{self.table.source}.columns] {declared.target} = "COLUMN".',
            )
        if declared.otherwise is None:
            return None
        sql = literal(declared.otherwise)
        return MappedColumn(target=declared.target, comparable=sql, expression=sql, sources=(), absent=True)

    def _unfit(self, declared: SourceColumn, found: FoundColumn, sql: str) -> SourceError:
        column = self.table.table.columns[declared.target]
        converted = _target(column).conversion.format(sql).replace("'", "\\'")
        return SourceError(
            f"{self.table.name}.{declared.target} is {type_ddl(column)}, and what {self.object} has for it is not: "
            f"{found}.",
            f"Set in {self.config} how to read it: [{self.table.source}.columns] "
            f"{declared.target} = {{ expression = '{converted}' }}.",
        )

    def _change_column(self) -> MappedColumn | None:
        """Return the column that dates a row's last change, where the source has one that is a time."""
        for found in filter(None, map(self._named, self.table.change_names)):
            if found.kind in _TIMES:
                sql = _comparable(quoted(found.name), found, "timestamp", self.override.time_zone)
                expression = _selected(sql, "timestamp")
                return MappedColumn(target="", comparable=sql, expression=expression, sources=(found.name,))
        return None

    @property
    def _shown(self) -> str:
        return ", ".join(str(column) for column in self.found) or "no columns"
