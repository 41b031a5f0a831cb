"""A TCP proxy on 127.0.0.1 before PostgreSQL that cuts the connection of a sync at its commit.

Here: the cut, at a point of the protocol and not in time. Faults of HTTP are in faulting_proxy.py.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

# What the sync sends last, and how the server says that it is done.
COMMIT, COMMITTED = b"SELECT clock_timestamp();\nCOMMIT\0", b"COMMIT\0"
_PIECE = 1 << 18
# Answered: the server has committed and its answer is dropped. Unread: the connection is cut as soon as the commit is
# passed on. Late: it is cut first, and passed on when the sync has written the ledger.
Cut = Literal["answered", "unread", "late"]


@dataclass
class CuttingProxy:
    """A proxy that runs: its port, and how it cuts the first commit that comes.

    `cut_off` is set once it did, `settled` when the server is done with that session."""

    upstream: int
    cut: Cut
    port: int = 0
    cut_off: threading.Event = field(default_factory=threading.Event)
    went_on: threading.Event = field(default_factory=threading.Event)
    settled: threading.Event = field(default_factory=threading.Event)

    def serve(self, client: socket.socket) -> None:
        """Carry one connection, both ways, until either end closes it."""
        server = socket.create_connection(("127.0.0.1", self.upstream))
        dropping = threading.Event()
        answers = threading.Thread(target=self._answers, args=(client, server, dropping), daemon=True)
        answers.start()
        after_the_cut = self.cut_off.is_set()
        with suppress(OSError):
            while piece := client.recv(_PIECE):
                if COMMIT in piece and not self.cut_off.is_set():
                    self.cut_off.set()
                    self._commit(client, server, piece, dropping)
                    return
                server.sendall(piece)
        if after_the_cut:
            self.went_on.set()
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _commit(self, client: socket.socket, server: socket.socket, piece: bytes, dropping: threading.Event) -> None:
        if self.cut != "late":
            dropping.set()  # before the server has the commit: it may answer sooner than the client is cut off
        if self.cut == "answered":
            server.sendall(piece)
            return
        if self.cut == "late":
            _reset(client)
            self.went_on.wait(60)
            server.sendall(piece)
        else:
            server.sendall(piece)
            _reset(client)
        server.shutdown(socket.SHUT_WR)

    def _answers(self, client: socket.socket, server: socket.socket, dropping: threading.Event) -> None:
        dropped = b""
        with suppress(OSError):
            while piece := server.recv(_PIECE):
                if not dropping.is_set():
                    client.sendall(piece)
                    continue
                dropped += piece
                if COMMITTED in dropped:
                    break
        _reset(client)
        if self.cut_off.is_set():
            self.settled.set()
        server.close()


@contextmanager
def cutting_proxy(upstream: int, cut: Cut) -> Iterator[CuttingProxy]:
    """A proxy before the server at this port, for as long as the block lasts."""
    proxy = CuttingProxy(upstream=upstream, cut=cut)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy.port = listener.getsockname()[1]

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=proxy.serve, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield proxy
        # Closing alone does not wake the thread that waits for a connection.
        listener.shutdown(socket.SHUT_RDWR)


def _reset(connection: socket.socket) -> None:
    """Close with RST, as a network that was cut does, and not with an orderly end."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
