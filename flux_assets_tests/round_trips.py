"""Counting the round trips of every session that goes through a TCP proxy on 127.0.0.1 before PostgreSQL."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from flux_assets.postgis.session import Target

_PIECE = 1 << 18
_SSL_REQUEST = 80877103
Side = Literal["client", "server"]


@dataclass
class RoundTrips:
    """A proxy that runs: its port, and what was sent in each round trip, the sign-in of sessions apart.

    A round trip is what the server ends with ReadyForQuery: a script of several statements is one, and so is a
    pipeline up to its Sync.
    """

    upstream: int
    port: int = 0
    trips: list[str] = field(default_factory=list)

    def serve(self, client: socket.socket) -> None:
        """Carry one connection, both ways, until either end closes it."""
        server = socket.create_connection(("127.0.0.1", self.upstream))
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = _Link(self.trips)
        answers = threading.Thread(target=_pump, args=(server, client, link.answered), daemon=True)
        answers.start()
        _pump(client, server, link.sent)
        answers.join()
        client.close()
        server.close()


class _Link:
    """The messages of one connection."""

    def __init__(self, trips: list[str]) -> None:
        self._trips = trips
        self._statements: list[str] = []
        self._is_started = self._is_signed_in = False
        self._rest: dict[Side, bytes] = {"client": b"", "server": b""}

    def sent(self, piece: bytes) -> None:
        data = self._rest["client"] + piece
        while not self._is_started and len(data) >= 8:
            length, code = int.from_bytes(data[:4]), int.from_bytes(data[4:8])
            self._is_started = code != _SSL_REQUEST
            data = data[length:]
        self._rest["client"] = data
        if self._is_started:
            for kind, body in self._messages("client"):
                if kind in b"QP":
                    self._statements.append(body.strip(b"\0").split(b"\0")[0].decode())

    def answered(self, piece: bytes) -> None:
        self._rest["server"] += piece
        for kind, _ in self._messages("server"):
            if kind == ord("Z") and self._is_signed_in:
                self._trips.append(";\n".join(self._statements))
                self._statements.clear()
            self._is_signed_in = self._is_signed_in or kind == ord("Z")

    def _messages(self, side: Side) -> Iterator[tuple[int, bytes]]:
        data, start = self._rest[side], 0
        if side == "server" and data[:1] in {b"N", b"S"} and not self._is_started:
            start = 1  # the answer to a request for encryption has no length
        while len(data) >= start + 5:
            end = start + 1 + int.from_bytes(data[start + 1 : start + 5])
            if len(data) < end:
                break
            yield data[start], data[start + 5 : end]
            start = end
        self._rest[side] = data[start:]


def _pump(source: socket.socket, sink: socket.socket, seen: Callable[[bytes], None]) -> None:
    with suppress(OSError):
        while piece := source.recv(_PIECE):
            seen(piece)
            sink.sendall(piece)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def counting(target: Target) -> Iterator[tuple[Target, list[str]]]:
    """The same target through a proxy, and the round trips that go through it, a text for each."""
    proxy = RoundTrips(int(str(conninfo_to_dict(target.conninfo)["port"])))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy.port = listener.getsockname()[1]

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=proxy.serve, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            through = make_conninfo(target.conninfo, host="127.0.0.1", hostaddr="127.0.0.1", port=proxy.port)
            yield Target(conninfo=through, schema=target.schema, declared=target.declared), proxy.trips
        finally:
            listener.shutdown(socket.SHUT_RDWR)
