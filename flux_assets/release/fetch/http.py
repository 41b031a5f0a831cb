"""Reading a file over HTTPS, from the middle if need be.

Here: the standard library's client, since going on with a file safely takes the status of the answer: fsspec's HTTP
file system tells neither an ignored Range from an honoured one, nor one version of a file from the next.
Not here: retries and the cache (download.py).
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from urllib.error import HTTPError, URLError

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
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "flux_assets"}


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
        return Opened(_stamp(answer), begin, self._chunks(address, answer, exchange.cancel))

    def _chunks(
        self, address: Address, answer: HTTPResponse, cancel: Callable[[], None]
    ) -> Generator[bytes, None, None]:
        with _explained(address):
            try:
                while chunk := within(self._limits.silence, lambda: _chunk(answer), cancel):
                    yield chunk
            finally:
                cancel()
                answer.close()


def _asked_stamp(exchange: Exchange, address: Address) -> Stamp:
    try:
        answer = _ask(exchange, address, "HEAD")
    except HTTPError as error:
        if error.code not in _NO_HEAD:
            raise
        answer = _ask(exchange, address, "GET", {"Range": "bytes=0-0"})  # signed addresses often allow GET alone
    with answer:
        return _stamp(answer)


def _opened(exchange: Exchange, address: Address, start: int, mark: str | None) -> tuple[HTTPResponse, int]:
    """An answer, and the byte of the file that it begins with: `start`, where the file still has `mark`, or 0."""
    try:
        answer = _ask(
            exchange, address, "GET", {"Range": f"bytes={start}-", "If-Range": mark} if start and mark else {}
        )
    except HTTPError as error:
        if error.code != 416:
            raise
        answer = _ask(exchange, address, "GET")  # the file has become shorter
    begin = _begin(answer)
    if begin not in (0, start) or (begin and _stamp(answer).mark != mark):
        answer.close()
        return _ask(exchange, address, "GET"), 0
    return answer, begin


def _ask(exchange: Exchange, address: Address, method: str, headers: dict[str, str] | None = None) -> HTTPResponse:
    return exchange.ask(address.text, method, _HEADERS | (headers or {}))


def _chunk(answer: HTTPResponse) -> bytes:
    """What comes within half a second, up to a megabyte; empty at the end. An error is raised behind what came."""
    chunk, end = bytearray(), time.monotonic() + _CHUNK_SECONDS
    try:
        while len(chunk) < _CHUNK and time.monotonic() < end and (more := answer.read1(_CHUNK - len(chunk))):
            chunk += more
    except (OSError, HTTPException):
        if not chunk:
            raise
    return bytes(chunk)


def _stamp(answer: HTTPResponse) -> Stamp:
    """Size and mark of the whole file, also from the answer to a part. A weak ETag is no mark: bytes may differ."""
    whole = re.fullmatch(r"bytes [\d*-]+/(\d+)", answer.headers.get("Content-Range", ""))
    length = whole[1] if whole else answer.headers.get("Content-Length") if answer.status == 200 else None
    etag = answer.headers.get("ETag", "")
    mark = etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified")
    return Stamp(int(length) if length and length.isdigit() else None, mark)


def _begin(answer: HTTPResponse) -> int:
    """The first byte that an answer gives: 0 unless it is a part and says which."""
    part = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return int(part[1]) if answer.status == 206 and part else 0


@contextmanager
def _explained(address: Address) -> Iterator[None]:
    try:
        yield
    except HTTPError as error:
        with error:
            raise _of_status(address, error) from error
    except URLError as error:
        raise _of_reason(address, error.reason) from error
    except (OSError, HTTPException) as error:
        raise TemporaryError(f"{address.shown}: the connection broke off ({_said(address, error)}).", KEPT) from error
    except ValueError as error:
        raise ReleaseError(
            f"{address.shown} is not an address ({_said(address, error)}).", "Check FLUX_RELEASE."
        ) from error


def _of_status(address: Address, error: HTTPError) -> ReleaseError:
    said = f"HTTP {error.code} {error.reason or ''}".strip()
    if error.code in {404, 410}:
        return missing(address)
    if error.code in {401, 403, 407}:
        return ReleaseError(
            f"{address.shown}: the server denies access ({said}).",
            "Check the user, password or signature in FLUX_RELEASE, and that it has not expired; stores that hide "
            "what they have also answer so for a file that is not there.",
        )
    if error.code in _BUSY:
        return TemporaryError(f"{address.shown}: the server cannot answer now ({said}).", KEPT)
    return ReleaseError(f"{address.shown}: the server refuses ({said}).", "Check FLUX_RELEASE.")


def _of_reason(address: Address, reason: object) -> ReleaseError:
    if isinstance(reason, ssl.SSLCertVerificationError):
        return ReleaseError(
            f"{address.shown}: the server's certificate is not trusted ({reason.verify_message}).",
            "Install its authority's certificate, or name it in SSL_CERT_FILE.",
        )
    if isinstance(reason, socket.gaierror):
        return TemporaryError(
            f"{address.shown}: the host's name is not known ({reason.strerror}).", "Check FLUX_RELEASE and the network."
        )
    said = _said(address, reason) if isinstance(reason, Exception) else str(reason)
    return TemporaryError(
        f"{address.shown}: the host cannot be reached ({said}).", "Check FLUX_RELEASE and the network."
    )


def _said(address: Address, error: Exception) -> str:
    return f"{type(error).__name__}: {address.scrubbed(str(error))}"[:200].rstrip(": ")
