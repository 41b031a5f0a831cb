"""Where in a release file a fault is, and the error that says so: the slow, exact pass that only bad files need."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flux_assets.errors import Place, RecordError
from flux_assets.release.decode.blocks import Block, blocks
from flux_assets.release.decode.columns import read_columns
from flux_assets.release.decode.gunzip import GunzippedFile
from flux_assets.release.decode.parse import Parser
from flux_assets.release.decode.records import Text, count_fields, fields, record_starts
from flux_assets.release.decode.values import judge
from flux_assets.release.stopping import check_stop
from flux_assets.spec import StaticTable

_SHOWN = 300  # characters of Arrow's message, which may hold the value


def fault_in(block: Block, parser: Parser, reason: str) -> RecordError:
    """Return the error of the first record of `block` that `parser` refuses; `reason` is its message on the block."""
    text = block.text
    ends = [*record_starts(text.data)[1:].tolist(), len(text.data)]
    low, high = 0, len(ends) - 1
    data = text.data
    while low < high:
        check_stop()
        middle = (low + high) // 2
        # What precedes `low` is known to be sound, so that the passes together read the block about twice.
        if parser.refusal(replace(text, data=data[ends[low - 1] if low else 0 : ends[middle]])) is None:
            low = middle + 1
        else:
            high = middle
    start = ends[low - 1] if low else 0
    reason = parser.refusal(replace(text, data=data[start : ends[low]])) or reason
    return explained(text, start, ends[low], parser, reason)


def explained(text: Text, start: int, end: int, parser: Parser, reason: str) -> RecordError:
    """Return the error of the refused record `text.data[start:end]`; `reason` is the parser's message on it."""
    record = text.data[start:end]
    if not record.strip(b"\r\n") and len(text.names) > 1:
        return _without_column(text.error_at(start, "the line is empty.", "Remove it."), value=None)
    if (count := count_fields(record)) != len(text.names):
        error = text.error_at(
            start,
            f"the record has {count} values, the header names {len(text.names)} columns.",
            "Quote values that hold commas or newlines; leave nothing between the commas for NULL.",
        )
        return _without_column(error, value=record.decode(errors="replace").rstrip("\r\n"))
    found = fields(record, len(text.names))
    columns = {column.name: column for column in parser.columns}
    for name, field in zip(text.names, found, strict=True):
        if judgement := judge(columns[name], field.value, parser.ask):
            return text.error_at(start + field.start, *judgement)
    index = re.search(r"CSV column #(\d+)", reason)
    where = found[int(index[1])].start if index else 0
    return text.error_at(
        start + where, f"it cannot be read ({reason[:_SHOWN]}).", "Write it as COPY … WITH (FORMAT csv) does."
    )


def describe_record(  # noqa: PLR0913, PLR0917 - the parts of a place
    path: Path, name: str, table: StaticTable, record: int, column: str | None, problem: str, remedy: str
) -> RecordError:
    """Return the error of a record that another reader, for example COPY, found by its number (1 follows the header).

    Reads the file up to there. With `column`, its value is shown; without such a record, neither line nor value.
    """
    column = column if column in table.column_names else None
    for block in _blocks_of(path, name):
        check_stop()
        if block.record <= record < block.record + block.records:
            return described(block.text, record - block.record, column, problem, remedy)
    return RecordError(Place(file=name, record=record, column=column), problem, remedy)


def described(text: Text, index: int, column: str | None, problem: str, remedy: str) -> RecordError:
    """Return the error of the record `index` of `text`, at the value of `column` where there is one."""
    start = int(record_starts(text.data)[index])
    found = fields(text.data[start:], len(text.names))
    if column in text.names[: len(found)]:
        return text.error_at(start + found[text.names.index(column)].start, problem, remedy)
    return _without_column(text.error_at(start, problem, remedy), value=None)


def _without_column(error: RecordError, value: str | None) -> RecordError:
    problem = error.problem.removeprefix(f"{error.place}: ")
    return RecordError(replace(error.place, column=None, value=value), problem, error.remedy)


def find_values(
    path: Path, name: str, table: StaticTable, values: Mapping[str, object], limit: int = 5
) -> list[tuple[int, str]]:
    """Return the lines of the first `limit` records whose columns have these values, for duplicate keys.

    `values` are by column, of its type or as text. Each line comes with the values as the file has them.
    """
    wanted = [column for column in read_columns(table) if column.name in values]
    literals = [_literal(values[column.name], column.arrow) for column in wanted]
    found: list[tuple[int, str]] = []
    parser: Parser | None = None
    for block in _blocks_of(path, name):
        check_stop()
        parser = parser or Parser(block.header, read_columns(table))
        for start in _matches(block.text, parser, [column.name for column in wanted], literals):
            found.append(_shown(block.text, start, [column.name for column in wanted]))
            if len(found) == limit:
                return found
    return found


def _literal(value: object, arrow: pa.DataType) -> pa.Scalar[Any]:
    return pa.scalar(value).cast(arrow) if isinstance(value, str) else pa.scalar(value, arrow)


def _matches(text: Text, parser: Parser, names: Sequence[str], literals: Sequence[pa.Scalar[Any]]) -> Iterator[int]:
    if not text.data:
        return
    rows, _ = parser.decoded(text, len(record_starts(text.data)))
    mask = np.ones(rows.num_rows, bool)
    for name, literal in zip(names, literals, strict=True):
        mask &= np.asarray(pc.equal(rows[name], literal).fill_null(False))
    if mask.any():
        yield from record_starts(text.data)[mask].tolist()


def _shown(text: Text, start: int, names: Sequence[str]) -> tuple[int, str]:
    found = fields(text.data[start:], len(text.names))
    values = [found[text.names.index(name)].value or b"" for name in names]
    return text.line + text.data.count(b"\n", 0, start), ", ".join(value.decode(errors="replace") for value in values)


def _blocks_of(path: Path, name: str) -> Iterator[Block]:
    return blocks(iter(GunzippedFile(path, name)), name)
