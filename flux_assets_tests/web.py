"""A real HTTP server on 127.0.0.1 whose answers a test can spoil: broken off, busy, without ranges, changed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class Web:
    """Files by path, what spoils the next answers, and a log of requests (method, path, range)."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.statuses: list[int] = []
        self.breaks: list[int] = []
        self.ranges = self.marks = self.heads = True
        self.honour_if_range = True
        self.redirect: str | None = None
        self.password: str | None = None
        self.change_after: bytes | None = None
        self.log: list[tuple[str, str, str | None]] = []
        self.address = ""

    def fetched(self, path: str) -> list[str | None]:
        """The ranges asked for by the GET requests for a path."""
        return [asked for method, seen, asked in self.log if method == "GET" and seen == path]


@contextmanager
def serving() -> Iterator[Web]:
    """A server for the length of the block."""
    web = Web()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"web": web}))
    server.daemon_threads = True
    web.address = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    web: Web

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, *, body: bool) -> None:
        web, path = self.web, self.path.partition("?")[0]
        web.log.append((self.command, path, self.headers.get("Range")))
        content = web.files.get(path)
        if web.redirect:
            return self._short(302, Location=web.redirect + path)
        if web.password and self.headers.get("Authorization") != web.password:
            return self._short(401)
        if not body and not web.heads:
            return self._short(405)
        if content is None:
            return self._short(404)
        if web.statuses:
            return self._short(web.statuses.pop(0))
        return self._send(path, content, body=body)

    def _short(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, path: str, content: bytes, *, body: bool) -> None:
        web = self.web
        etag = f'"{hashlib.md5(content).hexdigest()}"'
        start = self._start(etag) if web.ranges else None
        if start is not None and start >= len(content):
            return self._short(416)
        self.send_response(200 if start is None else 206)
        if web.marks:
            self.send_header("ETag", etag)
        if start is not None:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        part = content[start or 0 : self._after_last(start)]
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if body:
            if web.breaks:
                part = part[: web.breaks.pop(0)]
                self.close_connection = True
            with suppress(ConnectionError):  # a client that goes away is part of some tests
                self.wfile.write(part)
            if web.change_after is not None:
                web.files[path], web.change_after = web.change_after, None
        return None

    def _start(self, etag: str) -> int | None:
        """First byte of a part; None when all must be sent: nobody asked, or the file is another one by now."""
        asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        wanted = self.headers.get("If-Range")
        if not asked or (self.web.honour_if_range and wanted not in (None, etag)):
            return None
        return int(asked[1])

    def _after_last(self, start: int | None) -> int | None:
        asked = re.match(r"bytes=\d+-(\d+)", self.headers.get("Range", ""))
        return int(asked[1]) + 1 if asked and start is not None else None
