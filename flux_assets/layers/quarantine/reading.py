"""Records from quarantine, read again: one at a time, by the declaration as it is now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from flux_assets.errors import Place, RecordError
from flux_assets.layers.quarantine.records import QuarantinedRecord
from flux_assets.release.decode.audit import LayerFacts, delivered_schema
from flux_assets.release.decode.blocks import blocks
from flux_assets.release.decode.columns import ReadColumn, read_columns
from flux_assets.release.decode.geometry import SuspectError
from flux_assets.release.decode.locate import explained
from flux_assets.release.decode.parse import Parser
from flux_assets.release.decode.records import as_csv
from flux_assets.release.decode.texts import AskServer
from flux_assets.spec import StaticTable


@dataclass
class ReadAgain:
    """Rows of the records that are acceptable now, in their order, and the records that still are not, with why."""

    batch: pa.RecordBatch
    passed: list[QuarantinedRecord] = field(default_factory=list)
    refused: list[QuarantinedRecord] = field(default_factory=list)
    facts: LayerFacts = field(default_factory=LayerFacts)


def read_again(table: StaticTable, records: Sequence[QuarantinedRecord], ask: AskServer) -> ReadAgain:
    """Decode and judge records as a load would; `ask` is put the texts that only a server can read as COPY does."""
    columns = read_columns(table)
    found = ReadAgain(pa.RecordBatch.from_pylist([], schema=delivered_schema(columns)))
    batches = [found.batch]
    for held in records:
        try:
            batch, facts = _read(held, columns, ask)
        except RecordError as error:
            reason = error.problem.removeprefix(f"{error.place}: ")
            found.refused.append(replace(held, column_name=error.place.column, reason=reason))
        else:
            batches.append(batch)
            found.passed.append(held)
            found.facts.add(facts)
    found.batch = _joined(batches)
    return found


def without(
    table: StaticTable, found: ReadAgain, refused: Sequence[tuple[int, str | None, str]], ask: AskServer
) -> ReadAgain:
    """Return the same without rows that somebody else refuses: index, column and reason of each."""
    if not refused:
        return found
    out = {index: (column, reason) for index, column, reason in refused}
    rest = read_again(table, [held for index, held in enumerate(found.passed) if index not in out], ask)
    more = [replace(found.passed[index], column_name=column, reason=reason) for index, (column, reason) in out.items()]
    rest.refused += [*found.refused, *more]
    return rest


def _read(
    held: QuarantinedRecord, columns: tuple[ReadColumn, ...], ask: AskServer
) -> tuple[pa.RecordBatch, LayerFacts]:
    if held.raw_cut:
        raise _error(held, f"{held.reason.removesuffix(_IN_PART)}{_IN_PART}")
    file = as_csv(name.encode() for name in held.header) + b"\n" + held.raw_record.encode() + b"\n"
    (block,) = blocks(iter([file]), held.file)
    if block.records != 1:
        raise _error(held, f"it is {block.records} records.")
    parser, text = Parser(block.header, columns, ask), block.text
    try:
        return parser.decoded(text, 1)
    except (pa.ArrowInvalid, SuspectError) as error:
        raise explained(text, 0, len(text.data), parser, str(error)) from None


_IN_PART = " The record is kept in part only: correct it."


def _error(held: QuarantinedRecord, reason: str) -> RecordError:
    return RecordError(Place(file=held.file, line=held.line, column=held.column_name), reason)


def _joined(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    table = pa.Table.from_batches(list(batches)).combine_chunks()
    return table.to_batches()[0] if table.num_rows else batches[0]
