"""Connections of Dagster's storage that end when the server is silent: psycopg2 waits in C, for ever, deaf to signals.

A thread shuts the socket of one that waits too long. Our engines are recognised by their application name, because
Dagster makes several by itself.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from math import inf
from threading import Condition, Thread
from time import monotonic
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import psycopg2
import psycopg2.extensions
from sqlalchemy import Engine, event

from flux_assets.encryption import confirm
from flux_assets.errors import TargetError, reported

_APPLICATION = "flux_assets dagster"
_ANSWER_SECONDS = 120.0
# Upkeep and migrations of Dagster's schema; on large tables they take their time.
_LONG_SECONDS = 7200.0
_LONG = ("VACUUM", "CREATE", "ALTER", "DROP", "REINDEX", "ANALYZE")
_PARAMETERS = {
    "application_name": _APPLICATION,
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
_REMEDY = "See whether the server that DAGSTER_POSTGRES_URL names is up; `flux-assets doctor` tests it."


def with_parameters(url: str) -> str:
    """Return the URL with parameters that end a connection to a dead server; those it has stay, but for its name."""
    given = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    query = urlencode(_PARAMETERS | given | {"application_name": _APPLICATION}, quote_via=quote)
    return f"{url.partition('?')[0]}?{query}"


@event.listens_for(Engine, "do_connect")
def _connect(_dialect: object, _record: object, arguments: Sequence[str], parameters: dict[str, Any]) -> object:
    """Open a watched connection of the storage, encrypted or local; others are left to SQLAlchemy."""
    if parameters.get("application_name") != _APPLICATION:
        return None
    try:
        connection = psycopg2.connect(*arguments, **parameters, connection_factory=_Connection)
    except psycopg2.OperationalError as error:
        raise psycopg2.OperationalError(f"Dagster's storage cannot be reached: {reported(error)}. {_REMEDY}") from error
    try:
        confirm(connection.fileno(), connection.info.host, encrypted=connection.info.ssl_in_use)
    except TargetError:
        connection.close()
        raise
    return connection


class _Watch:
    """A thread that shuts the sockets of connections that wait longer than they may."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._waiting: dict[int, tuple[float, int]] = {}
        self._overdue: set[int] = set()
        self._thread: Thread | None = None
        self._wakes = inf
        self._count = 0

    @contextmanager
    def over(self, connection: _Connection, seconds: float) -> Iterator[None]:
        """Limit the time that the connection may wait while the block runs; then it is shut, and psycopg2 raises."""
        deadline = monotonic() + seconds
        with self._changed:
            number = self._count = self._count + 1
            if not connection.closed:
                self._waiting[number] = deadline, connection.fileno()
            # A process that was forked has the watch and not its thread.
            if self._thread is None or not self._thread.is_alive():
                self._thread = Thread(target=self._run, name="flux_assets storage", daemon=True)
                self._thread.start()
            elif deadline < self._wakes:
                self._changed.notify()
        try:
            yield
        except psycopg2.Error as error:
            if number in self._overdue:
                raise psycopg2.OperationalError(
                    f"Dagster's storage has not answered within {seconds:g} s, so the connection was closed. {_REMEDY}"
                ) from error
            raise
        finally:
            with self._changed:
                self._waiting.pop(number, None)
                self._overdue.discard(number)

    def _run(self) -> None:
        with self._changed:
            while True:
                now = monotonic()
                for number, (deadline, descriptor) in list(self._waiting.items()):
                    if deadline <= now:
                        del self._waiting[number]
                        self._overdue.add(number)
                        # Both directions are shut, and the descriptor stays psycopg2's to close.
                        with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as duplicate:
                            duplicate.shutdown(socket.SHUT_RDWR)
                self._wakes = min((deadline for deadline, _ in self._waiting.values()), default=inf)
                self._changed.wait(None if self._wakes == inf else max(self._wakes - now, 0.0))


_watch = _Watch()


class _Connection(psycopg2.extensions.connection):  # type: ignore[misc]
    """A connection of which each statement is watched."""

    def cursor(self, *arguments: object, **named: object) -> object:
        return super().cursor(*arguments, **{"cursor_factory": _Cursor, **named})

    def commit(self) -> None:
        with _watch.over(self, _ANSWER_SECONDS):
            super().commit()

    def rollback(self) -> None:
        with _watch.over(self, _ANSWER_SECONDS):
            super().rollback()


class _Cursor(psycopg2.extensions.cursor):  # type: ignore[misc]
    def execute(self, query: object, values: object = None) -> None:
        with _watch.over(self.connection, _patience(query)):
            super().execute(query, values)

    def executemany(self, query: object, values: object) -> None:
        with _watch.over(self.connection, _patience(query)):
            super().executemany(query, values)


def _patience(query: object) -> float:
    begins = str(query[:20] if isinstance(query, str) else "").lstrip().upper()
    return _LONG_SECONDS if begins.startswith(_LONG) else _ANSWER_SECONDS
