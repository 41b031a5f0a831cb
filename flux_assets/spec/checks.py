"""Expectations that a declaration states about its rows and that SQL constraints cannot: the checks judge them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flux_assets.spec.columns import SIMPLE_KINDS


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A soft reference: rows whose value the other table lacks are a warning, and nothing enforces it."""

    column: str
    to_table: str
    to_column: str


@dataclass(frozen=True, kw_only=True)
class Range:
    """The bounds of a column, both allowed, in the column's own unit; values outside are reported by a check."""

    column: str
    minimum: float
    maximum: float


@dataclass(frozen=True, kw_only=True)
class AcceptedValues:
    """The values that a column may hold; others are reported. NULL is not judged: `nullable` decides about it."""

    column: str
    values: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Volume:
    """How many rows are plausible, both bounds allowed. Set them wide enough for the worst storm."""

    minimum: int = 0
    maximum: int | None = None
    """None sets no upper bound."""


@dataclass(frozen=True, kw_only=True)
class Position:
    """A pair of columns in degrees (EPSG:4326). A value that is not finite or out of range stops the load."""

    longitude: str
    latitude: str
    same_as: str | None = None
    """The point column that should agree with the pair: a row that differs is a warning. A sync computes it."""


@dataclass(frozen=True, kw_only=True)
class Drawable:
    """Which kinds of geometry the readers of a table can draw, also within collections."""

    kinds: tuple[str, ...] = (*SIMPLE_KINDS, "GEOMETRYCOLLECTION")
    """By default the kinds of GeoJSON and of map tiles. Part of the digest: a change reloads the layer."""
    others: Literal["refuse", "report"] = "refuse"
    """`refuse` rejects a record of another kind like any bad value; `report` loads it and lists it in `drawable`."""


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """A row of this table is counted or averaged by the row of `to_table` whose `to_column` equals its `column`.

    Never declared by hand: `with_assignments` derives it from the Derived columns of the other table.
    """

    column: str
    to_table: str
    to_column: str
    where_column: str | None = None
    where_values: tuple[str, ...] = ()
    """Only rows whose `where_column` holds one of these are judged; every row where `where_column` is None."""
    required: bool = False
    """Whether a row without a value is reported too."""
