"""Rows as COPY takes them: Arrow batches in its binary format, and what the server makes of a text as a value."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property

import psycopg
import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder
from psycopg import sql

from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.session import Target
from flux_assets.sqlfiles import query

_Answer = tuple[bytes | None, str]
"""A value as its type sends it (EWKB of a geometry, the text of a numeric), or None and the reason."""

_MOST_KEPT, _LONGEST_KEPT = 20_000, 100  # texts, and characters of one
_MOST_BYTES = 4 << 20  # of texts in one question
_FUNCTION = sql.Identifier("pg_temp", "flux_read_texts")
_SENT = {
    "integer": "pg_catalog.int4send({}::pg_catalog.int4)",
    "bigint": "pg_catalog.int8send({}::pg_catalog.int8)",
    "double precision": "pg_catalog.float8send({}::pg_catalog.float8)",
    "date": "pg_catalog.date_send({}::pg_catalog.date)",
    "timestamp without time zone": "pg_catalog.timestamp_send({}::pg_catalog.timestamp)",
    "timestamp with time zone": "pg_catalog.timestamptz_send({}::pg_catalog.timestamptz)",
    "geometry": "ST_AsEWKB({}::geometry)",
}
# A cast would read the number first and round it then, and refuses what has too many digits to be read.
_NUMERIC_SENT = """pg_catalog.convert_to(
    pg_catalog.numeric_in(pg_catalog.textout({{}}), 0::pg_catalog.oid, {typmod})::pg_catalog.text, 'UTF8')"""
_NUMERIC = re.compile(r"numeric\((\d+), ?(\d+)\)")


@contextmanager
def texts_of(target: Target, purpose: str, stop: Stop) -> Iterator[Callable[[str, Sequence[str]], list[_Answer]]]:
    """Yield a function that asks the server about texts of a type, given by its DDL; the first call opens a session."""
    with ExitStack() as stack:
        yield _Asking(lambda: stack.enter_context(target.session(f"read {purpose}", stop))).ask


class _Asking:
    """Questions over one session; short answers are kept, since the place of an error is found by reading again."""

    def __init__(self, open_session: Callable[[], psycopg.Connection]) -> None:
        self._open_session = open_session
        self._function = ""
        self._answers: dict[tuple[str, str], _Answer] = {}

    @cached_property
    def _session(self) -> psycopg.Connection:
        return self._open_session()

    def ask(self, ddl: str, texts: Sequence[str]) -> list[_Answer]:
        # Which geometry and SRID a column takes is judged by the caller, as for any other geometry.
        kind = "geometry" if ddl.startswith(("geometry", "geography")) else ddl
        known = {text: self._answers[kind, text] for text in texts if (kind, text) in self._answers}
        for part in _parts([*dict.fromkeys(text for text in texts if text not in known)]):
            known |= zip(part, self._answers_for(kind, part), strict=True)
        if len(self._answers) > _MOST_KEPT:
            self._answers.clear()
        self._answers |= {(kind, text): answer for text, answer in known.items() if len(text) < _LONGEST_KEPT}
        return [known[text] for text in texts]

    def _answers_for(self, kind: str, texts: Sequence[str]) -> Iterator[_Answer]:
        if self._function != kind:
            self._session.execute(_reading(kind))
            self._function = kind
        rows = self._session.execute(sql.SQL("SELECT value, refusal FROM {}(%s)").format(_FUNCTION), [list(texts)])
        for value, refusal in rows:
            yield None if value is None else bytes(value), refusal or ""


def _parts(texts: Sequence[str]) -> Iterator[list[str]]:
    part: list[str] = []
    size = 0
    for text in texts:
        if part and size + len(text) > _MOST_BYTES:
            yield part
            part, size = [], 0
        part.append(text)
        size += len(text)
    if part:
        yield part


def _reading(kind: str) -> sql.Composed:
    found = _NUMERIC.fullmatch(kind)
    # As PostgreSQL stores precision and scale.
    typmod = (int(found[1]) << 16 | int(found[2])) + 4 if found else -1
    send = _NUMERIC_SENT.format(typmod=typmod) if kind.startswith("numeric") else _SENT[kind]
    return query("copy_texts", "create_reader").format(
        function=_FUNCTION, sent=sql.SQL(send.format("given")), sent_each=sql.SQL(send.format("each.given"))
    )


def encoded(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Generator[bytes, None, None]:
    """Encode batches as a binary COPY stream, a piece for each. Close it where it may be left early.

    An error that is raised between two pieces keeps this alive, and with it the threads that read the batches: Python
    would wait for them for ever when it ends.
    """
    encoder = ArrowToPostgresBinaryEncoder(schema)
    yield encoder.write_header()
    for batch in batches:
        yield encoder.write_batch(batch)
    yield encoder.finish()
