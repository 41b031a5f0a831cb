"""What the server makes of a text, when it is read as COPY reads a value.

Here: asking it, about many texts at once. Not here: which texts need be asked about (release/texts.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import psycopg
from psycopg import sql

from flux_assets.postgis.connect import Stop, Target

Answer = tuple[bytes | None, str]
"""A value as the send function of its type gives it, EWKB of a geometry, the text of a numeric; or None, and why."""

_MOST_KEPT, _LONGEST_KEPT = 20_000, 100  # texts, and characters of one
_MOST_BYTES = 4 << 20  # of texts in one question
_FUNCTION = sql.Identifier("pg_temp", "flux_read_texts")
# A cast of text calls the input function of the type, as COPY does. All texts together at first: an exception block for
# each costs twenty times as much. A role may have set dates the other way round.
_READ = """
CREATE OR REPLACE FUNCTION {function}(texts pg_catalog.text[])
    RETURNS TABLE (value pg_catalog.bytea, refusal pg_catalog.text)
    LANGUAGE plpgsql SET datestyle = 'ISO, MDY' SET timezone = 'UTC' AS $read$
DECLARE
    given pg_catalog.text;
    found pg_catalog.bytea[];
BEGIN
    BEGIN
        found := ARRAY(SELECT {sent_each} FROM pg_catalog.unnest(texts) WITH ORDINALITY AS each (given, n) ORDER BY n);
        RETURN QUERY SELECT each.value, NULL::pg_catalog.text
            FROM pg_catalog.unnest(found) WITH ORDINALITY AS each (value, n) ORDER BY n;
        RETURN;
    EXCEPTION WHEN OTHERS THEN
        NULL;
    END;
    FOREACH given IN ARRAY texts LOOP
        BEGIN
            value := {sent};
            refusal := NULL;
        EXCEPTION WHEN OTHERS THEN
            value := NULL;
            refusal := SQLERRM;
        END;
        RETURN NEXT;
    END LOOP;
END
$read$
"""
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
def texts_of(target: Target, purpose: str, stop: Stop) -> Iterator[Callable[[str, Sequence[str]], list[Answer]]]:
    """Ask the target's server about texts of a type, given by its DDL, over a session that the first question opens."""
    with ExitStack() as stack:
        asking: list[_Asking] = []

        def ask(ddl: str, texts: Sequence[str]) -> list[Answer]:
            if not asking:
                session = stack.enter_context(target.session(f"read {purpose}", stop))
                asking.append(_Asking(session))
            return asking[0].ask(ddl, texts)

        yield ask


class _Asking:
    """Questions over one session; short answers are kept, since the place of a fault is found by reading again."""

    def __init__(self, session: psycopg.Connection) -> None:
        self._session = session
        self._function = ""
        self._answers: dict[tuple[str, str], Answer] = {}

    def ask(self, ddl: str, texts: Sequence[str]) -> list[Answer]:
        # What column takes which geometry, and with which SRID, is judged by who asks, as for any other geometry.
        kind = "geometry" if ddl.startswith(("geometry", "geography")) else ddl
        known = {text: self._answers[kind, text] for text in texts if (kind, text) in self._answers}
        for part in _parts([*dict.fromkeys(text for text in texts if text not in known)]):
            known |= zip(part, self._told(kind, part), strict=True)
        if len(self._answers) > _MOST_KEPT:
            self._answers.clear()
        self._answers |= {(kind, text): answer for text, answer in known.items() if len(text) < _LONGEST_KEPT}
        return [known[text] for text in texts]

    def _told(self, kind: str, texts: Sequence[str]) -> Iterator[Answer]:
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
    send = _NUMERIC_SENT.format(typmod=_typmod(kind)) if kind.startswith("numeric") else _SENT[kind]
    return sql.SQL(_READ).format(
        function=_FUNCTION, sent=sql.SQL(send.format("given")), sent_each=sql.SQL(send.format("each.given"))
    )


def _typmod(kind: str) -> int:
    """How PostgreSQL writes down precision and scale."""
    found = _NUMERIC.fullmatch(kind)
    return (int(found[1]) << 16 | int(found[2])) + 4 if found else -1
