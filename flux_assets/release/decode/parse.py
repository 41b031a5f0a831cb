"""CSV text to Arrow by the declaration alone: types are never guessed, and identifiers keep their leading zeros."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import IO, Any, Protocol, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv

from flux_assets.errors import Place, RecordError, abbreviated
from flux_assets.release.decode.blocks import BOM, LONGEST_RECORD, Header, Text, has_blank_record, record_starts
from flux_assets.release.decode.columns import (
    AskServer,
    ReadColumn,
    SuspectError,
    read_texts,
    read_times,
    value_offsets,
    without_server,
)
from flux_assets.release.decode.geometry import Shapes, examine, unhex


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


def audited(raw: pa.RecordBatch, columns: tuple[ReadColumn, ...]) -> tuple[pa.RecordBatch, LayerFacts]:
    """Return the batch as it is delivered, geometry as EWKB instead of hex, and its facts.

    Raises SuspectError, naming the column, when a value is not acceptable.
    """
    facts = LayerFacts(rows=raw.num_rows)
    delivered: list[pa.Array[Any]] = []
    for column, values in zip(columns, raw.columns, strict=True):
        try:
            delivered.append(_judged(column, values, facts))
        except SuspectError as error:
            raise SuspectError(column.name) from error
    return pa.RecordBatch.from_arrays(delivered, schema=delivered_schema(columns)), facts


def delivered_schema(columns: tuple[ReadColumn, ...]) -> pa.Schema:
    """Return the schema of the batches that a layer's stream delivers."""
    return pa.schema([pa.field(column.name, column.arrow, column.nullable) for column in columns])


def _judged(column: ReadColumn, values: pa.Array[Any], facts: LayerFacts) -> pa.Array[Any]:
    facts.nulls[column.name] = values.null_count
    if values.null_count and not column.nullable:
        raise SuspectError
    if column.spatial is not None:
        values = unhex(values)
        facts.shapes[column.name] = examine(values, column.spatial)
    elif column.longest is not None:
        values = _fitted(values, column.longest)
    elif column.axis is not None:
        _check_degrees(column, values)
    return values


def _fitted(values: pa.Array[Any], longest: int) -> pa.Array[Any]:
    """Return values within the limit; blanks beyond it are cut off, as varchar does.

    Characters are counted only when some value has more bytes than the limit, since bytes cost nothing to count.
    """
    if np.diff(value_offsets(values)).max(initial=0) <= longest:
        return values
    texts = cast("pa.StringArray", values)
    if pc.max(pc.utf8_length(texts)).as_py() <= longest:
        return values
    if pc.max(pc.utf8_length(pc.utf8_rtrim(texts, " "))).as_py() > longest:
        raise SuspectError
    return cast("pa.Array[Any]", pc.utf8_slice_codeunits(texts, 0, longest))


def _check_degrees(column: ReadColumn, values: pa.Array[Any]) -> None:
    """Raise SuspectError for degrees not finite or out of range. By Arrow, whose conversion to numpy imports pandas."""
    limit = 180 if column.axis == "longitude" else 90
    numbers = cast("pa.DoubleArray", values)
    finite = pc.all(pc.is_finite(numbers)).as_py()
    least, most = pc.min(numbers).as_py(), pc.max(numbers).as_py()
    if finite is False or (least is not None and most is not None and not -limit <= least <= most <= limit):
        raise SuspectError


_SHOWN = 10  # names of each fault of a header


class Parser:
    """Reads records whose columns stand in the order of `header`; delivers them in the order of the declaration.

    `ask` is asked about texts that Arrow and COPY may read differently; without it, all but numbers are refused.
    Raises RecordError, naming every column concerned, when the header is not the declaration's.
    """

    def __init__(self, header: Header, columns: tuple[ReadColumn, ...], ask: AskServer | None = None) -> None:
        _check(header, columns)
        self.header, self.columns, self.ask = header, columns, ask or without_server
        self._parse = pv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False)
        self._types = {
            column.name: pa.string() if pa.types.is_temporal(column.arrow) else column.arrow for column in columns
        }

    def open(self, source: pa.NativeFile, as_text: Sequence[str] = ()) -> pv.CSVStreamingReader:
        """Return a reader of batches, not yet audited: one for each read of the file-like `source`.

        Dates, times and columns of `as_text` come as strings.
        """
        convert = pv.ConvertOptions(
            column_types=self._types | dict.fromkeys(as_text, pa.string()),
            include_columns=list(self._types),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        )
        read = pv.ReadOptions(column_names=list(self.header.names), use_threads=False, block_size=2 * LONGEST_RECORD)
        return pv.open_csv(
            cast("IO[bytes]", source), read_options=read, parse_options=self._parse, convert_options=convert
        )

    def read(self, data: bytes, as_text: Sequence[str] = ()) -> pv.CSVStreamingReader:
        """Return what `open` does, of whole records in memory."""
        return self.open(pa.BufferReader(_with_mark(data)), as_text)

    def judged(self, raw: pa.RecordBatch, source: _HasData) -> tuple[pa.RecordBatch, LayerFacts]:
        """Return `audited` of what Arrow and COPY read alike. `source` is what `raw` was read from.

        Raises SuspectError where they may differ; `decoded` of the same text is exact.
        """
        times = {
            column.name: read_times(column, raw[column.name])
            for column in self.columns
            if pa.types.is_temporal(column.arrow)
        }
        batch, facts = self._sound(_with_columns(raw, times), source)
        _refuse_doubtful(batch, self.columns, source.data)
        return batch, facts

    def decoded(self, text: Text, records: int) -> tuple[pa.RecordBatch, LayerFacts]:
        """Return whole records, each value as COPY reads it. Raises ArrowInvalid or SuspectError for a bad one."""
        try:
            return self.judged(self._only_batch(text, records), text)
        except (pa.ArrowInvalid, SuspectError) as error:
            first = error.with_traceback(None)  # which would keep the batch
        try:
            raw = self._only_batch(text, records, [column.name for column in self.columns])
            values = {
                column.name: read_texts(column, raw[column.name], self.ask)
                for column in self.columns
                if not pa.types.is_string(column.arrow)
            }
            return self._sound(_with_columns(raw, values), text)
        except (pa.ArrowInvalid, SuspectError):
            raise first from None

    def refusal(self, text: Text) -> str | None:
        """Return why these whole records are not acceptable, in Arrow's words where it refuses; None when they are."""
        try:
            self.decoded(text, len(record_starts(text.data)))
        except (pa.ArrowInvalid, SuspectError) as error:
            return str(error) or "a value is not acceptable"
        return None

    def _only_batch(self, text: Text, records: int, as_text: Sequence[str] = ()) -> pa.RecordBatch:
        batches = list(self.read(text.data, as_text))
        if len(batches) != 1 or batches[0].num_rows != records:
            raise SuspectError
        return batches[0]

    def _sound(self, raw: pa.RecordBatch, source: _HasData) -> tuple[pa.RecordBatch, LayerFacts]:
        """Return `audited`. Raises SuspectError for blank lines too, which Arrow takes for rows of NULLs."""
        batch, facts = audited(raw, self.columns)
        if len(self.columns) > 1 and min(facts.nulls.values()) > 0 and has_blank_record(source.data):
            raise SuspectError
        return batch, facts


def _with_columns(raw: pa.RecordBatch, values: Mapping[str, pa.Array[Any]]) -> pa.RecordBatch:
    names = raw.schema.names
    return pa.RecordBatch.from_arrays([values.get(name, raw[name]) for name in names], names)


def _with_mark(data: bytes) -> bytes:
    """Return data that Arrow reads unchanged: it drops a byte order mark, which after the header belongs to a value."""
    return BOM + data if data.startswith(BOM) else data


class _HasData(Protocol):
    @property
    def data(self) -> bytes: ...


def _check(header: Header, columns: tuple[ReadColumn, ...]) -> None:
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


# Zeros that a number below the smallest double, 5e-324, has before its digits where its exponent has not three.
_MANY_ZEROS = b"0" * 200


def _refuse_doubtful(batch: pa.RecordBatch, columns: tuple[ReadColumn, ...], data: bytes) -> None:
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
    """The text of a batch, searched once for all columns, and only for what one of them may contain."""

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
