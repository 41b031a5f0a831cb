"""A connection whose waits can be inspected, and ended, from another thread."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from threading import Thread
from time import monotonic
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from flux_assets.encryption import confirm, protected
from flux_assets.errors import TargetError

# Both ends ask after a silent peer within a minute; sent data that is not acknowledged counts as silence.
_TCP = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
    "connect_timeout": 15,
}
# Of Linux's struct tcp_info: bytes that the other end has acknowledged, and bytes that came from it.
_TCP_INFO_BYTES, _ACKED_AND_RECEIVED = 136, slice(120, 136)

_MARK = "flux_assets.another_server_process"
SERVER_PROCESS = "pg_catalog.pg_backend_pid()"


@dataclass(frozen=True)
class _ServerProcess:
    """The server process of a session: a pooler reports numbers of its own, and an address may have several servers."""

    pid: int
    server_started: datetime


class WatchedConnection(psycopg.Connection[Any]):
    """A connection whose waits are watched; not for LISTEN, which waits without asking.

    `server` is its server process, once that was asked for; `is_pooled` means that it is behind a pooler, which
    leaves it to the session. After `deadline` (of the monotonic clock) nothing is waited for any more; no wait at all
    is longer than `answer_within` seconds. `opened_with` is the conninfo.
    """

    opened_with: str = ""
    is_pooled: bool = False
    server: _ServerProcess | None = None
    deadline: float | None = None
    answer_within: float | None = None
    waiting_since: float | None = None
    cancelled_at: float | None = None
    lost: str | None = None
    _socket: socket.socket | None = None

    def wait(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - psycopg's own signature, whatever its version
        self.waiting_since = monotonic()
        try:
            return super().wait(*args, **kwargs)
        except psycopg.OperationalError as error:
            if self.lost is None:
                raise
            raise psycopg.OperationalError(self.lost) from error
        finally:
            self.waiting_since = None

    def identify(self, pid: int, server_started: datetime) -> None:
        """Note the server process: from now on it can be asked what became of a wait."""
        self.server, self.deadline = _ServerProcess(pid, server_started), None

    def cancel_soon(self, seconds: float) -> None:
        """Ask the server to cancel what runs, without waiting for it."""
        self.cancelled_at = monotonic()
        Thread(target=self._cancel, args=(seconds,), name="cancel", daemon=True).start()

    def abandon(self, reason: str) -> None:
        """End the wait that is under way: it raises OperationalError with the reason."""
        self.lost = reason
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def transferred(self) -> bytes:
        """Return what the network reports of bytes sent and received; empty where it reports nothing."""
        try:
            info = (
                self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES) if self._socket else b""
            )
        except (OSError, AttributeError):  # a Unix socket; another system than Linux
            return b""
        return info[_ACKED_AND_RECEIVED]

    def hold_socket(self) -> None:
        """Keep the socket: its number may be another's as soon as the connection is closed."""
        self._socket = socket.socket(fileno=os.dup(self.fileno()))

    def drop_socket(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()

    def _cancel(self, seconds: float) -> None:
        with suppress(psycopg.Error):
            self.cancel_safe(timeout=seconds)


@lru_cache(maxsize=8)
def _with_keepalives(address: str) -> str:
    given = conninfo_to_dict(address)
    return make_conninfo(address, **{name: value for name, value in _TCP.items() if name not in given})


def open_watched(conninfo: str, application: str) -> WatchedConnection:
    """Open an autocommit connection, encrypted unless the server is on this machine.

    Raises psycopg.OperationalError, or TargetError where it would not be encrypted.
    """
    address = _with_keepalives(protected(conninfo))
    # In another encoding, by a role, a database or the environment, not even a refusal could always be read.
    connection = WatchedConnection.connect(
        address, autocommit=True, application_name=application[:63], client_encoding="UTF8"
    )
    try:
        confirm(connection.fileno(), connection.info.host, encrypted=connection.pgconn.ssl_in_use)
    except TargetError:
        connection.close()
        raise
    connection.opened_with = conninfo
    connection.hold_socket()
    return connection


def own_process(session: WatchedConnection) -> sql.Composed:
    """Return an expression for the number of the server process, which fails where a pooler reported another.

    In the first statements of a session it keeps the others from being run through an unknown pooler.
    """
    if session.is_pooled:
        return sql.SQL(SERVER_PROCESS).format()
    reported_pid = sql.Literal(session.info.backend_pid)
    return sql.SQL(
        f"CASE WHEN {SERVER_PROCESS} = {{}} THEN {SERVER_PROCESS}"
        f" ELSE pg_catalog.current_setting('{_MARK}')::pg_catalog.int4 END"
    ).format(reported_pid)


def is_of_a_pooler(error: psycopg.Error) -> bool:
    """Tell whether it is `own_process` that failed: a pooler is between us and the server."""
    return error.sqlstate == "42704" and _MARK in str(error)
