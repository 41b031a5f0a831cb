"""A TCP proxy on 127.0.0.1 that carries every byte until it is told to be silent, in one direction or in both.

Every connection stays open in the silence. Cuts are in cutting_proxy.py, faults of HTTP in faulting_proxy.py.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Literal

from psycopg.conninfo import conninfo_to_dict, make_conninfo

# Whose bytes no longer arrive.
Silence = Literal["client", "server", "both"]


class _Connection:
    """One connection, and whose bytes it does not carry."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.ends = {"client": client, "server": server}
        self.dumb: frozenset[str] = frozenset()
        self.seconds_a_piece = 0.0


class SilentProxy:
    """A proxy that runs: its port, and `silence`. What comes meanwhile is lost where it `swallows`, else left waiting.

    A connection that is made in the silence is accepted, as a host that froze does.
    """

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.port = 0
        self.swallows = True
        self.swallowed = Event()
        self._closed = Event()
        self._dumb: frozenset[str] = frozenset()
        self._open: list[_Connection] = []

    def through(self, conninfo: str) -> str:
        """The same database by way of this proxy."""
        return make_conninfo(conninfo, host="127.0.0.1", port=self.port, sslmode="disable", gssencmode="disable")

    def silence(self, whose: Silence, *, newcomers: bool = True) -> None:
        """Carry nothing of theirs any more; connections of `newcomers` too, or those that are open now alone."""
        dumb = frozenset({"client", "server"} if whose == "both" else {whose})
        for connection in self._open:
            connection.dumb = dumb
        self._dumb = dumb if newcomers else frozenset()

    def slow_down(self, seconds: float) -> None:
        """Take so long over each piece, of 256 kB at most, of the connections that are open now."""
        for connection in self._open:
            connection.seconds_a_piece = seconds

    def speak(self) -> None:
        """Carry bytes again; those that were swallowed are missing."""
        self._dumb = frozenset()
        for connection in self._open:
            connection.dumb = frozenset()

    def serve(self, client: socket.socket) -> None:
        """Carry one connection, both ways."""
        connection = _Connection(client, socket.create_connection(("127.0.0.1", self.upstream)))
        connection.dumb = self._dumb
        self._open.append(connection)
        for whose, other in (("client", "server"), ("server", "client")):
            Thread(target=self._carry, args=(connection, whose, other), daemon=True).start()

    def _carry(self, connection: _Connection, whose: str, other: str) -> None:
        with suppress(OSError):
            while piece := connection.ends[whose].recv(1 << 18):
                if whose not in connection.dumb:
                    self._closed.wait(connection.seconds_a_piece)
                    connection.ends[other].sendall(piece)
                    continue
                self.swallowed.set()
                if not self.swallows:
                    self._closed.wait()
        # Of a silent end nobody learns that it is gone.
        if not connection.dumb:
            for end in connection.ends.values():
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close every connection."""
        self._closed.set()
        for connection in self._open:
            for end in connection.ends.values():
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()


@contextmanager
def silent_proxy(upstream: int | str) -> Iterator[SilentProxy]:
    """A proxy before the server at this port, or at the port of this conninfo, for as long as the block lasts."""
    proxy = SilentProxy(upstream if isinstance(upstream, int) else int(str(conninfo_to_dict(upstream)["port"])))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy.port = listener.getsockname()[1]

        def accept() -> None:
            with suppress(OSError):
                while True:
                    proxy.serve(listener.accept()[0])

        Thread(target=accept, daemon=True).start()
        yield proxy
        # Closing alone does not wake the thread that waits for a connection.
        listener.shutdown(socket.SHUT_RDWR)
    proxy.close()
