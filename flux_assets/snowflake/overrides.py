"""FLUX_CONFIG: one optional TOML file with what differs from the declarations, per Snowflake source and table."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, TypeVar
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from flux_assets import legality
from flux_assets.config_file import read_config
from flux_assets.errors import SettingError
from flux_assets.settings import Duration
from flux_assets.snowflake.mapping import ObjectName
from flux_assets.spec import DynamicTable
from flux_assets.spec.facts import Derived, Volume

_A_COLUMN = 'must be a column name in quotes, { expression = "…" } or { values = { … } }'
# Files beside those of the IANA list: what they mean depends on the machine, or Snowflake does not know them.
_OF_THE_MACHINE = ("localtime", "posixrules", "Factory", "posix/", "right/")
_VOLUME = "volume"
_Model = TypeVar("_Model", bound=BaseModel)
# Keys that are facts of the declaration under the same name.
_OF_TABLE = ("vanished_share", "vanished_minimum", "change_token", "token_lasts", "read_every")


def _column(value: object) -> object:
    """Take a plain string for the name of a column."""
    if isinstance(value, str):
        return {"column": value}
    if isinstance(value, dict):
        return value
    raise ValueError(_A_COLUMN)


def _object(name: str) -> str:
    if ObjectName.parts(name) is None:
        raise ValueError("must be NAME, SCHEMA.NAME or DATABASE.SCHEMA.NAME, with double quotes around odd names")
    return name


def _zone(name: str) -> str:
    try:
        known = not name.startswith(_OF_THE_MACHINE) and ZoneInfo(name) is not None
    except (KeyError, ValueError, OSError):
        known = False
    if not known:
        raise ValueError("must be a time zone of the IANA list, such as America/Chicago")
    return name


def _with_unit(value: object) -> object:
    """Refuse a bare number: taken for seconds, it would empty a table."""
    if isinstance(value, int | float) or (isinstance(value, str) and value.strip().isdecimal()):
        raise ValueError("must have a unit, such as '14d' or '36h'")
    return value


def _positive(span: timedelta) -> timedelta:
    if span <= timedelta(0):
        raise ValueError("must be greater than zero")
    return span


def _believed(value: object) -> object:
    if not isinstance(value, bool) and value != "auto":
        raise ValueError('must be true, false or "auto"')
    return None if value == "auto" else value


class _ColumnOverride(BaseModel):
    """Where a target column comes from: a source column's name, or an expression over the source object.

    `values` are what texts become that are spelt otherwise here; others stay. Alone it leaves the declared columns.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    column: str | None = Field(default=None, min_length=1)
    expression: str | None = Field(default=None, min_length=1)
    values: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one(self) -> _ColumnOverride:
        named = [each for each in (self.column, self.expression) if each is not None]
        if len(named) > 1 or not (named or self.values):
            raise ValueError(_A_COLUMN)
        return self


_Span = Annotated[Duration, AfterValidator(_positive), BeforeValidator(_with_unit)]
_Statuses = Annotated[tuple[str, ...], Field(min_length=1)]


class SourceOverride(BaseModel):
    """The differences of one source."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    object: Annotated[str, AfterValidator(_object)] | None = None
    columns: dict[str, Annotated[_ColumnOverride, BeforeValidator(_column)]] = Field(default_factory=dict)
    open_statuses: _Statuses | None = None
    counted_statuses: _Statuses | None = None
    window: _Span | None = None
    time_zone: Annotated[str, AfterValidator(_zone)] = "UTC"
    vanished_share: float | None = Field(default=None, gt=0, le=1, strict=True)
    vanished_minimum: int | None = Field(default=None, ge=0, strict=True)
    change_token: Annotated[bool | None, BeforeValidator(_believed)] = None
    token_lasts: _Span | None = None
    read_every: _Span | None = None


class _Volume(BaseModel):
    """How many rows of a table are plausible here."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    minimum: int | None = Field(default=None, ge=0)
    maximum: int | None = Field(default=None, ge=0)


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """The contents of FLUX_CONFIG; empty without a file. `shown` names the file in messages.

    `sources` are by Snowflake source, `volumes` (`volume.<table>` in the file) by table.
    """

    shown: str = "a file that FLUX_CONFIG names"
    sources: Mapping[str, SourceOverride] = field(default_factory=dict)
    volumes: Mapping[str, Volume] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path | None) -> Overrides:
        """Read FLUX_CONFIG, or no file for None. Raises SettingError naming file, key, value and what is allowed."""
        if path is None:
            return cls()
        given = read_config(path)
        given.pop("layers", None)  # about their files, which are none of Snowflake's
        by_table = given.pop(_VOLUME, {})
        shown = f"FLUX_CONFIG ({path})"
        if not isinstance(by_table, dict):
            raise cls(shown=shown)._refused(
                _VOLUME, "must be a table, with a table for each name: [volume.substations]"
            )
        sources = {source: _validated(SourceOverride, source, said, shown) for source, said in given.items()}
        volumes: dict[str, Volume] = {}
        for name, said in by_table.items():
            bounds = _validated(_Volume, f"{_VOLUME}.{name}", said, shown)
            volumes[name] = Volume(minimum=bounds.minimum, maximum=bounds.maximum)
            if volumes[name].is_empty:
                raise cls(shown=shown)._refused(f"{_VOLUME}.{name}", "has a minimum above its maximum")
        return cls(shown=shown, sources=sources, volumes=volumes)

    def volumes_of(self, names: Collection[str]) -> Mapping[str, Volume]:
        """Return the configured volumes, of tables with these names; raises SettingError for another name."""
        for name in self.volumes:
            if name not in names:
                close = get_close_matches(name, names, n=1)
                meant = f"; did you mean {close[0]}?" if close else ""
                raise self._refused(f"{_VOLUME}.{name}", f"no such table{meant}")
        return self.volumes

    def applied_to(self, table: DynamicTable, tables: Sequence[DynamicTable]) -> DynamicTable:
        """Return the declaration with row filter, guard, change tokens and counted statuses as configured.

        `tables` are all declared ones: overrides of a source apply to tables derived from it too. Raises SettingError
        when the file names a source or a column that is not declared.
        """
        self._refuse_unknown(tables)
        own = self.sources.get(table.source, SourceOverride())
        given = own.model_dump(exclude_unset=True)
        if own.counted_statuses and not any(_counts(other, table) for other in tables):
            raise self._refused(f"{table.source}.counted_statuses", "no column counts rows of this source")
        of_filter = {key: given[key] for key in ("open_statuses", "window") if key in given}
        if table.row_filter is None and of_filter:
            key = next(iter(of_filter))
            raise self._refused(f"{table.source}.{key}", "this source has no row filter: every row is read")
        of_table = {key: given[key] for key in _OF_TABLE if key in given}
        return replace(
            table,
            row_filter=table.row_filter and replace(table.row_filter, **of_filter),
            derived=tuple(self._derived(column, tables) for column in table.derived),
            **of_table,
        )

    def _derived(self, column: Derived, tables: Sequence[DynamicTable]) -> Derived:
        source = next((table.source for table in tables if table.name == column.from_table), "")
        own = self.sources.get(source)
        if own and own.counted_statuses and column.where_values:
            return replace(column, where_values=own.counted_statuses)
        return column

    def _refuse_unknown(self, tables: Sequence[DynamicTable]) -> None:
        known = {table.source: table for table in tables}
        for source, override in self.sources.items():
            if source not in known:
                raise self._refused(source, f"no such source; there are {', '.join(sorted(known))}")
            allowed = known[source].source_filled
            if unknown := [target for target in override.columns if target not in allowed]:
                problem = f"no such target column; there are {', '.join(allowed)}"
                raise self._refused(f"{source}.columns.{unknown[0]}", problem)
            types = known[source].table.columns
            for target, column in override.columns.items():
                if column.values and not isinstance(types[target].type, sa.String):
                    raise self._refused(f"{source}.columns.{target}.values", "only values of a text can be replaced")

    def _refused(self, key: str, problem: str) -> SettingError:
        return SettingError(f"{self.shown}: {key}: {problem}.", "Correct the file and run again.")


def _counts(other: DynamicTable, table: DynamicTable) -> bool:
    return any(column.from_table == table.name and column.where_values for column in other.derived)


def _validated(model: type[_Model], key: str, said: object, shown: str) -> _Model:
    try:
        return model.model_validate(said)
    except ValidationError as error:
        faults = "; ".join(_described(model, key, problem) for problem in error.errors())
        raise SettingError(f"{shown}: {faults}.", "Correct the file and run again.") from None


def _described(model: type[BaseModel], under: str, problem: ErrorDetails) -> str:
    key = ".".join([under, *(str(part) for part in problem["loc"])])
    if problem["type"] == "extra_forbidden":
        keys = _ColumnOverride.model_fields if len(problem["loc"]) > 1 else model.model_fields
        return f"{key}: no such key; there are {', '.join(keys)}"
    value = problem["input"]
    # As TOML has it.
    shown = str(value).lower() if isinstance(value, bool) else repr(value)
    return f"{key} = {shown}: {legality.fault(problem)}"
