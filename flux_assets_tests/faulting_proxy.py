"""An HTTP proxy on 127.0.0.1 that does to chosen requests what networks and servers do on bad days.

Here: the faults, and what was asked. Each fault is written for requests whose path starts in a given way and whose
statement holds a given text, and for the first so many of them. What a server says that the stand-in cannot say is one
too (snowflake_answers.py).
"""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

import pyarrow as pa

QUERIES, LOGIN = "/queries/v1/query-request", "/session/v1/login-request"
SIGN_OUT, PIECE = "/session?", "/piece/"
_TRAVEL = re.compile(r" AT\(TIMESTAMP => (CURRENT_TIMESTAMP\(\)|[^)]*)\)")
_OBJECT = re.compile(r"FROM (\w+\.\w+\.\"\w+\")")
_GZIP = b"\x1f\x8b"
Kind = Literal[
    "reset",
    "reset half-way",
    "stall",
    "stall half-way",
    "truncate",
    "status",
    "say",
    "untravelled",
    "dribble",
    "in pieces",
    "limited",
    "limited below",
    "with parameters",
    "as json",
    "miscounted",
]


@dataclass
class Fault:
    """What happens to requests: `times` of them (None: all) after `after` that go through unharmed.

    Only those whose statement holds the text `holding`, and not in sessions that set the parameter `unless`. `rows` is
    the limit of a result, or by how much its number of rows is told wrong.
    """

    kind: Kind
    path: str = QUERIES
    times: int | None = 1
    after: int = 0
    status: int = 503
    said: dict | None = None
    holding: str = ""
    rows: int = 0
    unless: str = ""

    def applies(self, path: str, content: dict, parameters: Collection[str] = ()) -> bool:
        if (
            self.unless in parameters
            or not path.startswith(self.path)
            or self.times == 0
            or self.holding not in content.get("sqlText", "")
        ):
            return False
        if self.after:
            self.after -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


@dataclass
class Proxy:
    """A proxy that runs: its port, the faults that are still to come, paths and contents of all requests so far."""

    upstream: int
    port: int = 0
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    contents: list[dict] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    stalling: threading.Event = field(default_factory=threading.Event)
    pieces: list[bytes] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fault(self, path: str, content: dict) -> Fault | None:
        with self.lock:
            self.requests.append(path)
            self.contents.append(content)
            signed_in = [
                said for asked, said in zip(self.requests, self.contents, strict=True) if asked.startswith(LOGIN)
            ]
            set_by_session = signed_in[-1]["data"]["SESSION_PARAMETERS"] if signed_in else {}
            return next((fault for fault in self.faults if fault.applies(path, content, set_by_session)), None)

    def count(self, path: str) -> int:
        return sum(asked.startswith(path) for asked in self.requests)

    def asked(self, path: str) -> list[dict]:
        """What requests to this path held, in their order."""
        with self.lock:
            both = list(zip(self.requests, self.contents, strict=True))
        return [content for asked, content in both if asked.startswith(path)]

    @property
    def statements(self) -> list[str]:
        """The statements that were sent to be run."""
        return [content["sqlText"] for content in self.asked(QUERIES) if not content.get("describeOnly")]

    @property
    def described(self) -> list[str]:
        """The statements that were sent to be compiled alone, for the columns that they would give."""
        return [content["sqlText"] for content in self.asked(QUERIES) if content.get("describeOnly")]


@contextmanager
def faulting_proxy(upstream: int, *faults: Fault) -> Iterator[Proxy]:
    """A proxy in front of the server at this port, ended with all that it stalls when the block ends."""
    proxy = Proxy(upstream=upstream, faults=list(faults))
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": proxy}))
    server.daemon_threads = True
    proxy.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _with_text(body: bytes, change: Callable[[str], str]) -> bytes:
    """The request with another statement."""
    content = json.loads(body)
    return json.dumps(content | {"sqlText": change(content["sqlText"])}).encode()


def _without_travel(body: bytes) -> bytes:
    """The request for what lies there now, which is all that the stand-in has."""
    return _with_text(body, lambda text: _TRAVEL.sub("", text))


def _limited(body: bytes, rows: int) -> bytes:
    """The request whose result is cut as ROWS_PER_RESULTSET cuts it: of the rows found, in their order, the first."""
    return _with_text(body, lambda text: f"{text.rstrip()}\nLIMIT {rows}")


def _limited_below(body: bytes, rows: int) -> bytes:
    """The request over so many of the object's rows alone: the query itself finds no more."""
    return _with_text(body, lambda text: _OBJECT.sub(rf"FROM (SELECT * FROM \1 LIMIT {rows}) AS T", text))


def _with_parameters(body: bytes, said: dict) -> bytes:
    """The answer to a sign-in that says that the session has these parameters."""
    answer = json.loads(body)
    answer["data"]["parameters"] += [{"name": name, "value": value} for name, value in said.items()]
    return json.dumps(answer).encode()


def _as_json(body: bytes) -> bytes:
    """The answer in the other format: every value as text."""
    answer = json.loads(body)
    data = answer["data"]
    packed = base64.b64decode(data.pop("rowsetBase64"))
    table = pa.ipc.open_stream(packed).read_all() if packed else pa.table({})
    rows = [[None if value is None else str(value) for value in row.values()] for row in table.to_pylist()]
    data |= {"queryResultFormat": "json", "rowset": rows}
    return json.dumps(answer).encode()


def _miscounted(body: bytes, rows: int) -> bytes:
    """The answer that says that its result has so many more rows, or fewer."""
    answer = json.loads(body)
    answer["data"]["total"] += rows
    return json.dumps(answer).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body leave together; otherwise each answer waits for a delayed acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True
    proxy: Proxy

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.proxy.fault(self.path, json.loads(self._unpacked(body) or b"{}"))
        with suppress(ConnectionError):
            if fault is None and self.path.startswith(PIECE):
                self._answer(200, self.proxy.pieces[int(self.path.removeprefix(PIECE))])
            elif fault is None:
                self._answer(*self._forwarded(body))
            else:
                self._harm(fault, body)

    do_GET = do_POST  # noqa: N815 - the name that http.server calls

    def _harm(self, fault: Fault, body: bytes) -> None:
        if fault.kind == "reset":
            self._reset()
        elif fault.kind == "stall":
            self._stall()
        elif fault.kind == "status":
            self._answer(fault.status, b"not now")
        elif fault.kind == "say":
            self._answer(200, json.dumps(fault.said).encode())
        elif fault.kind == "dribble":
            self._dribble()
        elif fault.kind == "untravelled":
            self._answer(*self._forwarded(_without_travel(self._unpacked(body))))
        elif fault.kind == "limited":
            self._answer(*self._forwarded(_limited(self._unpacked(body), fault.rows)))
        elif fault.kind == "limited below":
            self._answer(*self._forwarded(_limited_below(self._unpacked(body), fault.rows)))
        elif fault.kind in {"in pieces", "as json", "miscounted", "with parameters"}:
            status, body = self._forwarded(body)
            self._answer(status, self._changed(fault, body))
        else:
            self._half_of(fault, *self._forwarded(body))

    def _changed(self, fault: Fault, body: bytes) -> bytes:
        if fault.kind == "in pieces":
            return self._in_pieces(_miscounted(body, fault.rows))
        if fault.kind == "with parameters":
            return _with_parameters(body, fault.said or {})
        return _as_json(body) if fault.kind == "as json" else _miscounted(body, fault.rows)

    def _half_of(self, fault: Fault, status: int, body: bytes) -> None:
        # A body that is cut short within what was announced, or one that ends as if it were whole.
        announced = len(body) // 2 if fault.kind == "truncate" else len(body)
        self._answer(status, body[: len(body) // 2], announced)
        if fault.kind == "reset half-way":
            self._reset()
        elif fault.kind == "stall half-way":
            self._stall()

    def _dribble(self) -> None:
        """A byte now and then, each in time: no limit on silence ends it."""
        self.close_connection = True
        self.proxy.stalling.set()
        self._answer(200, b"{", announced=1 << 20)
        while not self.proxy.over.wait(0.05):
            self.wfile.write(b" ")
            self.wfile.flush()

    def _in_pieces(self, body: bytes) -> bytes:
        """The result as Snowflake gives a large one: not in the answer, but where the answer says it can be fetched."""
        answer = json.loads(body)
        data = answer["data"]
        place = f"http://127.0.0.1:{self.proxy.port}{PIECE}{len(self.proxy.pieces)}"
        self.proxy.pieces.append(base64.b64decode(data["rowsetBase64"]))
        size = len(self.proxy.pieces[-1])
        data |= {"rowsetBase64": "", "chunks": [
            {"url": place, "rowCount": data["total"], "uncompressedSize": size, "compressedSize": size}
        ]}  # fmt: skip
        return json.dumps(answer).encode()

    def _unpacked(self, body: bytes) -> bytes:
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _forwarded(self, body: bytes) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.proxy.upstream)
        dropped = {"connection", "content-length", *([] if body[:2] == _GZIP else ["content-encoding"])}
        headers = {name: value for name, value in self.headers.items() if name.lower() not in dropped}
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        try:
            return answer.status, answer.read()
        finally:
            connection.close()

    def _answer(self, status: int, body: bytes, announced: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body) if announced is None else announced))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def _reset(self) -> None:
        """Close with RST, as a peer that died does, and not with an orderly end."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def _stall(self) -> None:
        self.close_connection = True
        self.proxy.stalling.set()
        self.proxy.over.wait(60)

    def log_message(self, *args: object) -> None:
        """Nothing on the terminal."""
