"""A TCP proxy on 127.0.0.1 that carries every byte until it is told to be silent, in one direction or in both.

Here: silence, which leaves every connection open. Cuts are in cutting_proxy.py, faults of HTTP in faulting_proxy.py.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Literal

# Whose bytes no longer arrive. A connection that is made in the silence is accepted, as a host that froze does.
Silence = Literal["client", "server", "both"]


class SilentProxy:
    """A proxy that runs: its port, and `silence`. What was swallowed is lost."""

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.port = 0
        self.swallowed = Event()
        self._dumb: frozenset[str] = frozenset()

    def silence(self, whose: Silence) -> None:
        self._dumb = frozenset({"client", "server"} if whose == "both" else {whose})

    def speak(self) -> None:
        """Carry bytes again; those that were swallowed are missing."""
        self._dumb = frozenset()

    def carry(self, whose: str, giver: socket.socket, taker: socket.socket) -> None:
        with suppress(OSError):
            while piece := giver.recv(1 << 18):
                if whose in self._dumb:
                    self.swallowed.set()
                    continue
                taker.sendall(piece)
        for end in (giver, taker):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def silent_proxy(upstream: int) -> Iterator[SilentProxy]:
    """A proxy before the server at this port, for as long as the block lasts."""
    proxy = SilentProxy(upstream)
    ends: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy.port = listener.getsockname()[1]

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    server = socket.create_connection(("127.0.0.1", upstream))
                    ends.extend((client, server))
                    for whose, giver, taker in (("client", client, server), ("server", server, client)):
                        Thread(target=proxy.carry, args=(whose, giver, taker), daemon=True).start()

        Thread(target=accept, daemon=True).start()
        yield proxy
        # Closing alone does not wake the thread that waits for a connection.
        listener.shutdown(socket.SHUT_RDWR)
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()
