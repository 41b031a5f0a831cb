"""CSV text to Arrow, by the declaration alone: types are never guessed, ids keep their leading zeros.

Here: the settings of Arrow's CSV reader, and the header against the declaration. Not here: threads (decode.py),
judging values (audit.py).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import IO, Protocol, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv

from flux_assets.errors import Place, RecordError, abbreviated
from flux_assets.release.audit import LayerFacts, audited
from flux_assets.release.blocks import BOM, LONGEST_RECORD, Header
from flux_assets.release.columns import ReadColumn
from flux_assets.release.geometry import SuspectError
from flux_assets.release.records import Text, has_blank_record

_SHOWN = 10  # names of each fault of a header
_HEXADECIMAL = re.compile(rb"0[xX]")
_INFINITY = r"(?i)^\s*[+-]?inf(inity)?\s*$"


class Parser:
    """Reads records whose columns stand in the order of `header`; delivers them in the order of the declaration.

    Raises RecordError, naming every column concerned, when the header is not the declaration's.
    """

    def __init__(self, header: Header, columns: tuple[ReadColumn, ...]) -> None:
        _check(header, columns)
        self.header, self.columns = header, columns
        self._parse = pv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False)
        self._types = {column.name: column.arrow for column in columns}

    def open(self, source: pa.NativeFile, as_text: Sequence[str] = ()) -> pv.CSVStreamingReader:
        """Batches, not yet audited, of records that a file-like `source` gives; one batch for each read of it.

        Columns of `as_text` come as strings.
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
        """As `open`, of whole records in memory."""
        return self.open(pa.BufferReader(with_mark(data)), as_text)

    def judged(self, raw: pa.RecordBatch, source: _HasData) -> tuple[pa.RecordBatch, LayerFacts]:
        """`audited`, and no blank lines: Arrow takes one for a row of NULLs. `source` is what `raw` was read from."""
        batch, facts = audited(raw, self.columns)
        if len(self.columns) > 1 and min(facts.nulls.values()) > 0 and has_blank_record(source.data):
            raise SuspectError
        self._refuse_overflow(batch, source)
        self._refuse_hexadecimal(source)
        return batch, facts

    def decoded(self, text: Text, records: int) -> tuple[pa.RecordBatch, LayerFacts]:
        """`judged` of whole records that make one batch. Raises ArrowInvalid or SuspectError when one is refused."""
        batches = list(self.open(pa.BufferReader(text.data)))
        if len(batches) != 1 or batches[0].num_rows != records:
            raise SuspectError
        return self.judged(batches[0], text)

    def _refuse_overflow(self, batch: pa.RecordBatch, source: _HasData) -> None:
        """Arrow makes an infinity of a number that is too large, and PostgreSQL an error; `Infinity` both take."""
        doubles = [column.name for column in self.columns if column.arrow == pa.float64()]
        infinite = [name for name in doubles if pc.any(pc.is_inf(batch[name])).as_py()]
        if infinite:
            texts = pa.Table.from_batches(list(self.read(source.data, as_text=infinite)))
            for name in infinite:
                if not pc.all(pc.match_substring_regex(texts.filter(pc.is_inf(batch[name]))[name], _INFINITY)).as_py():
                    raise SuspectError(name)

    def _refuse_hexadecimal(self, source: _HasData) -> None:
        """Arrow takes 0x1F for an integer, and 0xFFFFFFFF for -1; PostgreSQL does not, or takes it otherwise."""
        integers = [column.name for column in self.columns if pa.types.is_integer(column.arrow)]
        data = source.data if integers else b""
        # A single letter is looked for at no cost that shows; geometry is full of zeros.
        if (b"x" not in data and b"X" not in data) or not _HEXADECIMAL.search(data):
            return
        texts = pa.Table.from_batches(list(self.read(data, as_text=integers)))
        for name in integers:
            if pc.any(pc.match_substring(texts[name], "x", ignore_case=True)).as_py():
                raise SuspectError(name)

    def refusal(self, text: Text) -> str | None:
        """Why these whole records are not acceptable, in Arrow's words if they are its; None when they are."""
        try:
            for raw in self.read(text.data):
                self.judged(raw, text)
        except (pa.ArrowInvalid, SuspectError) as error:
            return str(error) or "a value is not acceptable"
        return None


def with_mark(data: bytes) -> bytes:
    """Data that Arrow reads as they are: it drops a byte order mark, which behind the header belongs to a value."""
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
    said = [f"{what}: {_listed(names)}" for what, names in faults if names]
    if said:
        raise RecordError(
            Place(file=header.file, line=1),
            f"the header does not name the table's columns ({'; '.join(said)}).",
            f"It needs {', '.join(wanted)}, in any order.",
        )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(map(abbreviated, names[:_SHOWN])) + more
