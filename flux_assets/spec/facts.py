"""The facts that a declaration states: what is expected of its rows, and where those of a synced table come from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

SIMPLE_KINDS = ("POINT", "LINESTRING", "POLYGON", "MULTIPOINT", "MULTILINESTRING", "MULTIPOLYGON")
_CURVES = ("CIRCULARSTRING", "COMPOUNDCURVE", "CURVEPOLYGON", "MULTICURVE", "MULTISURFACE")
KIND_NAMES = {
    **dict(enumerate((*SIMPLE_KINDS, "GEOMETRYCOLLECTION", *_CURVES), 1)),
    15: "POLYHEDRALSURFACE",
    16: "TIN",
    17: "TRIANGLE",
}
"""The kinds of geometry by their number in WKB."""


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
    """How many rows are plausible, both bounds allowed, of a table without a past; None leaves a side open.

    Once it was published or synced before, its own past takes their place. FLUX_CONFIG overrules both.
    """

    minimum: int | None = None
    maximum: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no number of rows is within the bounds."""
        return None not in (self.minimum, self.maximum) and (self.minimum or 0) > (self.maximum or 0)


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


@dataclass(frozen=True, kw_only=True)
class SourceColumn:
    """The Snowflake columns that may fill a target column."""

    target: str
    names: tuple[str, ...]
    """In order of preference: the first that exists is read."""
    required: bool = False
    """Stops the table's sync when none of `names` exists; otherwise the column becomes NULL and that is reported."""
    otherwise: str | None = None
    """The value stored where the source has NULL, or none of the columns."""
    optional: bool = False
    """For what few sources have: where none of `names` exists in a fitting type it is NULL, and nobody is told."""


@dataclass(frozen=True, kw_only=True)
class Alias:
    """What a column is called in the view of a synced table that older applications read instead of the table.

    An alias with the name of a column takes its place in the view.
    """

    name: str
    expression: str
    """A column's name, or SQL over columns of the table."""


@dataclass(frozen=True, kw_only=True)
class RowFilter:
    """Which source rows a sync takes: open ones, and those whose time lies in the window. Columns are target names."""

    status_column: str
    open_statuses: tuple[str, ...]
    """Rows with one of these are taken whatever their time."""
    time_column: str
    window: timedelta
    """Reaches back from the source's instant; later times count as inside. A row that leaves it is deleted here."""

    @property
    def description(self) -> str:
        listed = f"{self.status_column} is one of {', '.join(self.open_statuses)}"
        return f"{listed}, or {self.time_column} lies within the last {self.window.days} days or later"


@dataclass(frozen=True, kw_only=True)
class Derived:
    """A column computed here from the rows of another declared table that share a value with this table's row.

    `target` becomes `function` over `of_column` of the rows of `from_table` whose column `there` equals this row's
    column `here`. A table that does not exist gives NULL.
    """

    target: str
    from_table: str
    here: str
    there: str
    function: Literal["avg", "count", "any"]
    """`count` gives 0 where there are no rows, `avg` gives NULL, `any` takes one row's value: for look-ups by a key."""
    of_column: str | None = None
    where_column: str | None = None
    where_values: tuple[str, ...] = ()
    """Only rows whose `where_column` holds one of these are used."""
    fills: bool = False
    """Keeps the values of the source column of the same target and replaces only its NULLs."""
    other_axis: str | None = None
    """The other coordinate's column where `of_column` is one half of a position: rows with 0 in both do not count."""


@dataclass(frozen=True, kw_only=True)
class Freshness:
    """How long after the last sync a table is late or not to be trusted."""

    warn: timedelta = timedelta(minutes=11)
    fail: timedelta = timedelta(minutes=16)
    """From then on the table counts as `late` in the status, in the freshness check and in alerts."""
    still: timedelta = timedelta(days=1)
    """A source that was checked all the time and has not changed for so long is reported as `still`."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """How a table's points are drawn on the page of its asset."""

    colour_column: str
    colours: tuple[tuple[str, str], ...]
    """A Matplotlib colour for each value; points with any other value are small and grey."""
    size_column: str
    """Larger values get larger points."""


@dataclass(frozen=True, kw_only=True)
class Computed:
    """Rows that PostGIS makes of other layers by a query, again whenever a version of one of those is another one.

    Tables are named without a schema; the columns are taken by name.
    """

    inputs: tuple[str, ...]
    """Names of the layers that the query reads, and of no other tables: their versions date the rows."""
    query: str
    """A SELECT with the declared columns."""
    prepare: str = ""
    """Statements before it, for temporary tables and their indexes."""

    @classmethod
    def beside(cls, module: str, *, inputs: tuple[str, ...]) -> Computed:
        """Return what the SQL file beside a `module` (its `__file__`) says: the SELECT comes after a line `-- rows --`.

        A file without that line is the SELECT alone.
        """
        text = Path(module).with_suffix(".sql").read_text(encoding="utf-8")
        prepare, _, query = text.rpartition("-- rows --\n")
        return cls(inputs=inputs, query=query.strip().removesuffix(";"), prepare=prepare.strip())
