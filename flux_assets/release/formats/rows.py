"""Rows of a file that has values instead of texts, and the declared values that a load makes of them.

Texts among them are read as COPY reads them. A refused row is judged, and kept in quarantine, as the CSV that it would
have been.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flux_assets.errors import Place, RecordError
from flux_assets.release.decode.blocks import Block
from flux_assets.release.decode.columns import AskServer, ReadColumn, SuspectError
from flux_assets.release.decode.parse import Judged, LayerFacts, Reader, Records
from flux_assets.release.formats.layout import Layout

_DAY_US = 86_400_000_000


class _HasRows(Records, Protocol):
    """Records of which declared rows can be made."""

    def declared(self) -> pa.RecordBatch:
        """Return them under declared names, geometry as EWKB. Raises RecordError where that is impossible of one."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows as a file has them; `record` is the number of the first, from 1."""

    layout: Layout
    batch: pa.RecordBatch
    record: int = 1

    @property
    def file(self) -> str:
        return self.layout.file

    @property
    def records(self) -> int:
        return self.batch.num_rows

    @property
    def shape(self) -> object:
        """What parts of a file have in common: the types of the columns."""
        return self.declared().schema.types

    @property
    def nbytes(self) -> int:
        return self.batch.nbytes

    def declared(self) -> pa.RecordBatch:
        """Return them under declared names, geometry as EWKB. Raises what `Layout.declared` does."""
        return self.layout.declared(self.batch, self.record)

    def reader(self, columns: tuple[ReadColumn, ...], ask: AskServer | None) -> Reader[Any]:
        """Return what makes declared values of rows like these, or of other records that have such.

        Raises RecordError, naming every column concerned, where a type cannot become that of its column.
        """
        return _RowReader(self, columns, ask)

    def part(self, low: int, high: int) -> Rows:
        """Return the rows from `low` to before `high`."""
        return replace(self, batch=self.batch.slice(low, high - low), record=self.record + low)

    def without(self, left_out: Collection[int]) -> Rows:
        """Return all other rows; the place is that of the first row."""
        kept = np.ones(self.records, bool)
        kept[[*left_out]] = False
        return replace(self, batch=self.batch.filter(pa.array(kept)))

    def error_of(
        self, index: int, problem: str, remedy: str = "", *, column: str | None = None, value: str | None = None
    ) -> RecordError:
        """Return the error of a row: at `column` with its value where it has one, else as a whole, with `value`."""
        return self.part(index, index + 1).text().error_of(0, problem, remedy, column=column, value=value)

    def text(self) -> Block:
        """Return the rows as CSV under declared names."""
        batch = self.layout.shown(self.batch)
        quoted = ([_quoted(text) for text in _texts(column)] for column in batch.columns)
        data = b"".join(b",".join(row) + b"\n" for row in zip(*quoted, strict=True))
        names = tuple(batch.schema.names)
        return Block(file=self.file, names=names, data=data, line=0, record=self.record, records=self.records)


class _RowReader:
    """Makes declared values of rows."""

    def __init__(self, header: _HasRows, columns: tuple[ReadColumn, ...], ask: AskServer | None = None) -> None:
        self.columns, self.ask = columns, ask
        self._schema = pa.schema([column.field for column in columns])
        given = header.declared().schema
        odd = [
            f"{column.name} is {kind}, and cannot become {column.ddl}"
            for column in columns
            if not _takes(column, kind := given.field(column.name).type)
        ]
        if odd:
            problem = f"its columns have other types than the table's ({'; '.join(odd)})."
            raise RecordError(Place(file=header.file), problem, "Write them as the declared types.")

    def decoded(self, rows: _HasRows) -> Judged:
        """Return all rows. Raises ArrowInvalid or SuspectError when a value is not acceptable."""
        try:
            batch = rows.declared()
        except RecordError as error:
            fault = SuspectError()
            fault.known = error
            raise fault from None
        facts, found = LayerFacts(rows=batch.num_rows), []
        for column in self.columns:
            try:
                values = self._fitted(column, batch.column(column.name))
                found.append(facts.judged(column, values, hexadecimal=False))
            except (pa.ArrowInvalid, SuspectError) as error:
                fault = SuspectError(*error.args)
                fault.column = column.name
                raise fault from None
        return pa.RecordBatch.from_arrays(found, schema=self._schema), facts

    def _fitted(self, column: ReadColumn, values: pa.Array[Any]) -> pa.Array[Any]:
        if pa.types.is_dictionary(values.type):
            values = cast("pa.DictionaryArray[Any, Any]", values).dictionary_decode()
        kind, wanted = values.type, column.arrow
        if kind == wanted or column.spatial is not None:
            return values
        if _is_text(kind):
            return self._read(column, values.cast(pa.string()))
        if pa.types.is_boolean(kind):
            values = values.cast(pa.int8())
        if isinstance(wanted, pa.Decimal128Type) and not pa.types.is_decimal(kind):
            return self._read(column, values.cast(pa.string()))
        if pa.types.is_date(wanted) and pa.types.is_timestamp(kind):
            return _days(values)
        if pa.types.is_floating(wanted):
            if pa.types.is_decimal(kind):  # the nearest, as a text of it would become
                values = values.cast(pa.string())
            return values.cast(wanted, safe=False)
        return values.cast(wanted)

    def _read(self, column: ReadColumn, texts: pa.Array[Any]) -> pa.Array[Any]:
        if pa.types.is_string(column.arrow):
            return texts
        if column.is_time:
            try:
                return column.read_times(texts)
            except SuspectError:
                pass
        return column.read_texts(texts, self.ask)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _takes(column: ReadColumn, kind: pa.DataType) -> bool:
    """Return whether values of a type can become those of a column, if they are acceptable."""
    if isinstance(kind, pa.DictionaryType):
        kind = kind.value_type
    wanted, types = column.arrow, pa.types
    if column.spatial is not None:
        return kind == pa.binary()
    if _is_text(kind) or types.is_null(kind):
        return True
    if types.is_string(wanted):
        return types.is_integer(kind) or types.is_date(kind)
    if column.is_time:
        return types.is_date(kind) or types.is_timestamp(kind)
    return types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_boolean(kind)


def _days(times: pa.Array[Any]) -> pa.Array[Any]:
    """Return the days of times. Raises SuspectError when one is not a midnight."""
    plain = times.cast(pa.timestamp("us")).cast(pa.int64())
    days = pc.divide(plain, pa.scalar(_DAY_US, pa.int64()))
    if pc.all(pc.equal(pc.multiply(days, pa.scalar(_DAY_US, pa.int64())), plain)).as_py() is False:
        raise SuspectError("it is a time, and the column takes a day")
    return days.cast(pa.int32()).cast(pa.date32())


def _texts(values: pa.Array[Any]) -> list[bytes | None]:
    """Return values as a CSV file has them."""
    kind = values.type
    if isinstance(kind, pa.DictionaryType):
        values, kind = cast("pa.DictionaryArray[Any, Any]", values).dictionary_decode(), kind.value_type
    if pa.types.is_boolean(kind):
        values = values.cast(pa.int8())
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return [None if value is None else value.hex().upper().encode() for value in values.to_pylist()]
    if pa.types.is_floating(kind):
        numbers = ((value, value is not None and value.is_integer()) for value in values.to_pylist())
        return [None if value is None else str(int(value) if whole else value).encode() for value, whole in numbers]
    texts = values if _is_text(kind) else values.cast(pa.string())
    return texts.cast(pa.large_binary()).to_pylist()


def _quoted(text: bytes | None) -> bytes:
    if text is None:
        return b""
    odd = not text or any(sign in text for sign in b',"\n\r')
    return b'"' + text.replace(b'"', b'""') + b'"' if odd else text
