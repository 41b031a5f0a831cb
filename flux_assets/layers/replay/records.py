"""Quarantined records as text: read again one at a time by the declaration as it is now, or corrected in a CSV file.

Before the layer's columns the file has `flux_record` (which record of the release file it is) and `flux_reason`,
behind them `flux_surplus` (what stands behind the last column) where a record has too many values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from flux_assets.errors import LayerError, Place, RecordError, ReleaseError
from flux_assets.layers.quarantine import QuarantinedRecord
from flux_assets.postgis.relations import Layer
from flux_assets.release.decode.blocks import Block
from flux_assets.release.decode.columns import AskServer, ReadColumn, SuspectError
from flux_assets.release.decode.faults import fault_in
from flux_assets.release.decode.parse import LayerFacts, Parser
from flux_assets.release.decode.sieve import Probe
from flux_assets.spec import StaticTable

_IN_PART = " The record is kept in part only: correct it."
_RECORD, _REASON, _SURPLUS = "flux_record", "flux_reason", "flux_surplus"


@dataclass(frozen=True, kw_only=True)
class ReadAgain:
    """Rows of the records that are acceptable now, in their order, and the records that still are not, with why."""

    batch: pa.RecordBatch
    passed: list[QuarantinedRecord] = field(default_factory=list)
    refused: list[QuarantinedRecord] = field(default_factory=list)
    facts: LayerFacts = field(default_factory=LayerFacts)

    @classmethod
    def of(
        cls, table: StaticTable, records: Sequence[QuarantinedRecord], ask: AskServer, probe: Probe | None = None
    ) -> ReadAgain:
        """Decode and judge records as a load would; what a `probe` refuses of their rows is refused too.

        `ask` is put the texts that only a server can read as COPY does.
        """
        columns = ReadColumn.all_of(table)
        batches = [pa.RecordBatch.from_pylist([], schema=pa.schema([column.field for column in columns]))]
        passed, refused, facts = [], [], LayerFacts()
        for held in records:
            try:
                batch, found = _decoded(held, columns, ask)
            except RecordError as error:
                refused.append(replace(held, column_name=error.place.column, reason=error.reason))
            else:
                batches.append(batch)
                passed.append(held)
                facts.add(found)
        joined = pa.Table.from_batches(batches).combine_chunks()
        batch = joined.to_batches()[0] if joined.num_rows else batches[0]
        more = {index: (column, reason) for index, column, reason in probe(batch)} if probe else {}
        if not more:
            return cls(batch=batch, passed=passed, refused=refused, facts=facts)
        refused += [
            replace(passed[index], column_name=column, reason=reason) for index, (column, reason) in more.items()
        ]
        rest = cls.of(table, [held for index, held in enumerate(passed) if index not in more], ask)
        return replace(rest, refused=[*rest.refused, *refused])


def _decoded(
    held: QuarantinedRecord, columns: tuple[ReadColumn, ...], ask: AskServer
) -> tuple[pa.RecordBatch, LayerFacts]:
    place = Place(file=held.file, line=held.line, column=held.column_name)
    if held.raw_cut:
        raise RecordError(place, f"{held.reason.removesuffix(_IN_PART)}{_IN_PART}")
    file = _as_csv(name.encode() for name in held.header) + b"\n" + held.raw_record.encode() + b"\n"
    header, block = Block.cut(iter([file]), held.file)
    if block.records != 1:
        raise RecordError(place, f"it is {block.records} records.")
    parser = Parser(header, columns, ask)
    try:
        return parser.decoded(block)
    except (pa.ArrowInvalid, SuspectError):
        raise fault_in(block, parser) from None


@dataclass(frozen=True)
class Correction:
    """The new text of a record, and the columns it has; `surplus` is None in a file without that column."""

    record: int
    header: list[str]
    raw: str
    surplus: bytes | None = None

    @staticmethod
    def read(path: Path) -> Iterator[Correction]:
        """Yield the corrected records. Raises ReleaseError, with the line, for a file that cannot be read as that."""
        try:
            pieces = iter([path.read_bytes()])
        except OSError as error:
            raise ReleaseError(f"{path}: cannot be read: {error.strerror or error}.") from error
        for block in Block.cut(pieces, str(path)):
            if _RECORD not in block.names:
                raise ReleaseError(
                    f"{path}: the header has no column {_RECORD}.",
                    "Write the file with `flux-assets replay TABLE --out FILE`, and correct that.",
                )
            for index in range(block.records):
                yield _correction(block.part(index, index + 1))

    @staticmethod
    def changed(layer: Layer, given: Sequence[Correction], waiting: Sequence[QuarantinedRecord]) -> list[Correction]:
        """Return those that somebody changed; raises LayerError where one of them cannot be stored.

        A record that came back as it was written is no correction: what the file could not hold of it would be lost.
        """
        table, known = layer.table, {held.record: held for held in waiting}
        for one in given:
            if sorted(one.header) != sorted(table.column_names):
                raise LayerError(
                    f"{layer.title}: the corrections have the columns {', '.join(one.header)}, and the table"
                    f" {', '.join(table.column_names)}; nothing was corrected.",
                    "Keep the header that `flux-assets replay TABLE --out FILE` writes.",
                )
        if doubled := [number for number, count in Counter(one.record for one in given).items() if count > 1]:
            raise LayerError(
                f"{layer.title}: record {doubled[0]} is corrected more than once; nothing was corrected.",
                "Leave one line of each record.",
            )
        found = [one for one in given if one.record not in known or one._changes(table, known[one.record])]
        if kept := [one.record for one in found if one.surplus]:
            raise LayerError(
                f"{layer.title}: record {kept[0]} still has values in {_SURPLUS}, behind its last column; nothing was"
                " corrected.",
                "Move them where they belong, or empty the cell.",
            )
        return found

    def _changes(self, table: StaticTable, held: QuarantinedRecord) -> bool:
        """Tell whether it is another record than the one that was written."""
        values = Block.fields(self.raw.encode(), len(self.header))
        if dict(zip(self.header, values, strict=True)) != _written(table, held):
            return True
        return self.surplus is not None and self.surplus != (_surplus(held) or b"")


def write_corrections(path: Path, table: StaticTable, records: Sequence[QuarantinedRecord]) -> None:
    """Write the records, values as far as they are readable, for the columns of the declaration.

    Raises ReleaseError when the file exists already, or cannot be written.
    """
    surplus = {held.record: _surplus(held) for held in records}
    last = (_SURPLUS,) if any(surplus.values()) else ()
    lines = [_as_csv(name.encode() for name in (_RECORD, _REASON, *table.column_names, *last))]
    for held in records:
        where = f"line {held.line}{f', column {held.column_name}' if held.column_name else ''}: {held.reason}"
        values = [str(held.record).encode(), where.encode(), *_written(table, held).values()]
        lines.append(_as_csv([*values, surplus[held.record]] if last else values))
    try:
        _write_new(path, b"\n".join(lines) + b"\n")
    except FileExistsError as error:
        raise ReleaseError(f"{path} already exists.", "Name another file, or remove it.") from error
    except OSError as error:
        raise ReleaseError(f"{path}: cannot be written: {error.strerror or error}.", "Name another file.") from error


def _write_new(path: Path, content: bytes) -> None:
    """Write a file that is not there yet, whole or not at all; a pipe or device takes what it takes."""
    is_file = not path.exists() or path.is_file()
    with path.open("xb" if is_file else "wb") as file:
        try:
            file.write(content)
            file.flush()
        except OSError:
            if is_file:
                path.unlink()
            raise


def _written(table: StaticTable, held: QuarantinedRecord) -> dict[str, bytes | None]:
    """Return the values by column that the file has of a record before anybody corrects it."""
    values = dict(zip(held.header, _values(held), strict=False))
    return {name: values.get(name) for name in table.column_names}


def _surplus(held: QuarantinedRecord) -> bytes | None:
    """Return values of a record that stand behind the last column, as CSV; None when there are none."""
    beyond = _values(held)[len(held.header) :]
    # Quoted also where there is nothing: a comma too many has to be seen to be removed.
    return _as_csv(value or b"" for value in beyond) if beyond else None


def _as_csv(values: Iterable[bytes | None]) -> bytes:
    """Write these values as a record, without its line end; None is NULL."""
    return b",".join(b"" if value is None else b'"' + value.replace(b'"', b'""') + b'"' for value in values)


def _values(held: QuarantinedRecord) -> list[bytes | None]:
    """Return all values; where those behind the last column cannot be told apart, those before them."""
    raw = held.raw_record.encode()
    for most in (len(raw) + 1, len(held.header)):
        with suppress(ValueError):
            return Block.fields(raw, most)
    return []


def _correction(record: Block) -> Correction:
    values = Block.fields(record.data, len(record.names) + 1)
    if len(values) != len(record.names):
        raise record.error_at(
            0, f"the record has {len(values)} values, the header {len(record.names)} columns.", "Quote the values."
        )
    given = dict(zip(record.names, values, strict=True))
    number = given.pop(_RECORD)
    given.pop(_REASON, None)
    surplus = given.pop(_SURPLUS) or b"" if _SURPLUS in given else None
    if number is None or not number.isdigit():
        raise record.error_at(0, f"{_RECORD} is not the number of a record.", "Take it from postgres_sync.quarantine.")
    try:
        return Correction(int(number), list(given), _as_csv(given.values()).decode(), surplus)
    except UnicodeDecodeError:
        raise record.error_at(0, "the record is not UTF-8.", "Write the file in UTF-8.") from None
