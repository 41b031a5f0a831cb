"""What FLUX_CONFIG says of a layer's file: names, units and coordinates where they differ from the declaration."""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from flux_assets import legality
from flux_assets.config_file import read_config
from flux_assets.errors import SettingError
from flux_assets.spec import StaticTable

_LAYERS = "layers"
_CORRECT = "Correct the file and run again."


def _column(value: object) -> object:
    """Take a plain string for the name of a column."""
    return {"column": value} if isinstance(value, str) else value


def _encoding(name: str) -> str:
    try:
        codecs.lookup(name)
    except LookupError:
        raise ValueError("is no encoding that is known, such as ISO-8859-1") from None
    return name


class _ColumnMapping(BaseModel):
    """Where a declared column comes from: the file's `column`, whose numbers are multiplied by `factor`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    column: str | None = Field(default=None, min_length=1)
    factor: float = Field(default=1.0, allow_inf_nan=False)


class LayerMapping(BaseModel):
    """How the file of one layer is read.

    `layer` is its name within the file, `crs` that of its coordinates where the file does not say or says wrongly,
    `longitude` and `latitude` the columns that make the point, `ignore` columns of the file that are not loaded; `z`
    and `curves` say what becomes of geometry with more than the column takes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    layer: str | None = Field(default=None, min_length=1)
    columns: dict[str, Annotated[_ColumnMapping, BeforeValidator(_column)]] = Field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    crs: str | None = Field(default=None, min_length=1)
    z: Literal["refuse", "drop"] = "refuse"
    curves: Literal["refuse", "linearise"] = "refuse"
    longitude: str | None = Field(default=None, min_length=1)
    latitude: str | None = Field(default=None, min_length=1)
    encoding: Annotated[str, AfterValidator(_encoding)] | None = None

    @classmethod
    def configured(cls, path: Path | None, tables: Sequence[StaticTable]) -> dict[str, LayerMapping]:
        """Return what FLUX_CONFIG says of layers, by name. Raises SettingError naming file, key and what is allowed."""
        given = {} if path is None else read_config(path).get(_LAYERS, {})
        known, found = {table.name: table for table in tables}, {}
        for name, said in given.items() if isinstance(given, dict) else [(_LAYERS, given)]:
            where = f"FLUX_CONFIG ({path}): {_LAYERS}.{name}"
            if name not in known:
                raise SettingError(f"{where}: no such layer; there are {', '.join(sorted(known))}.", _CORRECT)
            try:
                found[name] = cls.model_validate(said)
            except ValidationError as error:
                faults = "; ".join(_described(problem) for problem in error.errors())
                raise SettingError(f"{where}: {faults}.", _CORRECT) from None
            if unknown := [column for column in found[name].columns if column not in known[name].column_names]:
                columns = ", ".join(known[name].column_names)
                raise SettingError(f"{where}.columns.{unknown[0]}: no such column; there are {columns}.", _CORRECT)
        return {name: mapping for name, mapping in found.items() if mapping != cls()}

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of what is mapped."""
        return hashlib.sha256(self.model_dump_json(exclude_defaults=True).encode()).hexdigest()


def _described(problem: ErrorDetails) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        keys = _ColumnMapping.model_fields if len(problem["loc"]) > 1 else LayerMapping.model_fields
        return f"{key}: no such key; there are {', '.join(keys)}"
    return f"{key} = {problem['input']!r}: {legality.fault(problem)}"
