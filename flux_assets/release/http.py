"""Reading a file over HTTPS, from the middle if need be.

Here: the standard library's client, since going on with a file safely takes the status of the answer: fsspec's HTTP
file system tells neither an ignored Range from an honoured one, nor one version of a file from the next.
Not here: retries and the cache (download.py).
"""

from __future__ import annotations

import base64
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPMessage, HTTPResponse
from typing import IO, cast
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from flux_assets.errors import ReleaseError
from flux_assets.release.address import Address
from flux_assets.release.stores import AGAIN_LATER, Opened, Stamp, TemporaryError, missing

_CHUNK = 1 << 18
_SILENCE = 60  # seconds without a byte, after which a connection counts as dropped
_BUSY = {408, 425, 429, 500, 502, 503, 504}
_NO_HEAD = {400, 403, 405, 501}


class HttpStore:
    """Files behind an https:// prefix."""

    def stamp(self, address: Address) -> Stamp:
        with _explained(address):
            try:
                answer = _ask(address, "HEAD", {})
            except HTTPError as error:
                if error.code not in _NO_HEAD:
                    raise
                answer = _ask(address, "GET", {"Range": "bytes=0-0"})  # signed addresses often allow GET alone
            with answer:
                return _stamp(answer)

    def open(self, address: Address, start: int, mark: str | None) -> Opened:
        ranged = {"Range": f"bytes={start}-", "If-Range": mark} if start and mark else {}
        with _explained(address):
            try:
                answer = _ask(address, "GET", ranged)
            except HTTPError as error:
                if error.code != 416:
                    raise
                answer = _ask(address, "GET", {})  # the file has become shorter
            stamp, begin = _stamp(answer), _begin(answer)
            if begin not in (0, start) or (begin and stamp.mark != mark):
                answer.close()
                answer = _ask(address, "GET", {})
                stamp, begin = _stamp(answer), 0
        return Opened(stamp, begin, _chunks(address, answer))


class _NoWayDown(HTTPRedirectHandler):
    """Follows redirections, but not from https to anything less."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise HTTPError(req.full_url, code, "it redirects to an address that is not https", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _ask(address: Address, method: str, headers: dict[str, str]) -> HTTPResponse:
    parts = urlsplit(address.text)
    user, at, host = parts.netloc.rpartition("@")
    request = Request(  # noqa: S310 - Address lets nothing but https and loopback http come here
        parts._replace(netloc=host).geturl(),
        method=method,
        headers={"Accept-Encoding": "identity", "User-Agent": "flux_assets"} | headers,
    )
    if at:  # never sent on to where a redirection leads
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(unquote(user).encode()).decode()}")
    return cast("HTTPResponse", build_opener(*_direct(address), _NoWayDown).open(request, timeout=_SILENCE))


def _direct(address: Address) -> list[ProxyHandler]:
    """For http, which stays on this machine: no proxy, which would get user and password unencrypted."""
    return [ProxyHandler({})] if address.scheme == "http" else []


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


def _chunks(address: Address, answer: HTTPResponse) -> Iterator[bytes]:
    with _explained(address), answer:
        while chunk := answer.read(_CHUNK):
            yield chunk


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
        raise TemporaryError(
            f"{address.shown}: the connection broke off ({_said(address, error)}).", AGAIN_LATER
        ) from error
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
        return TemporaryError(f"{address.shown}: the server cannot answer now ({said}).", AGAIN_LATER)
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
