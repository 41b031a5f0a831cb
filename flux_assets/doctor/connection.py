"""Reaching the target database, piece by piece, so that the piece that fails is named.

Here: name, port, TLS, sign-in, database, server version, PostGIS. Not here: rights within the database (rights.py).
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg

from flux_assets.doctor.finding import Finding, Group
from flux_assets.encryption import completed
from flux_assets.errors import FluxError, TargetError, reported
from flux_assets.postgis.bootstrap import find_postgis
from flux_assets.postgis.connect import Target, read_only_reason
from flux_assets.postgis.session.watched import WatchedConnection

_GROUP = Group("Target database")
_PATIENCE_SECONDS = 5
_VERSIONS = """
SELECT current_setting('server_version'), postgis_lib_version(),
       ST_IsValid(ST_SetSRID(ST_MakePoint(0, 0), 4326)), (SELECT count(*) FROM spatial_ref_sys WHERE srid = 4326)
"""


@dataclass(frozen=True)
class _Place:
    host: str
    port: int

    @property
    def is_socket(self) -> bool:
        return self.host.startswith("/")


def reachable(target: Target) -> Iterator[Finding]:
    """Name and port of each host, before anything is said to the server."""
    for place in _places(target.conninfo):
        yield _socket(place) if place.is_socket else _port(place)


def refused(target: Target) -> Finding | None:
    """Why a session is refused, None when it is not."""
    try:
        with target.session("doctor"):
            return None
    except TargetError as error:
        return _GROUP.error(error)


def server(session: WatchedConnection) -> Iterator[Finding]:
    """What can be said of the server once a session is open."""
    info = session.info
    yield _GROUP.ok(f"sign-in: user {info.user}, database {info.dbname}")
    yield _tls(session)
    if session.is_pooled:
        yield _GROUP.note(
            "a pooler in session mode stands before the server: the lease of a load that was killed is free after a"
            " minute, not at once, and a load needs as many server connections as it has sessions",
            "Connect past the pooler where that is possible.",
        )
    yield from _writable(session)
    try:
        find_postgis(session)
        versions = session.execute(_VERSIONS).fetchone()
    except FluxError as error:
        yield _GROUP.error(error)
        return
    except psycopg.Error as error:
        user = session.info.user
        yield _GROUP.failed(
            f"PostGIS cannot be used by {user}: {reported(error.diag.message_primary or error)}",
            f'Run GRANT USAGE ON SCHEMA {_postgis_schema(session)} TO "{user}", and GRANT EXECUTE ON ALL FUNCTIONS IN'
            f' SCHEMA {_postgis_schema(session)} TO "{user}", as the extension\'s owner; or ALTER EXTENSION postgis'
            " UPDATE where its files have another version.",
        )
        return
    if versions:
        yield _GROUP.ok(f"PostgreSQL {versions[0].split()[0]} with PostGIS {versions[1]}, in UTF8")


def _postgis_schema(session: psycopg.Connection) -> str:
    row = session.execute(
        "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'postgis'"
    ).fetchone()
    return str(row[0]) if row else "public"


def _places(conninfo: str) -> list[_Place]:
    known = completed(conninfo)
    hosts = (known.get("hostaddr") or known.get("host") or "").split(",")
    ports = known.get("port", "").split(",")
    return [
        _Place(host, int(port or 5432))
        for host, port in zip(hosts, ports if len(ports) == len(hosts) else ports * len(hosts), strict=False)
        if host
    ]


def _socket(place: _Place) -> Finding:
    path = Path(place.host) / f".s.PGSQL.{place.port}"
    if path.is_socket():
        return _GROUP.ok(f"Unix socket {path}")
    return _GROUP.failed(f"there is no Unix socket {path}", "Start the server, or correct host and port.")


def _port(place: _Place) -> Finding:
    try:
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    except OSError as error:
        return _GROUP.failed(
            f"the name {place.host} leads to no address: {error.strerror or error}",
            "Correct the host in FLUX_POSTGRES_URL, or repair the name service.",
        )
    address = found[0][4][0]
    try:
        socket.create_connection((place.host, place.port), timeout=_PATIENCE_SECONDS).close()
    except OSError as error:
        return _GROUP.failed(
            f"{place.host} ({address}) does not answer on port {place.port}: {error.strerror or error}",
            "Start the server, correct host and port, or open the firewall.",
        )
    return _GROUP.ok(f"{place.host} ({address}) answers on port {place.port}")


def _tls(session: psycopg.Connection) -> Finding:
    if not session.pgconn.ssl_in_use:
        return _GROUP.ok("TLS: none, and none needed on this machine")
    row = session.execute("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
    return _GROUP.ok(f"TLS: {(row and row[0]) or 'on'}")


def _writable(session: psycopg.Connection) -> Iterator[Finding]:
    """Asked in SQL: a pooler may hide what the server tells of itself."""
    row = session.execute("SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only')::bool")
    standby, read_only = row.fetchone() or (False, False)
    if why := read_only_reason(session, standby=standby, read_only=read_only):
        yield _GROUP.failed(*why)
