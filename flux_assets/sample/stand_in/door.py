"""Sign-in to the stand-in, and the end of idle sessions.

DuckDB reads and writes any file of its user, so that a port without a password would hand those files to every user
of the machine.
"""

from __future__ import annotations

import gzip
import hmac
import json
import math
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

USER = "FLUX"
HELLO = "/flux-assets"
_LOGIN = "/session/v1/login-request"
_IDLE_SECONDS, _IDLE_IN_TRANSACTION_SECONDS = 3600.0, 30.0
# As Snowflake answers, so that the connector reports the same.
_WRONG_PASSWORD = ("390100", "Incorrect username or password was specified.")
_WRONG_KEY = ("390144", "JWT token is invalid.")


@dataclass
class Door:
    """An ASGI application before fakesnow's. `sessions` is fakesnow's own: connections by token."""

    inside: App
    sessions: dict[str, Any]
    password: str
    folder: str
    _seen: dict[str, float] = field(default_factory=dict)
    # Sessions found outside of a transaction since they were last active: they cannot have begun one.
    _at_rest: set[str] = field(default_factory=set)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.inside(scope, receive, send)
        elif scope["path"] == HELLO:
            await _answer(send, {"folder": self.folder})
        elif scope["path"] == _LOGIN:
            await self._sign_in(scope, receive, send)
        else:
            self._note(scope, math.inf)
            await self.inside(scope, receive, send)
            self._note(scope, time.monotonic())

    async def _sign_in(self, scope: Message, receive: Receive, send: Send) -> None:
        self._sweep(time.monotonic())
        body = await _body(receive)
        refused = self._refusal(_parsed(scope, body))
        if refused is None:
            await self.inside(scope, _replayed(body), send)
            return
        code, message = refused
        await _answer(send, {"data": {}, "code": code, "message": message, "success": False})

    def _refusal(self, given: dict[str, Any]) -> tuple[str, str] | None:
        if given.get("AUTHENTICATOR") == "SNOWFLAKE_JWT":
            return _WRONG_KEY
        user, password = str(given.get("LOGIN_NAME", "")), str(given.get("PASSWORD", ""))
        right = hmac.compare_digest(password.encode(), self.password.encode())
        return None if right and user.upper() == USER else _WRONG_PASSWORD

    def _note(self, scope: Message, seen: float) -> None:
        """Note when a session was last active; infinity while a request of it is being answered."""
        for name, value in scope["headers"]:
            if name == b"authorization":
                # Snowflake Token="…"
                token = value.decode(errors="replace")[17:-1]
                self._seen[token] = seen
                self._at_rest.discard(token)

    def _sweep(self, now: float) -> None:
        """Drop sessions whose clients are gone; DuckDB rolls their transactions back."""
        for token, session in list(self.sessions.items()):
            idle = now - self._seen.setdefault(token, now)
            if idle > _IDLE_SECONDS or (idle > _IDLE_IN_TRANSACTION_SECONDS and self._holds_a_transaction(token)):
                session.close()
                del self.sessions[token]
        self._seen = {token: seen for token, seen in self._seen.items() if token in self.sessions}
        self._at_rest &= self.sessions.keys()

    def _holds_a_transaction(self, token: str) -> bool:
        """Return whether a session is in a transaction, asked once of each idle one: the connector never signs out."""
        import duckdb  # the daemon alone has it imported

        if token in self._at_rest:
            return False
        connection = self.sessions[token]._duck_conn
        try:
            connection.begin()  # fails within a transaction, and changes nothing there
        except duckdb.Error:  # of a closed connection too, which is to be dropped as well
            return True
        connection.rollback()
        self._at_rest.add(token)
        return False


def _parsed(scope: Message, body: bytes) -> dict[str, Any]:
    packed = any(name == b"content-encoding" and value == b"gzip" for name, value in scope["headers"])
    try:
        data = json.loads(gzip.decompress(body) if packed else body)["data"]
    except (ValueError, KeyError, TypeError, OSError, EOFError):
        return {}
    return data if isinstance(data, dict) else {}


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def _replayed(body: bytes) -> Receive:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def _answer(send: Send, content: dict[str, Any]) -> None:
    body = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
