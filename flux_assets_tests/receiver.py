"""A real HTTP server on 127.0.0.1 that takes messages, and can be told to answer otherwise, late, or bit by bit."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any


class Receiver:
    """What arrived, and how the next calls are answered: `statuses` first, then `status`."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.statuses: list[int] = []
        self.status = 200
        self.says = ""
        self.silent = False
        self.dribbles = False
        self.over = Event()
        self.address = ""

    def texts(self) -> list[str]:
        """The titles of what arrived since this was last asked."""
        titles = [f"{message['event']}: {message['title']}" for message in self.got]
        self.got.clear()
        return titles


@contextmanager
def receiving(certificate: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """A receiver for the length of the block."""
    receiver = Receiver()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"receiver": receiver}))
    server.daemon_threads = True
    if certificate:
        server.socket = certificate.wrap_socket(server.socket, server_side=True)
    receiver.address = f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    receiver: Receiver

    def do_POST(self) -> None:
        receiver = self.receiver
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if receiver.silent:
            receiver.over.wait()
        if receiver.dribbles:
            return self._dribble()
        receiver.paths.append(self.path)
        receiver.headers.append(dict(self.headers))
        status = receiver.statuses.pop(0) if receiver.statuses else receiver.status
        if status == 200:
            receiver.got.append(json.loads(body))
        return self._answer(status)

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, status: int) -> None:
        with suppress(ConnectionError):
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", f"{self.receiver.address}/elsewhere")
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(self.receiver.says)))
            self.end_headers()
            self.wfile.write(self.receiver.says.encode())

    def _dribble(self) -> None:
        """A byte now and then, each in time: no single read ever times out."""
        with suppress(ConnectionError):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not self.receiver.over.wait(0.02):
                self.wfile.write(b"x")
