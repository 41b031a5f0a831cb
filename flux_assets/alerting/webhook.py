"""A webhook: an address that takes a message as JSON. The address is the secret, so no message here ever shows it."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Lock, Thread, current_thread
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from flux_assets.alerting.cause import HIDDEN
from flux_assets.errors import AlertError
from flux_assets.locality import is_local_host

if TYPE_CHECKING:
    from requests import PreparedRequest, Response, Session

_THREAD = "flux_assets alert"
_CHECK = "Check FLUX_ALERT_URL; the message is sent again."
_MOST_READ, _MOST_TOLD = 4096, 120
_REMEDIES = {
    400: "Check FLUX_ALERT_FORMAT: the receiver does not understand what it is sent.",
    401: _CHECK,
    403: _CHECK,
    404: _CHECK,
    410: _CHECK,
    429: "It limits how often it is called; the message is sent again.",
}


class Webhook:
    """Where messages go. `seconds` is the longest that a call may take, from looking the name up to the answer."""

    def __init__(self, url: SecretStr, seconds: float = 10.0) -> None:
        self._url = url
        self._seconds = seconds

    def __repr__(self) -> str:
        return "Webhook(***)"

    def post(self, payload: Mapping[str, Any]) -> None:
        """Deliver; raises AlertError when it did not arrive, or perhaps not. Redirections are not followed."""
        outcome: SimpleQueue[AlertError | None] = SimpleQueue()
        line = _Connections()
        # In a thread, because no client limits how long a name is looked up or an answer dribbles in.
        Thread(
            target=lambda: outcome.put(self._exposed() or self._called(payload, line)), name=_THREAD, daemon=True
        ).start()
        try:
            error = outcome.get(timeout=self._seconds)
        except Empty:
            line.cut()
            error = _unreachable(f"did not answer within {self._seconds:g} s")
        if error is not None:
            raise error

    @property
    def _is_plain(self) -> bool:
        return urlsplit(self._url.get_secret_value()).scheme.lower() == "http"

    def _exposed(self) -> AlertError | None:
        """Return an error for a call without encryption; a name may lead elsewhere than when the settings were read."""
        if not self._is_plain or is_local_host(urlsplit(self._url.get_secret_value()).hostname or ""):
            return None
        return AlertError("The alert's receiver would be called unencrypted.", "Use https:// in FLUX_ALERT_URL.")

    def _called(self, payload: Mapping[str, Any], line: _Connections) -> AlertError | None:
        """Call the receiver. The client's errors name the address, so they are translated, and not chained."""
        import requests

        logging.getLogger("urllib3.connectionpool").addFilter(_hide_requests)
        try:
            with _session(direct=self._is_plain) as session:
                line.carry(session)
                with session.post(
                    self._url.get_secret_value(),
                    json=payload,
                    timeout=self._seconds,
                    auth=self._sign_in(),
                    allow_redirects=False,
                    stream=True,
                    headers={"User-Agent": "flux_assets"},
                ) as response:
                    return self._refused(response)
        except requests.Timeout:
            return _unreachable(f"did not answer within {self._seconds:g} s")
        except requests.exceptions.SSLError:
            return _unreachable("has a certificate that is not trusted, or does not speak TLS")
        except requests.exceptions.ProxyError:
            return _unreachable("cannot be reached through the proxy that the environment names")
        except requests.ConnectionError:
            return _unreachable("cannot be reached")
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not be printed with the address in it
            return _unreachable(f"could not be called ({type(error).__name__})")

    def _sign_in(self) -> tuple[str, str] | Callable[[PreparedRequest], PreparedRequest]:
        """Return user and password, or requests' way of saying that ~/.netrc is not to be asked."""
        parts = urlsplit(self._url.get_secret_value())
        return (unquote(parts.username), unquote(parts.password or "")) if parts.username else _as_it_is

    def _refused(self, response: Response) -> AlertError | None:
        status = response.status_code
        if 200 <= status < 300:
            return None
        remedy = _REMEDIES.get(status, "Name where it leads in FLUX_ALERT_URL." if 300 <= status < 400 else _CHECK)
        return AlertError(f"The alert's receiver answers {status}{self._said(response)}.", remedy)

    def _said(self, response: Response) -> str:
        """Return what a receiver reports in plain text, which is short: `invalid_payload`, `no_service`."""
        if not response.headers.get("Content-Type", "").startswith("text/plain"):
            return ""
        text = " ".join(response.raw.read(_MOST_READ, decode_content=True).decode(errors="replace").split())
        for secret in _pieces(self._url.get_secret_value()):
            text = text.replace(secret, HIDDEN)
        return f": {text[:_MOST_TOLD].rstrip('.')}" if text else ""


def _session(*, direct: bool) -> Session:
    """Return a session that, when `direct`, ignores the environment's proxy: it would get the message unencrypted."""
    import requests

    session = requests.Session()
    session.trust_env = not direct
    return session


def _pieces(url: str) -> list[str]:
    """Return all parts of an address that could reveal it, the longest first; short ones like `api` are not hidden."""
    parts = urlsplit(url)
    pieces = {url, parts.path, parts.query, parts.password or "", *re.split(r"[/=&]", f"{parts.path}&{parts.query}")}
    return sorted((piece for piece in pieces if len(piece) > 3), key=len, reverse=True)


def _unreachable(what: str) -> AlertError:
    return AlertError(f"The alert's receiver {what}.", _CHECK, unreachable=True)


def _as_it_is(request: PreparedRequest) -> PreparedRequest:
    return request


def _hide_requests(_record: logging.LogRecord) -> bool:
    """Filter the client's debug lines, which hold each request's path, which is the secret."""
    return current_thread().name != _THREAD


if TYPE_CHECKING:
    from requests import Session


class _Connections:
    """The connections of one call, which can be cut from another thread.

    Closing the client does not end them. Once cut, each further one ends as it is opened.
    """

    def __init__(self) -> None:
        self._connections: list[Any] = []
        self._lock = Lock()
        self._is_cut = False

    def carry(self, session: Session) -> None:
        """Note the connections that the session opens."""
        from requests.adapters import HTTPAdapter

        line = self

        class Noting(HTTPAdapter):
            def get_connection_with_tls_context(self, *given: Any, **named: Any) -> Any:  # noqa: ANN401 - requests'
                pool = super().get_connection_with_tls_context(*given, **named)
                pool.ConnectionCls = line._noting(type(pool).ConnectionCls)
                return pool

        for scheme in ("https://", "http://"):
            session.mount(scheme, Noting())

    def cut(self) -> None:
        """End whatever is under way."""
        with self._lock:
            self._is_cut = True
            for connection in self._connections:
                with suppress(OSError, AttributeError):  # a connection that is not open yet has no socket
                    connection.sock.shutdown(socket.SHUT_RDWR)

    def _noting(self, kind: Any) -> Any:  # noqa: ANN401 - urllib3's class of connections
        line = self

        class Noted(kind):  # type: ignore[misc]
            def connect(self) -> None:
                with line._lock:
                    line._connections.append(self)
                super().connect()
                if line._is_cut:
                    self.close()
                    raise ConnectionAbortedError

        return Noted
