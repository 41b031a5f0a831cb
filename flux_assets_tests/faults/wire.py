"""A TCP proxy on 127.0.0.1 before PostgreSQL: cuts connections, silences them, delays them, counts round trips."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Literal

_PIECE = 1 << 18
Direction = Literal["up", "down"]


@dataclass(eq=False)
class _Link:
    """A connection through the wire, and the directions in which it is silent."""

    client: socket.socket
    server: socket.socket
    silent: set[Direction] = field(default_factory=set)
    unanswered: bool = False


@dataclass
class Wire:
    """A proxy that runs. `upstream` is the server's port, asked anew by each connection.

    All bytes arrive `each_way` seconds later. `trips` counts how often a client sent something and had to wait.
    """

    upstream: int
    each_way: float = 0.0
    port: int = 0
    trips: int = 0
    _links: list[_Link] = field(default_factory=list)
    _new_ones: frozenset[Direction] = frozenset()
    _watched: tuple[bytes, Callable[[], None]] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def cut(self) -> None:
        """Reset every connection there is; new ones get through."""
        for link in self._current():
            _reset(link.client)
            _reset(link.server)

    def silence(self, *directions: Direction, new_ones: bool = False) -> None:
        """Swallow what comes over the connections there are, and let either side believe that the other is there."""
        self._new_ones = frozenset(directions) if new_ones else frozenset()
        for link in self._current():
            link.silent.update(directions)

    def watch(self, text: bytes, action: Callable[[], None]) -> None:
        """Do something when a client first sends this text, before it is passed on."""
        self._watched = (text, action)

    def _current(self) -> list[_Link]:
        with self._lock:
            return list(self._links)

    def serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self.upstream))
        except OSError:
            _reset(client)
            return
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = _Link(client, server, set(self._new_ones))
        with self._lock:
            self._links.append(link)
        answers = threading.Thread(target=self._pump, args=(link, "down"), daemon=True)
        answers.start()
        self._pump(link, "up")
        answers.join()
        with self._lock:
            self._links.remove(link)
        client.close()
        server.close()

    def _pump(self, link: _Link, direction: Direction) -> None:
        source, sink = (link.client, link.server) if direction == "up" else (link.server, link.client)
        with _late(sink, self.each_way) as send, suppress(OSError):
            while piece := source.recv(_PIECE):
                if direction == "up":
                    self._act_on(piece)
                self._count(link, direction)
                if direction not in link.silent:
                    send(piece)
        if not link.silent:
            # A network that is silent does not tell either side that the other has gone.
            with suppress(OSError):
                sink.shutdown(socket.SHUT_WR)

    def _count(self, link: _Link, direction: Direction) -> None:
        with self._lock:
            self.trips += direction == "up" and not link.unanswered
            link.unanswered = direction == "up"

    def _act_on(self, piece: bytes) -> None:
        with self._lock:
            watched = self._watched
            if watched is None or watched[0] not in piece:
                return
            self._watched = None
        watched[1]()


@contextmanager
def wire_to(upstream: int, each_way: float = 0.0) -> Iterator[Wire]:
    """A wire to the server at this port, for as long as the block lasts; all its connections end with it."""
    wire = Wire(upstream=upstream, each_way=each_way)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        wire.port = listener.getsockname()[1]

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=wire.serve, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield wire
        finally:
            # Closing alone does not wake the thread that waits for a connection.
            listener.shutdown(socket.SHUT_RDWR)
            wire.cut()


@contextmanager
def _late(sink: socket.socket, seconds: float) -> Iterator[Callable[[bytes], None]]:
    """What sends pieces so much later, in order. They wait side by side, so that throughput is what it was."""
    if not seconds:
        yield sink.sendall
        return
    waiting: SimpleQueue[tuple[float, bytes]] = SimpleQueue()

    def deliver() -> None:
        with suppress(OSError):
            while (item := waiting.get())[1]:
                time.sleep(max(0.0, item[0] - time.monotonic()))
                sink.sendall(item[1])

    delivery = threading.Thread(target=deliver, daemon=True)
    delivery.start()
    try:
        yield lambda piece: waiting.put((time.monotonic() + seconds, piece))
    finally:
        waiting.put((0.0, b""))
        delivery.join()


def _reset(connection: socket.socket) -> None:
    """Close with RST, as a network that was cut does, and not with an orderly end."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # The other thread's recv would keep a closed socket open.
        connection.shutdown(socket.SHUT_RD)
    with suppress(OSError):
        connection.close()
