"""Records that a load refused and went on without, kept with their version in postgres_sync.quarantine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from flux_assets.errors import RecordError
from flux_assets.layers.versions import Version
from flux_assets.postgis.relations import Layer
from flux_assets.release.decode.blocks import Block
from flux_assets.sqlfiles import query

_LONGEST_RAW = 64 << 10


@dataclass(frozen=True, kw_only=True)
class QuarantinedRecord:
    """A record in quarantine; `header` names the columns of `raw_record`. `replayed` when its version has the row.

    `raw_bytes` is the length of the record in the file; `raw_cut` says that the text is less.
    """

    record: int
    file: str
    line: int
    column_name: str | None
    reason: str
    header: list[str]
    raw_record: str
    raw_bytes: int
    raw_cut: bool
    replayed: bool = False

    @classmethod
    def of(cls, refused: Block, error: RecordError) -> QuarantinedRecord:
        """Make what is kept of a record that was refused."""
        raw = refused.data.removesuffix(b"\n").removesuffix(b"\r")
        text = raw[:_LONGEST_RAW].decode(errors="ignore" if len(raw) > _LONGEST_RAW else "backslashreplace")
        return cls(
            record=refused.record,
            file=refused.file,
            line=error.place.line or refused.line or refused.record,
            column_name=error.place.column,
            reason=error.reason,
            header=list(refused.names),
            raw_record=text,
            raw_bytes=len(raw),
            raw_cut=text.encode() != raw,
        )


@dataclass(frozen=True)
class VersionQuarantine:
    """The quarantine of one version of a layer."""

    connection: psycopg.Connection
    layer: Layer
    version: Version

    def records(self) -> list[QuarantinedRecord]:
        """Return everything that it has, in the order of the file."""
        with self.connection.cursor(row_factory=class_row(QuarantinedRecord)) as cursor:
            return cursor.execute(query("quarantine", "records"), self._of_version()).fetchall()

    def waiting(self) -> list[QuarantinedRecord]:
        """Return those that the version lacks."""
        return [record for record in self.records() if not record.replayed]

    def count_waiting(self) -> int:
        """Return how many records the version lacks."""
        row = self.connection.execute(query("quarantine", "count_waiting"), self._of_version()).fetchone()
        return int(row[0]) if row else 0

    def add(self, records: Iterable[QuarantinedRecord]) -> None:
        """Put records into it."""
        of_run = {**self._of_version(), "version": self.version.version, "run_id": self.version.run_id}
        with self.connection.cursor() as cursor:
            cursor.executemany(query("quarantine", "add"), [of_run | vars(record) for record in records])

    def correct(self, record: int, header: list[str], raw: str) -> bool:
        """Replace the text of a waiting record; returns whether there is one of this number."""
        values = {**self._of_version(), "record": record, "header": header, "raw_record": raw}
        return self.connection.execute(query("quarantine", "correct"), values).rowcount == 1

    def explain(self, records: Iterable[QuarantinedRecord]) -> None:
        """Note where and why records are refused by now."""
        with self.connection.cursor() as cursor:
            cursor.executemany(query("quarantine", "explain"), [self._of_version() | vars(each) for each in records])

    def clear(self) -> None:
        """Delete all records of a version that is being read again."""
        self.connection.execute(query("quarantine", "clear"), self._of_version())

    def note_base(self, replayed: int) -> None:
        """Have the register say which version of the release this one contains, and how many rows replays added."""
        values = {**self._of_version(), "base": self.version.base_version, "replayed": replayed}
        self.connection.execute(query("quarantine", "note_base"), values)

    def _of_version(self) -> dict[str, object]:
        return {"schema": self.layer.schema, "name": self.layer.name, "lease": self.version.lease}
