"""Reading a file over HTTPS, from the middle if need be.

By urllib3, which tells the status of an answer: fsspec's HTTP file system tells neither an ignored Range from an
honoured one, nor one version of a file from the next.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from http.client import HTTPException

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationValueError,
    NewConnectionError,
    ProxyError,
    SSLError,
)

from flux_assets.errors import ReleaseError
from flux_assets.release.fetch.address import Address
from flux_assets.release.fetch.exchange import Exchange
from flux_assets.release.fetch.limits import KEPT, Limits
from flux_assets.release.fetch.stores import Opened, Stamp, TemporaryError, missing
from flux_assets.release.stopping import within

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
