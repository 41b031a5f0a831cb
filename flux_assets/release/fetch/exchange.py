"""One HTTP request with what it is redirected to, over connections that are judged before they carry it.

The redirections are followed here, since urllib's handler reads the body of each, however long that is.
"""

from __future__ import annotations

import base64
import socket
import ssl
from contextlib import suppress
from functools import partial
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from string import punctuation
from typing import Any, cast
from urllib.error import HTTPError
from urllib.parse import quote, unquote, urljoin, urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    getproxies,
    proxy_bypass,
)

from flux_assets.errors import ReleaseError
from flux_assets.release.fetch.limits import Limits
from flux_assets.release.fetch.reach import Reach, named_reach, reach_of, refusal

_REDIRECTIONS = {301, 302, 303, 307, 308}
_REMEDY = "Set FLUX_RELEASE to the address under which the files really lie."


class Exchange:
    """Asks once. `cancel` ends it from another thread, also while it waits for an answer or for bytes."""

    def __init__(self, shown: str, limits: Limits) -> None:
        self._shown, self._limits = shown, limits
        self._first: Reach | None = None
        self._sockets: list[socket.socket] = []
        self._cancelled = False

    def ask(self, url: str, method: str, headers: dict[str, str]) -> HTTPResponse:
        """The answer to a request; user and password of `url` are sent to its host and nowhere else.

        Raises HTTPError for a refusal, ReleaseError for a redirection that is not followed, URLError and OSError.
        """
        parts = urlsplit(url)
        user, at, host = parts.netloc.rpartition("@")
        secret = {"Authorization": f"Basic {base64.b64encode(unquote(user).encode()).decode()}"} if at else {}
        url = parts._replace(netloc=host).geturl()
        for _ in range(self._limits.redirects + 1):
            try:
                return self._open(Request(url, method=method, headers=headers | secret))  # noqa: S310 - judged in _open
            except HTTPError as error:
                if error.code not in _REDIRECTIONS or not error.headers.get("Location"):
                    raise
                url, secret = urljoin(url, quote(error.headers["Location"], safe=punctuation)), {}
                error.close()
        raise self._refused(f"it redirects more than {self._limits.redirects} times")

    def cancel(self) -> None:
        """Break off."""
        self._cancelled = True
        for connected in self._sockets:
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    def connected(self, connection: HTTPConnection, *, secure: bool, direct: bool) -> None:
        """Judge a connection before the request is sent. Through a proxy, only names can be judged."""
        self._sockets.append(connection.sock)
        if self._cancelled:
            raise TimeoutError("broken off")
        if not direct:
            return
        reach = reach_of(connection.sock.getpeername()[0])
        if not secure and reach is not Reach.MACHINE:
            raise self._refused("its host is not on this machine, and would be asked unencrypted")
        self._judge(reach)

    def _open(self, request: Request) -> HTTPResponse:
        host = urlsplit(request.full_url).hostname or ""
        named = named_reach(host)
        if request.type != "https" and not (request.type == "http" and named is Reach.MACHINE):
            raise self._refused("it redirects to an address that is not https")
        if self._first is not None:
            self._judge(named)
        proxies = {} if named is Reach.MACHINE or proxy_bypass(host) else getproxies()
        direct = request.type not in proxies
        if not direct:
            self._judge(named)
        opener = OpenerDirector()
        for handler in (
            ProxyHandler(proxies), _Http(self, direct=direct), _Https(self, direct=direct), HTTPDefaultErrorHandler(),
            HTTPErrorProcessor(),
        ):  # fmt: skip
            opener.add_handler(handler)
        return cast("HTTPResponse", opener.open(request, timeout=self._limits.silence))

    def _judge(self, reach: Reach) -> None:
        self._first = reach if self._first is None else self._first
        if problem := refusal(self._first, reach):
            raise self._refused(problem)

    def _refused(self, problem: str) -> ReleaseError:
        return ReleaseError(f"{self._shown}: {problem}, which is not followed.", _REMEDY)


class _Plain(HTTPConnection):
    def __init__(self, *args: Any, exchange: Exchange, direct: bool, **options: Any) -> None:  # noqa: ANN401 - as urllib has it
        super().__init__(*args, **options)
        self._exchange, self._direct = exchange, direct

    def connect(self) -> None:
        super().connect()
        self._exchange.connected(self, secure=False, direct=self._direct)


class _Secure(HTTPSConnection):
    def __init__(self, *args: Any, exchange: Exchange, direct: bool, **options: Any) -> None:  # noqa: ANN401 - as urllib has it
        super().__init__(*args, **options)
        self._exchange, self._direct = exchange, direct

    def connect(self) -> None:
        super().connect()
        self._exchange.connected(self, secure=True, direct=self._direct)


class _Http(HTTPHandler):
    def __init__(self, exchange: Exchange, *, direct: bool) -> None:
        super().__init__()
        self._made = partial(_Plain, exchange=exchange, direct=direct)

    def http_open(self, req: Request) -> HTTPResponse:
        return self.do_open(self._made, req)


class _Https(HTTPSHandler):
    def __init__(self, exchange: Exchange, *, direct: bool) -> None:
        super().__init__()
        self._made = partial(_Secure, exchange=exchange, direct=direct)

    def https_open(self, req: Request) -> HTTPResponse:
        context = ssl.create_default_context()
        return self.do_open(self._made, req, context=context)
