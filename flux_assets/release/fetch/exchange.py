"""One HTTP request with its redirects, over connections that are judged before they carry it.

Redirects are followed here, not by the client, which would judge none of them.
"""

from __future__ import annotations

import base64
import socket
import ssl
from contextlib import suppress
from string import punctuation
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import make_headers, parse_url

from flux_assets.errors import ReleaseError
from flux_assets.release.fetch.limits import Limits
from flux_assets.release.fetch.reach import Reach, named_reach, reach_of, refusal

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
