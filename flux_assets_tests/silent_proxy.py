"""A TCP proxy on 127.0.0.1 before PostgreSQL that goes silent: both ends stay connected, and nothing passes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from psycopg.conninfo import conninfo_to_dict, make_conninfo

_PIECE = 1 << 16


@dataclass
class SilentProxy:
    """Connections opened before `silence` was asked for go silent, later ones too where `deaf` says so.

    What comes from a silent end is taken and lost where it `swallows`, else left where it is.
    """

    conninfo: str
    upstream: int
    port: int = 0
    deaf: bool = False
    swallows: bool = True
    closed: threading.Event = field(default_factory=threading.Event)
    _open: list[tuple[threading.Event, threading.Event]] = field(default_factory=list)
    _sockets: list[socket.socket] = field(default_factory=list)

    @property
    def through(self) -> str:
        """The database's address by way of this proxy."""
        away = {"host": "127.0.0.1", "port": self.port, "sslmode": "disable", "gssencmode": "disable"}
        return make_conninfo(self.conninfo, **away)

    def silence(self, *, to_server: bool = True, to_client: bool = True, deaf: bool = False) -> None:
        """Let nothing pass any more in these directions on the connections that are open now."""
        self.deaf = deaf
        for onward, back in self._open:
            if to_server:
                onward.set()
            if to_client:
                back.set()

    def serve(self, client: socket.socket) -> None:
        server = socket.create_connection(("127.0.0.1", self.upstream))
        silences = threading.Event(), threading.Event()
        if self.deaf:
            for silence in silences:
                silence.set()
        self._open.append(silences)
        self._sockets += [client, server]
        for source, sink, silence in ((client, server, silences[0]), (server, client, silences[1])):
            threading.Thread(target=self._carry, args=(source, sink, silence), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, silent: threading.Event) -> None:
        with suppress(OSError):
            while piece := source.recv(_PIECE):
                if not silent.is_set():
                    sink.sendall(piece)
                elif not self.swallows:
                    self.closed.wait()
            if not silent.is_set():
                sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.closed.set()
        for each in self._sockets:
            with suppress(OSError):
                each.close()


@contextmanager
def silent_proxy(conninfo: str) -> Iterator[SilentProxy]:
    """A proxy before the server that the conninfo names, which has to listen on 127.0.0.1 too."""
    proxy = SilentProxy(conninfo, int(str(conninfo_to_dict(conninfo)["port"])))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy.port = listener.getsockname()[1]

        def accept() -> None:
            with suppress(OSError):
                while True:
                    proxy.serve(listener.accept()[0])

        threading.Thread(target=accept, daemon=True).start()
        yield proxy
    proxy.close()
