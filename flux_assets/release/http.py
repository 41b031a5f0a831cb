"""Reading a file over HTTPS, from the middle if need be, with redirects that lead nowhere that nobody meant.

By urllib3, which tells the status of an answer: fsspec's HTTP file system tells neither an ignored Range from an
honoured one, nor one version of a file from the next. Redirects are followed here: urllib3 would judge none of them.
"""

from __future__ import annotations

import base64
import re
import socket
import ssl
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from http.client import HTTPException
from ipaddress import IPv6Address, ip_address
from string import punctuation
from typing import cast
from urllib.parse import quote, unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3 import BaseHTTPResponse
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationValueError,
    NewConnectionError,
    ProxyError,
    SSLError,
)
from urllib3.util import make_headers, parse_url

from flux_assets.errors import ReleaseError
from flux_assets.locality import Host
from flux_assets.release.files import Address
from flux_assets.release.stopping import within
from flux_assets.release.stores import Limits, Stamp, TemporaryError

_CHUNK = 1 << 20
_CHUNK_SECONDS = 0.5
_REDIRECTS = {301, 302, 303, 307, 308}
_BUSY = {408, 425, 429, 500, 502, 503, 504}
_NO_HEAD = {400, 403, 405, 501}
_RANGE_BEYOND_END = 416
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "flux_assets"}
_UNREACHED = (NewConnectionError, ConnectTimeoutError, ProxyError, SSLError)


class _Reach(IntEnum):
    """Who can answer at an address."""

    MACHINE = 0
    PRIVATE = 1
    PUBLIC = 2

    @staticmethod
    def of(address: str) -> _Reach:
        """Return the reach of a numeric address."""
        parsed = ip_address(address.partition("%")[0])
        mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
        plain = mapped or parsed
        if plain.is_loopback or plain.is_unspecified:
            return _Reach.MACHINE
        return _Reach.PUBLIC if plain.is_global else _Reach.PRIVATE


class HttpStore:
    """Files behind an https:// prefix."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def stamp(self, address: Address) -> Stamp:
        exchange = _Exchange(address, self._limits)
        with _explained(address):
            return within(self._limits.silence, exchange.stamp, exchange.cancel)

    def open(self, address: Address, start: int, mark: str | None) -> tuple[Stamp, int, Generator[bytes, None, None]]:
        exchange = _Exchange(address, self._limits)
        with _explained(address):
            answer, begin = within(
                self._limits.silence,
                lambda: exchange.opened(start, mark),
                exchange.cancel,
                discard=lambda opened: opened[0].close(),
            )
        chunks = self._chunks(exchange, answer)
        next(chunks)
        return _stamp(answer), begin, chunks

    def _chunks(self, exchange: _Exchange, answer: BaseHTTPResponse) -> Generator[bytes, None, None]:
        with _explained(exchange.address):
            try:
                yield b""  # for `open`: only a generator that has begun closes the answer when nobody reads it
                while chunk := within(self._limits.silence, lambda: _chunk(answer), exchange.cancel):
                    yield chunk
            finally:
                exchange.cancel()
                answer.close()


class _Exchange:
    """Requests for one file, which `cancel` ends from another thread, also while they wait for an answer or bytes.

    Redirects from this machine lead nowhere else, from elsewhere never closer to it.
    """

    def __init__(self, address: Address, limits: Limits) -> None:
        self.address, self._limits = address, limits
        self._first: _Reach | None = None
        self._sockets: list[socket.socket] = []
        self._cancelled = False

    def stamp(self) -> Stamp:
        answer = self._ask("HEAD")
        if answer.status in _NO_HEAD:  # signed addresses often allow GET alone
            answer.close()
            answer = self._ask("GET", {"Range": "bytes=0-0"})
        try:
            return _stamp(self._accepted(answer))
        finally:
            answer.close()

    def opened(self, start: int, mark: str | None) -> tuple[BaseHTTPResponse, int]:
        """Return an answer, and the byte that it begins with: `start` where the file still has `mark`, else 0."""
        headers = {"Range": f"bytes={start}-", "If-Range": mark} if start and mark else {}
        answer = self._ask("GET", headers)
        if answer.status == _RANGE_BEYOND_END and headers:  # the file has become shorter
            answer.close()
            answer = self._ask("GET")
        part = re.match(r"bytes (\d+)-", self._accepted(answer).headers.get("Content-Range", ""))
        begin = int(part[1]) if answer.status == 206 and part else 0
        if begin not in (0, start) or (begin and _stamp(answer).mark != mark):
            answer.close()
            return self._accepted(self._ask("GET")), 0
        return answer, begin

    def cancel(self) -> None:
        """Break the request off."""
        self._cancelled = True
        for connected in self._sockets:
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    def judge(self, connection: HTTPConnection, *, direct: bool) -> None:
        """Raise ReleaseError for a connection that may not carry the request. Through a proxy, only names are known."""
        self._sockets.append(connection.sock)
        if self._cancelled:
            raise TimeoutError("broken off")
        if not direct:
            return
        reach = _Reach.of(connection.sock.getpeername()[0])
        if not isinstance(connection, HTTPSConnection) and reach is not _Reach.MACHINE:
            raise self._refused("its host is not on this machine, and would be asked unencrypted")
        self._judge(reach)

    def _ask(self, method: str, headers: dict[str, str] | None = None) -> BaseHTTPResponse:
        """Return the answer, whatever its status, unread; user and password are sent to the address's host alone.

        Raises ReleaseError for a redirect that is not followed, and the client's own errors.
        """
        parts = urlsplit(self.address.text)
        user, at, host = parts.netloc.rpartition("@")
        secret = {"Authorization": f"Basic {base64.b64encode(unquote(user).encode()).decode()}"} if at else {}
        url = parts._replace(netloc=host).geturl()
        for _ in range(self._limits.redirects + 1):
            answer = self._open(url, method, _HEADERS | (headers or {}) | secret)
            to = answer.headers.get("Location")
            if answer.status not in _REDIRECTS or not to:
                return answer
            answer.close()  # its body may be endless
            url, secret = urljoin(url, quote(to, safe=punctuation)), {}
        raise self._refused(f"it redirects more than {self._limits.redirects} times")

    def _open(self, url: str, method: str, headers: dict[str, str]) -> BaseHTTPResponse:
        parts = urlsplit(url)
        host = parts.hostname or ""
        try:
            named = _Reach.of(host)
        except ValueError:  # judged by its name where only a proxy knows its address
            named = _Reach.MACHINE if Host(host).is_local else _Reach.PUBLIC
        if parts.scheme != "https" and not (parts.scheme == "http" and named is _Reach.MACHINE):
            raise self._refused("it redirects to an address that is not https")
        proxy = None if named is _Reach.MACHINE or proxy_bypass(host) else getproxies().get(parts.scheme)
        if self._first is not None or proxy:
            self._judge(named)
        pool = _pools(parts.scheme, proxy).connection_from_url(url)
        pool.ConnectionCls = self._judged_kind(cast("type[HTTPConnection]", pool.ConnectionCls), direct=not proxy)
        return pool.urlopen(
            method,
            parts._replace(scheme="", netloc="", fragment="").geturl() or "/",
            headers=headers,
            retries=False,
            redirect=False,
            timeout=self._limits.silence,
            preload_content=False,
            decode_content=False,
            enforce_content_length=False,  # a download compares the size itself, and keeps what came
        )

    def _judged_kind(self, kind: type[HTTPConnection], *, direct: bool) -> type[HTTPConnection]:
        exchange = self

        class Judged(kind):  # type: ignore[misc, valid-type]
            def connect(self) -> None:
                super().connect()
                exchange.judge(self, direct=direct)

        return Judged

    def _judge(self, reach: _Reach) -> None:
        self._first = reach if self._first is None else self._first
        if self._first is _Reach.MACHINE and reach is not _Reach.MACHINE:
            raise self._refused("it redirects from this machine to another one")
        if reach < self._first:
            raise self._refused(f"it redirects to {'this machine' if reach is _Reach.MACHINE else 'a private network'}")

    def _refused(self, problem: str) -> ReleaseError:
        return ReleaseError(
            f"{self.address.shown}: {problem}, which is not followed.",
            "Set FLUX_RELEASE to the address under which the files really are.",
        )

    def _accepted(self, answer: BaseHTTPResponse) -> BaseHTTPResponse:
        if 200 <= answer.status < 300:
            return answer
        answer.close()
        shown, status = self.address.shown, f"HTTP {answer.status} {answer.reason or ''}".strip()
        if answer.status in {404, 410}:
            raise self.address.missing()
        if answer.status in {401, 403, 407}:
            raise ReleaseError(
                f"{shown}: the server denies access ({status}).",
                "Check the user, password or signature in FLUX_RELEASE, and that it has not expired; stores that hide"
                " what they have also answer so for a file that does not exist.",
            )
        if answer.status in _BUSY:
            raise TemporaryError(f"{shown}: the server cannot answer now ({status}).")
        raise ReleaseError(f"{shown}: the server refuses ({status}).", "Check FLUX_RELEASE.")


def _pools(scheme: str, proxy: str | None) -> urllib3.PoolManager:
    context = ssl.create_default_context() if scheme == "https" else None
    if proxy is None:
        return urllib3.PoolManager(ssl_context=context)
    address = proxy if "://" in proxy else f"http://{proxy}"
    user = parse_url(address).auth
    headers = make_headers(proxy_basic_auth=unquote(user)) if user else None
    return urllib3.ProxyManager(address, proxy_headers=headers, ssl_context=context)


def _chunk(answer: BaseHTTPResponse) -> bytes:
    """Return what comes within half a second, up to a megabyte; empty at the end. Raises an error after what came."""
    chunk, end = bytearray(), time.monotonic() + _CHUNK_SECONDS
    try:
        while len(chunk) < _CHUNK and time.monotonic() < end and (more := answer.read1(_CHUNK - len(chunk))):
            chunk += more
    except (OSError, HTTPException, HTTPError):
        if not chunk:
            raise
    return bytes(chunk)


def _stamp(answer: BaseHTTPResponse) -> Stamp:
    """Return size and mark of the whole file, also of a partial answer. A weak ETag is no mark: bytes may differ."""
    whole = re.fullmatch(r"bytes [\d*-]+/(\d+)", answer.headers.get("Content-Range", ""))
    length = whole[1] if whole else answer.headers.get("Content-Length") if answer.status == 200 else None
    etag = answer.headers.get("ETag", "")
    mark = etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified")
    return Stamp(int(length) if length and length.isdigit() else None, mark)


@contextmanager
def _explained(address: Address) -> Iterator[None]:
    try:
        yield
    except (OSError, HTTPException, HTTPError) as error:
        if isinstance(error, LocationValueError):
            raise _malformed(address, error) from error
        raise _of_network(address, error) from error
    except ValueError as error:
        raise _malformed(address, error) from error


def _malformed(address: Address, error: Exception) -> ReleaseError:
    return ReleaseError(f"{address.shown} is not an address ({address.describe(error)}).", "Check FLUX_RELEASE.")


def _of_network(address: Address, error: Exception) -> ReleaseError:
    cause = _cause(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return ReleaseError(
            f"{address.shown}: the server's certificate is not trusted ({cause.verify_message}).",
            "Install its authority's certificate, or name it in SSL_CERT_FILE.",
        )
    remedy = "Check FLUX_RELEASE and the network."
    if isinstance(cause, socket.gaierror):
        return TemporaryError(f"{address.shown}: the host's name is unknown ({cause.strerror}).", remedy)
    reason = address.describe(cause)
    if isinstance(error, _UNREACHED):
        return TemporaryError(f"{address.shown}: the host cannot be reached ({reason}).", remedy)
    return TemporaryError(f"{address.shown}: the connection broke off ({reason}).")


def _cause(error: BaseException) -> BaseException:
    """Return the first of a chain of errors: the client wraps those of sockets and of TLS."""
    inner = error.__cause__ or next((given for given in error.args if isinstance(given, Exception)), None)
    return error if inner is None else _cause(inner)
