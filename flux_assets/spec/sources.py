"""Where the rows and columns of a synced table come from, and how its sync judges what it reads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal


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
        """The rule in words."""
        return (
            f"{self.status_column} is one of {', '.join(self.open_statuses)},"
            f" or {self.time_column} lies within the last {self.window.days} days or later"
        )


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
class Vanished:
    """How many rows may vanish from a source between two syncs before it counts as truncated or half-loaded.

    Then the table is left as it was and its sync fails. Rows that closed or left their window are still in the source
    and do not count.
    """

    share: float = 0.2
    minimum: int = 20
    """This many may always vanish, but no more than half: a small table must not lose all its rows for a new one."""

    def allowed(self, rows_before: int) -> float:
        """Return how many rows may vanish from a table of `rows_before`."""
        return max(self.share * rows_before, min(self.minimum, rows_before / 2))


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """When a source counts as unchanged without being read."""

    change_token: bool | None = None
    """None trusts the change token of an ordinary table only; True or False decides for any kind of object."""
    token_lasts: timedelta = timedelta(hours=1)
    """A source whose trusted token has not changed is read again after this time nevertheless."""
    read_every: timedelta | None = None
    """Reads a source without a trusted token only this often, so changes arrive that much later; None: every sync."""


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
