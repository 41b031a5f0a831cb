"""CSV text to audited Arrow batches by the declaration alone: types are never guessed, identifiers keep their zeros."""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, Protocol, TypeVar, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv

from flux_assets.errors import Place, RecordError, abbreviated
from flux_assets.release.decode.blocks import LONGEST_RECORD, Block
from flux_assets.release.decode.columns import AskServer, ReadColumn, SuspectError, layout
from flux_assets.release.decode.geometry import Shapes, examined

_SHOWN = 10  # names of each fault of a header
# Zeros that a number below the smallest double, 5e-324, has before its digits where its exponent has not three.
_MANY_ZEROS = b"0" * 200
_BEFORE_EXPONENT = np.isin(np.arange(256), [*b".0123456789"])


@dataclass(slots=True, kw_only=True)
class LayerFacts:
    """The contents of a layer's file, complete once the stream has been read to its end.

    `nulls` counts them by column; `shapes` has types, empties and extent (EPSG:4326) by spatial column.
    """

    rows: int = 0
    gz_bytes: int = 0
    csv_bytes: int = 0
    nulls: Counter[str] = field(default_factory=Counter)
    shapes: dict[str, Shapes] = field(default_factory=dict)

    @property
    def extent(self) -> tuple[float, float, float, float] | None:
        """(min x, min y, max x, max y) of all spatial columns, in degrees; None without any coordinate."""
        whole = Shapes()
        for shapes in self.shapes.values():
            whole.add(shapes)
        return whole.extent

    @property
    def present(self) -> frozenset[str]:
        """The spatial columns in which every row has a geometry that is not empty."""
        return frozenset(name for name, shapes in self.shapes.items() if not self.nulls[name] and not shapes.empty)

    def add(self, other: LayerFacts) -> None:
        self.rows += other.rows
        self.nulls.update(other.nulls)
        for name, shapes in other.shapes.items():
            self.shapes.setdefault(name, Shapes()).add(shapes)

    def judged(self, column: ReadColumn, values: pa.Array[Any], *, hexadecimal: bool = True) -> pa.Array[Any]:
        """Return the values of a column as they are delivered, and note their facts; geometry is EWKB.

        Raises SuspectError when one is not acceptable.
        """
        self.nulls[column.name] = values.null_count
        if values.null_count and not column.nullable:
            raise SuspectError
        if column.spatial is not None:
            values, self.shapes[column.name] = examined(values, column.spatial, hexadecimal=hexadecimal)
        elif column.longest is not None:
            values = _fitted(values, column.longest)
        elif column.axis is not None:
            _check_degrees(values, column.most_degrees)
        return values


Judged = tuple[pa.RecordBatch, LayerFacts]
"""Acceptable rows as they are delivered, geometry as EWKB, and their facts."""


class Records(Protocol):
    """Whole records of a file, or rows of one that has no text: `record` is the number of the first, from 1."""

    @property
    def file(self) -> str: ...
    @property
    def record(self) -> int: ...
    @property
    def records(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    def text(self) -> Block: ...
    def part(self, low: int, high: int) -> Records: ...
    def without(self, left_out: Collection[int]) -> Records: ...
    def error_of(
        self, index: int, problem: str, remedy: str = "", *, column: str | None = None, value: str | None = None
    ) -> RecordError: ...


_R_contra = TypeVar("_R_contra", contravariant=True)


class Reader(Protocol[_R_contra]):
    """Makes the rows that are delivered of records: `Parser` does of blocks of text."""

    columns: tuple[ReadColumn, ...]
    ask: AskServer | None

    def decoded(self, block: _R_contra, /) -> Judged: ...


class Parser:
    """Reads blocks of a file whose `header` it is given; delivers columns in the order of the declaration.

    `ask` is asked about texts that Arrow and COPY may read differently; without it they are refused. Raises
    RecordError, naming every column concerned, when the header is not the declaration's.
    """

    def __init__(self, header: Block, columns: tuple[ReadColumn, ...], ask: AskServer | None = None) -> None:
        _check(header, columns)
        self.columns, self.ask = columns, ask
        self._schema = pa.schema([column.field for column in columns])
        self._as_texts: dict[str, pa.DataType] = {column.name: pa.string() for column in columns}
        self._as_declared = {column.name: pa.string() if column.is_time else column.arrow for column in columns}

    def decoded(self, block: Block) -> Judged:
        """Return all records, values as COPY reads them. Raises ArrowInvalid or SuspectError when one is not sound."""
        if not block.records:
            return pa.RecordBatch.from_pylist([], schema=self._schema), LayerFacts()
        try:
            return self.read_alike(block)
        except (pa.ArrowInvalid, SuspectError) as error:
            first = error.with_traceback(None)  # which would keep the batch
        try:
            raw = self.values(block, self._as_texts)
            odd = [column for column in self.columns if not pa.types.is_string(column.arrow)]
            return self._audited(raw, {each.name: each.read_texts(raw[each.name], self.ask) for each in odd})
        except (pa.ArrowInvalid, SuspectError):
            raise first from None

    def read_alike(self, block: Block) -> Judged:
        """Return what `decoded` does. Raises SuspectError also where Arrow and COPY may read a text differently."""
        raw = self.values(block, self._as_declared)
        times = [column for column in self.columns if column.is_time]
        batch, facts = self._audited(raw, {each.name: each.read_times(raw[each.name]) for each in times})
        if _is_doubtful(batch, block.data):
            raise SuspectError
        return batch, facts

    @staticmethod
    def values(block: Block, types: Mapping[str, pa.DataType]) -> pa.RecordBatch:
        """Return the columns of a block that have `types`, as Arrow reads them.

        Raises ArrowInvalid for values that it does not read, SuspectError for blank lines, which it takes for NULLs.
        """
        # Arrow drops a byte order mark, which after the header belongs to a value.
        data = BOM_UTF8 + block.data if block.data.startswith(BOM_UTF8) else block.data
        batches = list(
            pv.open_csv(
                cast("IO[bytes]", pa.BufferReader(data)),
                pv.ReadOptions(column_names=list(block.names), use_threads=False, block_size=2 * LONGEST_RECORD),
                pv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
                pv.ConvertOptions(
                    column_types=dict(types),
                    include_columns=list(types),
                    null_values=[""],
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                ),
            )
        )
        if len(batches) != 1 or batches[0].num_rows != block.records:
            raise SuspectError
        (found,) = batches
        if len(block.names) > 1 and all(column.null_count for column in found.columns) and block.has_blank_record:
            raise SuspectError
        return found

    def _audited(self, raw: pa.RecordBatch, values: Mapping[str, pa.Array[Any]]) -> Judged:
        """Return the batch with other `values` for some columns, judged: every value, at a cost that no load notices.

        Raises SuspectError when one is not acceptable.
        """
        facts = LayerFacts(rows=raw.num_rows)
        found = [facts.judged(column, values.get(column.name, raw[column.name])) for column in self.columns]
        return pa.RecordBatch.from_arrays(found, schema=self._schema), facts


def _check(header: Block, columns: tuple[ReadColumn, ...]) -> None:
    wanted, given = [column.name for column in columns], Counter(header.names)
    known = set(wanted)
    faults = (
        ("missing", [name for name in wanted if name not in given]),
        ("unknown", [name for name in given if name not in known]),
        ("given twice", sorted(name for name, times in given.items() if times > 1)),
    )
    found = [f"{what}: {_listed(names)}" for what, names in faults if names]
    if found:
        raise RecordError(
            Place(file=header.file, line=1),
            f"the header does not name the table's columns ({'; '.join(found)}).",
            f"It needs {', '.join(wanted)}, in any order.",
        )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(map(abbreviated, names[:_SHOWN])) + more


def _fitted(values: pa.Array[Any], longest: int) -> pa.Array[Any]:
    """Return values within the limit; blanks beyond it are cut off, as varchar does.

    Characters are counted only when some value has more bytes than the limit, since bytes cost nothing to count.
    """
    if np.diff(layout(values)[0]).max(initial=0) <= longest:
        return values
    texts = cast("pa.StringArray", values)
    if pc.max(pc.utf8_length(texts)).as_py() <= longest:
        return values
    if pc.max(pc.utf8_length(pc.utf8_rtrim(texts, " "))).as_py() > longest:
        raise SuspectError
    return cast("pa.Array[Any]", pc.utf8_slice_codeunits(texts, 0, longest))


def _check_degrees(values: pa.Array[Any], limit: int) -> None:
    """Raise SuspectError for degrees not finite or out of range. By Arrow, whose conversion to numpy imports pandas."""
    numbers = cast("pa.DoubleArray", values)
    finite = pc.all(pc.is_finite(numbers)).as_py()
    least, most = pc.min(numbers).as_py(), pc.max(numbers).as_py()
    if finite is False or (least is not None and most is not None and not -limit <= least <= most <= limit):
        raise SuspectError


def _is_doubtful(batch: pa.RecordBatch, data: bytes) -> bool:
    """Return whether a number may not be what COPY makes of its text in `data`."""
    kinds, has_zero = batch.schema.types, False
    if any(map(pa.types.is_integer, kinds)) and _may_have_hexadecimal(data):
        return True
    # Arrow takes 5e+-1 for a decimal number, and PostgreSQL does not.
    if any(map(pa.types.is_decimal, kinds)) and b"+" in data and (b"e+-" in data or b"E+-" in data):
        return True
    for kind, values in zip(kinds, batch.columns, strict=True):
        if pa.types.is_floating(kind):  # Arrow makes infinity of too large a number, and 0 of too small a one
            numbers = cast("pa.DoubleArray", values)
            if pc.all(pc.is_finite(numbers)).as_py() is False:
                return True
            has_zero = has_zero or pc.any(pc.equal(numbers, pa.scalar(0.0))).as_py() is True
        elif isinstance(kind, pa.Decimal128Type):  # Arrow takes more digits before the point than the type has
            bound = 10 ** (kind.precision - kind.scale)
            least, most = pc.min(values).as_py(), pc.max(values).as_py()
            if most is not None and (most >= bound or least <= -bound):
                return True
    return has_zero and _may_have_small(data)


def _may_have_hexadecimal(data: bytes) -> bool:
    """Arrow takes 0x1F for an integer, and 0xFFFFFFFF for -1; PostgreSQL does not, or takes it otherwise."""
    # A single letter is looked for at no cost that shows, and a pair of signs is not: geometry is full of zeros.
    if b"x" not in data and b"X" not in data:
        return False
    signs = np.frombuffer(data, np.uint8)
    letters = np.flatnonzero(signs[1:] | 0x20 == ord("x"))
    return bool((signs[letters] == ord("0")).any())


def _may_have_small(data: bytes) -> bool:
    """Return whether a number has very many zeros, or an exponent like e-100; tree-100 has a letter before."""
    signs = np.frombuffer(data, np.uint8)
    minus = np.flatnonzero(signs[2:] == ord("-")) + 2
    exponents = minus[(signs[minus - 1] | 0x20 == ord("e")) & _BEFORE_EXPONENT[signs[minus - 2]]].tolist()
    return _MANY_ZEROS in data or any(re.match(rb"\d{3}", data[at + 1 : at + 4]) for at in exponents)
