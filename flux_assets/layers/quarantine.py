"""Records that a load refused and went on without, kept with their version in postgres_sync.quarantine."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import psycopg
import pyarrow as pa
from psycopg import errors, sql
from psycopg.rows import class_row

from flux_assets.errors import counted
from flux_assets.layers.context import VersionContext
from flux_assets.layers.schema_diff import Public
from flux_assets.layers.versions import Version
from flux_assets.postgis import relations
from flux_assets.postgis.copying import encoded
from flux_assets.postgis.relations import Layer
from flux_assets.release.decode.sieve import Probe, Quarantine, Refused
from flux_assets.release.decode.stream import LayerStream
from flux_assets.sqlfiles import query

REFUSALS = (errors.DataError, errors.IntegrityError, errors.InternalError_)
# COPY counts its tuples from 1.
WHERE = re.compile(r"^COPY [^,]+, line (\d+)(?:, column ([^:\n]+))?", re.MULTILINE)
_PROBE = sql.Identifier("pg_temp", "flux_probe")
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
    def of(cls, refused: Refused) -> QuarantinedRecord:
        """Make what is kept of a record that was refused."""
        raw = refused.raw
        text = raw[:_LONGEST_RAW].decode(errors="ignore" if len(raw) > _LONGEST_RAW else "backslashreplace")
        return cls(
            record=refused.record,
            file=refused.file,
            line=refused.line,
            column_name=refused.column,
            reason=refused.reason,
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


def stage_with_quarantine(
    context: VersionContext,
    version: Version,
    public: Public,
    stream_of: Callable[[Quarantine], LayerStream],
    fill: Callable[[LayerStream, Iterable[pa.RecordBatch]], None],
) -> tuple[LayerStream, int]:
    """Fill the version with the acceptable rows of a stream; returns what read them and how many it refused.

    Raises QuarantineError when there are more than may be refused; those found until then are kept to be looked at.
    """
    kept, title = VersionQuarantine(context.control, context.layer, version), context.layer.title

    def staged(probe: Probe | None) -> tuple[LayerStream, int]:
        sieve = Quarantine(context.options.quarantine, probe)
        stream = stream_of(sieve)
        with closing(_keeping(kept, stream, sieve)) as batches:
            fill(stream, batches)
        if sieve.count:
            context.log(f"{title}: {counted(sieve.count, 'record')} refused, and set aside in postgres_sync.quarantine")
        return stream, sieve.count

    try:
        return staged(None)
    except REFUSALS as error:
        # One refusal of the server's undoes all of a COPY (FREEZE), and no savepoint may stand before it.
        context.log(
            f"{title}: PostgreSQL refuses a record ({error.diag.message_primary}); reading the file again, trying every"
            " batch first"
        )
    kept.clear()
    with probing(context, public) as probe:
        return staged(probe)


def _keeping(kept: VersionQuarantine, stream: LayerStream, sieve: Quarantine) -> Generator[pa.RecordBatch, None, None]:
    """Yield the stream's batches; what it refuses meanwhile is written down, also when it ends with an error."""

    def keep() -> None:
        if (found := sieve.taken()) and not kept.connection.closed and not kept.connection.broken:
            kept.add(map(QuarantinedRecord.of, found))

    try:
        for batch in stream:
            keep()
            yield batch
    finally:
        keep()


@contextmanager
def probing(context: VersionContext, public: Public) -> Iterator[Probe]:
    """Give what tries rows on an empty table that is as a new version's is, before one refusal undoes everything.

    It returns index, column and reason of each row that the server refuses; all others are tried as well.
    """
    layer = context.layer
    with context.target.session(f"probe {layer.name}", context.options.stop) as session:
        if public.oid is not None:
            session.execute(layer.create_template())
        session.execute(layer.create_probe(like_template=public.oid is not None))
        for statement in public.altering(_PROBE):
            session.execute(statement)
        yield lambda batch: list(_refused_rows(session, batch))


def _refused_rows(session: psycopg.Connection, batch: pa.RecordBatch) -> Iterator[tuple[int, str | None, str]]:
    begin = 0
    while begin < batch.num_rows and (found := _first_refused(session, batch.slice(begin))) is not None:
        index, column, reason = found
        yield begin + index, column, reason
        begin += index + 1


def _first_refused(session: psycopg.Connection, batch: pa.RecordBatch) -> tuple[int, str | None, str] | None:
    columns = relations.names(tuple(batch.schema.names))
    copy_in = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(_PROBE, columns)
    try:
        with session.transaction(), session.cursor().copy(copy_in) as copy:
            for chunk in encoded([batch], batch.schema):
                copy.write(chunk)
    except REFUSALS as error:
        where = WHERE.search(error.diag.context or "")
        if where is None:
            raise
        column = where[2] or error.diag.column_name
        known = column if column in batch.schema.names else None
        return int(where[1]) - 1, known, f"PostgreSQL refuses it: {error.diag.message_primary}."
    return None
