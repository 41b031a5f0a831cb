"""Numbers of a batch that Arrow may have read otherwise than COPY: which columns have such ones, for next to nothing.

Here: doubt, at the cost of a few passes over numbers. Not here: whether it is justified (texts.py).
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from flux_assets.release.decode.columns import ReadColumn
from flux_assets.release.decode.geometry import SuspectError

# Zeros that a number below the smallest double, 5e-324, has before its digits where its exponent has not three.
_MANY_ZEROS = b"0" * 200


def refuse_doubtful(batch: pa.RecordBatch, columns: tuple[ReadColumn, ...], data: bytes) -> None:
    """Raise SuspectError, naming the column, when a number may not be what COPY makes of its text in `data`."""
    text = _Text(data)
    for column in columns:
        values, kind = batch[column.name], column.arrow
        if (
            (pa.types.is_integer(kind) and text.may_have_hexadecimal)
            or (pa.types.is_floating(kind) and _odd_double(values, text))
            or (isinstance(kind, pa.Decimal128Type) and (_too_large(values, kind) or text.may_have_two_signs))
        ):
            raise SuspectError(column.name)


class _Text:
    """The text of a batch, searched once for all columns, and for what none of them may have not at all."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @cached_property
    def may_have_hexadecimal(self) -> bool:
        """Arrow takes 0x1F for an integer, and 0xFFFFFFFF for -1; PostgreSQL does not, or takes it otherwise."""
        # A single letter is looked for at no cost that shows, and a pair of signs is not: geometry is full of zeros.
        if b"x" not in self._data and b"X" not in self._data:
            return False
        view = np.frombuffer(self._data, np.uint8)
        letters = np.flatnonzero(view[1:] | 0x20 == ord("x"))
        return bool((view[letters] == ord("0")).any())

    @cached_property
    def may_have_small(self) -> bool:
        """Whether there is a number of very many zeros, or of an exponent like e-100; tree-100 has a letter before."""
        if _MANY_ZEROS in self._data:
            return True
        view = np.frombuffer(self._data, np.uint8)
        minus = np.flatnonzero(view == ord("-"))
        minus = minus[(minus >= 2) & (minus < len(view) - 3)]
        minus = minus[view[minus - 1] | 0x20 == ord("e")]
        before, after = view[minus - 2], [view[minus + place] for place in (1, 2, 3)]
        exponent = _is_digit(before) | (before == ord("."))
        for digit in after:
            exponent &= _is_digit(digit)
        return bool(exponent.any())

    @cached_property
    def may_have_two_signs(self) -> bool:
        """Arrow takes 5e+-1 for a decimal number, and PostgreSQL does not."""
        return b"+" in self._data and (b"e+-" in self._data or b"E+-" in self._data)


def _odd_double(values: pa.Array[Any], text: _Text) -> bool:
    """Arrow makes infinity of a number that is too large and 0 of one too small, and has its own ways of NaN."""
    numbers = cast("pa.DoubleArray", values)
    if pc.all(pc.is_finite(numbers)).as_py() is False:
        return True
    return pc.any(pc.equal(numbers, pa.scalar(0.0))).as_py() is True and text.may_have_small


def _is_digit(signs: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    return (signs >= ord("0")) & (signs <= ord("9"))


def _too_large(values: pa.Array[Any], kind: pa.Decimal128Type[int, int]) -> bool:
    """Arrow takes more digits before the point than the type has."""
    bound = 10 ** (kind.precision - kind.scale)
    least, most = pc.min(values).as_py(), pc.max(values).as_py()
    return most is not None and (most >= bound or least <= -bound)
