"""A webhook: an address that takes a message as JSON. The address is the secret, so no message here ever shows it."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from threading import Lock, current_thread
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
from pydantic import SecretStr
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool

from flux_assets.errors import AlertError
from flux_assets.locality import Host
from flux_assets.retry import Call, GivenUpError

_THREAD = "flux_assets alert"
_MOST_READ, _MOST_TOLD = 4096, 120
_TOO_OFTEN = 429
# The narrower before the wider.
_FAILURES: tuple[tuple[type[Exception], str], ...] = (
    (requests.exceptions.SSLError, "has a certificate that is not trusted, or does not speak TLS"),
    (requests.exceptions.ProxyError, "cannot be reached through the proxy that the environment names"),
    (requests.ConnectionError, "cannot be reached"),
)


class Webhook:
    """Where messages go. `seconds` is the longest that a call may take, from looking the name up to the answer.

    `title` is the receiver, `setting` where its address was given, and `form` what its messages' form follows.
    """

    def __init__(
        self,
        url: SecretStr,
        seconds: float = 10.0,
        *,
        title: str = "The alert's receiver",
        setting: str = "FLUX_ALERT_URL",
        form: str = "FLUX_ALERT_FORMAT",
    ) -> None:
        self._url = url
        self._seconds = seconds
        self._title, self._setting, self._form = title, setting, form

    def __repr__(self) -> str:
        return "Webhook(***)"

    def post(self, payload: Mapping[str, Any]) -> None:
        """Deliver; raises AlertError when it did not arrive, or perhaps not. Redirections are not followed."""
        line = _Line()
        try:
            # In a thread, because no client limits how long a name is looked up or an answer dribbles in.
            error = Call(partial(self._called, payload, line)).within(self._seconds)
        except GivenUpError:
            line.cut()
            error = self._silent()
        if error is not None:
            raise error

    def _called(self, payload: Mapping[str, Any], line: _Line) -> AlertError | None:
        """Call the receiver. The client's errors name the address, so they are translated, and not chained."""
        current_thread().name = _THREAD
        url = self._url.get_secret_value()
        parts = urlsplit(url)
        plain = parts.scheme.lower() == "http"
        logging.getLogger("urllib3.connectionpool").addFilter(_hide_requests)
        try:
            # The name may lead elsewhere than when the settings were read.
            if plain and not Host(parts.hostname or "").is_local:
                return AlertError(f"{self._title} would be called unencrypted.", f"Use https:// in {self._setting}.")
            with requests.Session() as session:
                # The environment's proxy would get a plain message unencrypted.
                session.trust_env = not plain
                session.mount("https://", line)
                session.mount("http://", line)
                # Without a sign-in, requests would ask ~/.netrc.
                auth = (
                    (unquote(parts.username), unquote(parts.password or "")) if parts.username else lambda asked: asked
                )
                with session.post(
                    url,
                    json=payload,
                    timeout=self._seconds,
                    auth=auth,
                    allow_redirects=False,
                    stream=True,
                    headers={"User-Agent": "flux_assets"},
                ) as response:
                    return self._refused(response)
        except requests.Timeout:
            return self._silent()
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not be printed with the address in it
            other = f"could not be called ({type(error).__name__})"
            return self._unreachable(next((words for kind, words in _FAILURES if isinstance(error, kind)), other))

    def _silent(self) -> AlertError:
        return self._unreachable(f"did not answer within {self._seconds:g} s")

    def _unreachable(self, what: str) -> AlertError:
        return AlertError(f"{self._title} {what}.", self._remedy(0), unreachable=True)

    def _refused(self, response: requests.Response) -> AlertError | None:
        status = response.status_code
        if 200 <= status < 300:
            return None
        problem = f"{self._title} answers {status}{self._said(response)}."
        return AlertError(problem, self._remedy(status), retryable=status == _TOO_OFTEN or status >= 500)

    def _remedy(self, status: int) -> str:
        if status == 400:
            return f"Check {self._form}: the receiver does not understand what it is sent."
        if status == _TOO_OFTEN:
            return "It limits how often it is called; the message is sent again."
        if 300 <= status < 400:
            return f"Name where it leads in {self._setting}."
        return f"Check {self._setting}; the message is sent again."

    def _said(self, response: requests.Response) -> str:
        """Return what a receiver reports in plain text, which is short: `invalid_payload`, `no_service`."""
        if not response.headers.get("Content-Type", "").startswith("text/plain"):
            return ""
        text = " ".join(response.raw.read(_MOST_READ, decode_content=True).decode(errors="replace").split())
        for secret in _pieces(self._url.get_secret_value()):
            text = text.replace(secret, "***")
        return f": {text[:_MOST_TOLD].rstrip('.')}" if text else ""


def _pieces(url: str) -> list[str]:
    """Return all parts of an address that could reveal it, the longest first; short ones like `api` are not hidden."""
    parts = urlsplit(url)
    pieces = {url, parts.path, parts.query, parts.password or "", *re.split(r"[/=&]", f"{parts.path}&{parts.query}")}
    return sorted((piece for piece in pieces if len(piece) > 3), key=len, reverse=True)


def _hide_requests(_record: logging.LogRecord) -> bool:
    """Filter the client's debug lines, which hold each request's path, which is the secret."""
    return current_thread().name != _THREAD


class _Line(HTTPAdapter):
    """What opens the connections of one call, and can cut them from another thread; closing the client would not.

    Once it is cut, each further connection ends as it is opened.
    """

    def __init__(self) -> None:
        super().__init__()
        self._connections: list[Any] = []
        self._lock = Lock()
        self._is_cut = False

    def get_connection_with_tls_context(self, *given: Any, **named: Any) -> HTTPConnectionPool:
        pool: HTTPConnectionPool = super().get_connection_with_tls_context(*given, **named)
        line, kind = self, pool.ConnectionCls

        class Noted(kind):  # type: ignore[misc, valid-type]
            def connect(self) -> None:
                with line._lock:
                    line._connections.append(self)
                super().connect()
                if line._is_cut:
                    self.close()
                    raise ConnectionAbortedError

        pool.ConnectionCls = Noted
        return pool

    def cut(self) -> None:
        """End whatever is under way."""
        with self._lock:
            self._is_cut = True
            for connection in self._connections:
                with suppress(OSError, AttributeError):  # a connection that is not open yet has no socket
                    connection.sock.shutdown(socket.SHUT_RDWR)
