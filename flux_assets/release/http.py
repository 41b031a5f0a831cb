"""How far redirects may lead: from this machine nowhere else, from elsewhere never closer to it."""

from __future__ import annotations

import base64
import re
import socket
import ssl
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from http.client import HTTPException
from ipaddress import IPv6Address, ip_address
from string import punctuation
from typing import Any
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
from flux_assets.locality import is_local_host
from flux_assets.release.files import Address
from flux_assets.release.stopping import within
from flux_assets.release.stores import KEPT, Limits, Opened, Stamp, TemporaryError, missing


class Reach(IntEnum):
    """Who can answer at an address."""

    MACHINE = 0
    PRIVATE = 1
    PUBLIC = 2


def reach_of(address: str) -> Reach:
    """Return the reach of a numeric address."""
    parsed = ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    plain = mapped or parsed
    if plain.is_loopback or plain.is_unspecified:
        return Reach.MACHINE
    return Reach.PUBLIC if plain.is_global else Reach.PRIVATE


def named_reach(host: str) -> Reach:
    """Return the reach of a host, judged by its name where only a proxy knows its address."""
    try:
        return reach_of(host)
    except ValueError:
        return Reach.MACHINE if is_local_host(host) else Reach.PUBLIC


def refusal(first: Reach, then: Reach) -> str | None:
    """Return why a request to `first` may not be redirected to `then`; None when it may."""
    if first is Reach.MACHINE:
        return None if then is Reach.MACHINE else "it redirects from this machine to another one"
    if then < first:
        return f"it redirects to {'this machine' if then is Reach.MACHINE else 'a private network'}"
    return None


_REDIRECTS = {301, 302, 303, 307, 308}
_REMEDY = "Set FLUX_RELEASE to the address under which the files really are."


class Exchange:
    """A request that `cancel` ends from another thread, also while it waits for an answer or for bytes."""

    def __init__(self, shown: str, limits: Limits) -> None:
        self._shown, self._limits = shown, limits
        self._first: Reach | None = None
        self._sockets: list[socket.socket] = []
        self._cancelled = False

    def ask(self, url: str, method: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        """Return the answer, whatever its status, unread; user and password of `url` are sent to its host alone.

        Raises ReleaseError for a redirect that is not followed, and the client's own errors.
        """
        parts = urlsplit(url)
        user, at, host = parts.netloc.rpartition("@")
        secret = {"Authorization": f"Basic {base64.b64encode(unquote(user).encode()).decode()}"} if at else {}
        url = parts._replace(netloc=host).geturl()
        for _ in range(self._limits.redirects + 1):
            answer = self._open(url, method, headers | secret)
            to = answer.headers.get("Location")
            if answer.status not in _REDIRECTS or not to:
                return answer
            answer.close()  # its body may be endless
            url, secret = urljoin(url, quote(to, safe=punctuation)), {}
        raise self._refused(f"it redirects more than {self._limits.redirects} times")

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
        reach = reach_of(connection.sock.getpeername()[0])
        if not isinstance(connection, HTTPSConnection) and reach is not Reach.MACHINE:
            raise self._refused("its host is not on this machine, and would be asked unencrypted")
        self._judge(reach)

    def _open(self, url: str, method: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        parts = urlsplit(url)
        host = parts.hostname or ""
        named = named_reach(host)
        if parts.scheme != "https" and not (parts.scheme == "http" and named is Reach.MACHINE):
            raise self._refused("it redirects to an address that is not https")
        proxy = None if named is Reach.MACHINE or proxy_bypass(host) else getproxies().get(parts.scheme)
        if self._first is not None or proxy:
            self._judge(named)
        pool = _pools(parts.scheme, proxy).connection_from_url(url)
        pool.ConnectionCls = _judged_by(self, pool.ConnectionCls, direct=not proxy)
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

    def _judge(self, reach: Reach) -> None:
        self._first = reach if self._first is None else self._first
        if problem := refusal(self._first, reach):
            raise self._refused(problem)

    def _refused(self, problem: str) -> ReleaseError:
        return ReleaseError(f"{self._shown}: {problem}, which is not followed.", _REMEDY)


def _pools(scheme: str, proxy: str | None) -> urllib3.PoolManager:
    context = ssl.create_default_context() if scheme == "https" else None
    if proxy is None:
        return urllib3.PoolManager(ssl_context=context)
    address = proxy if "://" in proxy else f"http://{proxy}"
    user = parse_url(address).auth
    headers = make_headers(proxy_basic_auth=unquote(user)) if user else None
    return urllib3.ProxyManager(address, proxy_headers=headers, ssl_context=context)


def _judged_by(exchange: Exchange, kind: Any, *, direct: bool) -> Any:  # noqa: ANN401 - a class of connections
    class Judged(kind):  # type: ignore[misc]
        def connect(self) -> None:
            super().connect()
            exchange.judge(self, direct=direct)

    return Judged


_CHUNK = 1 << 20
_CHUNK_SECONDS = 0.5
_BUSY = {408, 425, 429, 500, 502, 503, 504}
_NO_HEAD = {400, 403, 405, 501}
_RANGE_BEYOND_END = 416
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "flux_assets"}
_UNREACHED = (NewConnectionError, ConnectTimeoutError, ProxyError, SSLError)


class HttpStore:
    """Files behind an https:// prefix."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def stamp(self, address: Address) -> Stamp:
        exchange = Exchange(address.shown, self._limits)
        with _explained(address):
            return within(self._limits.silence, lambda: _asked_stamp(exchange, address), exchange.cancel)

    def open(self, address: Address, start: int, mark: str | None) -> Opened:
        exchange = Exchange(address.shown, self._limits)
        with _explained(address):
            answer, begin = within(
                self._limits.silence, lambda: _opened(exchange, address, start, mark), exchange.cancel
            )
        chunks = self._chunks(address, answer, exchange.cancel)
        next(chunks)
        return Opened(_stamp(answer), begin, chunks)

    def _chunks(
        self, address: Address, answer: BaseHTTPResponse, cancel: Callable[[], None]
    ) -> Generator[bytes, None, None]:
        with _explained(address):
            try:
                yield b""  # for `open`: only a generator that has begun closes the answer when nobody reads it
                while chunk := within(self._limits.silence, lambda: _chunk(answer), cancel):
                    yield chunk
            finally:
                cancel()
                answer.close()


def _asked_stamp(exchange: Exchange, address: Address) -> Stamp:
    answer = _ask(exchange, address, "HEAD")
    if answer.status in _NO_HEAD:  # signed addresses often allow GET alone
        answer.close()
        answer = _ask(exchange, address, "GET", {"Range": "bytes=0-0"})
    try:
        return _stamp(_accepted(address, answer))
    finally:
        answer.close()


def _opened(exchange: Exchange, address: Address, start: int, mark: str | None) -> tuple[BaseHTTPResponse, int]:
    """Return an answer, and the byte that it begins with: `start` where the file still has `mark`, else 0."""
    headers = {"Range": f"bytes={start}-", "If-Range": mark} if start and mark else {}
    answer = _ask(exchange, address, "GET", headers)
    if answer.status == _RANGE_BEYOND_END and headers:  # the file has become shorter
        answer.close()
        answer = _ask(exchange, address, "GET")
    begin = _begin(_accepted(address, answer))
    if begin not in (0, start) or (begin and _stamp(answer).mark != mark):
        answer.close()
        return _accepted(address, _ask(exchange, address, "GET")), 0
    return answer, begin


def _ask(exchange: Exchange, address: Address, method: str, headers: dict[str, str] | None = None) -> BaseHTTPResponse:
    return exchange.ask(address.text, method, _HEADERS | (headers or {}))


def _accepted(address: Address, answer: BaseHTTPResponse) -> BaseHTTPResponse:
    if 200 <= answer.status < 300:
        return answer
    answer.close()
    raise _of_status(address, answer)


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


def _begin(answer: BaseHTTPResponse) -> int:
    """Return the first byte that an answer gives: 0 unless it is a part and tells which."""
    part = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return int(part[1]) if answer.status == 206 and part else 0


@contextmanager
def _explained(address: Address) -> Iterator[None]:
    try:
        yield
    except LocationValueError as error:
        raise _malformed(address, error) from error
    except (OSError, HTTPException, HTTPError) as error:
        raise _of_network(address, error) from error
    except ValueError as error:
        raise _malformed(address, error) from error


def _malformed(address: Address, error: ValueError) -> ReleaseError:
    return ReleaseError(f"{address.shown} is not an address ({address.describe(error)}).", "Check FLUX_RELEASE.")


def _of_status(address: Address, answer: BaseHTTPResponse) -> ReleaseError:
    status = f"HTTP {answer.status} {answer.reason or ''}".strip()
    if answer.status in {404, 410}:
        return missing(address)
    if answer.status in {401, 403, 407}:
        return ReleaseError(
            f"{address.shown}: the server denies access ({status}).",
            "Check the user, password or signature in FLUX_RELEASE, and that it has not expired; stores that hide"
            " what they have also answer so for a file that does not exist.",
        )
    if answer.status in _BUSY:
        return TemporaryError(f"{address.shown}: the server cannot answer now ({status}).", KEPT)
    return ReleaseError(f"{address.shown}: the server refuses ({status}).", "Check FLUX_RELEASE.")


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
    return TemporaryError(f"{address.shown}: the connection broke off ({reason}).", KEPT)


def _cause(error: BaseException) -> BaseException:
    """Return the first of a chain of errors: the client wraps those of sockets and of TLS."""
    inner = error.__cause__ or next((given for given in error.args if isinstance(given, Exception)), None)
    return error if inner is None else _cause(inner)
