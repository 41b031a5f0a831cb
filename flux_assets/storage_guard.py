"""Connections to Dagster's storage, which Dagster and SQLAlchemy make: none stays open unencrypted over a network.

Here: the look at each finished connection. Not here: what its address must say (encryption.py).
"""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import Dialect, Engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from flux_assets.encryption import confirm
from flux_assets.errors import TargetError

_PLACE = ("host", "hostaddr", "port", "dbname", "user")


@cache
def guard(url: str) -> None:
    """From now on confirm each connection to this address, of any engine: Dagster makes engines of its own.

    Opening one then raises TargetError when it is neither encrypted nor to this machine.
    """
    parsed = make_url(url)
    ours = _place(parsed.get_dialect()().create_connect_args(parsed)[1])

    @event.listens_for(Engine, "do_connect")
    def connect(
        dialect: Dialect, _record: ConnectionPoolEntry, arguments: tuple[Any, ...], parameters: dict[str, Any]
    ) -> DBAPIConnection | None:
        return _confirmed(dialect.connect(*arguments, **parameters)) if _place(parameters) == ours else None


def _place(parameters: Any) -> list[Any]:  # noqa: ANN401 - SQLAlchemy's own type is as loose
    return [parameters.get(name) for name in _PLACE]


def _confirmed(connection: Any) -> DBAPIConnection:  # noqa: ANN401 - psycopg2 has no types
    try:
        confirm(connection.fileno(), connection.info.host, encrypted=connection.info.ssl_in_use)
    except TargetError:
        connection.close()
        raise
    return connection  # type: ignore[no-any-return]
