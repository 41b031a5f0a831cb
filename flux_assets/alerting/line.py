"""The connections of one call of a client, which can be cut from another thread: closing the client does not end them.

Not here: the call itself (webhook.py).
"""

from __future__ import annotations

import socket
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from requests import Session


class Line:
    """Notes the connections that a session opens. Once it is cut, every further one ends as it is opened."""

    def __init__(self) -> None:
        self._connections: list[Any] = []
        self._lock = Lock()
        self._is_cut = False

    def carry(self, session: Session) -> None:
        """Have the session's connections noted."""
        from requests.adapters import HTTPAdapter

        line = self

        class Noting(HTTPAdapter):
            def get_connection_with_tls_context(self, *given: Any, **named: Any) -> Any:  # noqa: ANN401 - requests'
                pool = super().get_connection_with_tls_context(*given, **named)
                pool.ConnectionCls = line._noting(type(pool).ConnectionCls)
                return pool

        for scheme in ("https://", "http://"):
            session.mount(scheme, Noting())

    def cut(self) -> None:
        """End whatever is under way."""
        with self._lock:
            self._is_cut = True
            for connection in self._connections:
                with suppress(OSError, AttributeError):  # a connection that is not open yet has no socket
                    connection.sock.shutdown(socket.SHUT_RDWR)

    def _noting(self, kind: Any) -> Any:  # noqa: ANN401 - urllib3's class of connections
        line = self

        class Noted(kind):  # type: ignore[misc]
            def connect(self) -> None:
                with line._lock:
                    line._connections.append(self)
                super().connect()
                if line._is_cut:
                    self.close()
                    raise ConnectionAbortedError

        return Noted
