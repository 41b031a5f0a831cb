"""Values as the fields of a release file, written the way PostgreSQL's COPY writes CSV.

NULL is an empty field; the empty string is "".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from flux_assets.sample.city.frame import Floats

Column = Sequence[str]
NULL = ""


def texts(values: Iterable[str | None]) -> list[str]:
    """Text, quoted where CSV needs it."""
    return [NULL if value is None else quoted(value) for value in values]


def quoted(value: str) -> str:
    """Return one text as a field."""
    if not value or any(mark in value for mark in ',"\n\r'):
        return '"' + value.replace('"', '""') + '"'
    return value


def floats(values: Floats) -> list[str]:
    """Numbers in the shortest form that reads back the same; NaN is NULL."""
    shown = map(repr, values.tolist())
    return [text.removesuffix(".0") if text != "nan" else NULL for text in shown]


def integers(values: npt.NDArray[np.int64]) -> list[str]:
    """Whole numbers; negative ones stand for NULL, as the city counts nothing below 0."""
    return [str(value) if value >= 0 else NULL for value in values.tolist()]


def identifiers(prefix: str, numbers: npt.NDArray[np.int64] | range, digits: int) -> list[str]:
    """Identifiers such as XFMR-000042; a negative number is NULL."""
    return [f"{prefix}{number:0{digits}d}" if number >= 0 else NULL for number in numbers]


def scattered_identifiers(prefix: str, numbers: range) -> list[str]:
    """Identifiers such as BLDG-514E28B7: as stable as the numbers and one to one with them, but in no order.

    The final mix of MurmurHash3, which maps 32 bits onto themselves; `numbers` lie below 2**32.
    """
    mixed = np.arange(numbers.start, numbers.stop, dtype=np.uint32)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        mixed ^= mixed >> np.uint32(shift)
        mixed *= np.uint32(factor)
    return [f"{prefix}{number:08X}" for number in mixed.tolist()]


def times(values: npt.NDArray[np.datetime64]) -> list[str]:
    """Timestamps to the second, or days when the array holds days."""
    return [text.replace("T", " ") for text in np.datetime_as_string(values).tolist()]


def lines(names: Sequence[str], columns: Mapping[str, Column], count: int) -> str:
    """`count` lines, the columns in the order of `names`; a name without a column is NULL throughout."""
    missing = [NULL] * count
    ordered = [columns.get(name, missing) for name in names]
    return "\n".join(map(",".join, zip(*ordered, strict=True))) + "\n"
