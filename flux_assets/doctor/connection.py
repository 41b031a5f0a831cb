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
from flux_assets.errors import FluxError, TargetError
from flux_assets.postgis.connect import Target
from flux_assets.postgis.prerequisites import find_postgis

_GROUP = Group("Target database")
_PATIENCE_SECONDS = 5
# A part of what libpq or the server says when a connection is refused, and what to do. Each server version since 15
# says it so; messages in another language fall through to the general remedy.
_REFUSALS = (
    ("password authentication failed", "The password or the user is wrong: correct them in FLUX_POSTGRES_URL."),
    ("no password supplied", "The server wants a password: put it into FLUX_POSTGRES_URL, PGPASSWORD or ~/.pgpass."),
    ("no pg_hba.conf entry", "The server lets nobody in from here by this name: add a line to its pg_hba.conf."),
    ("does not support SSL", "The server offers no TLS: turn it on (ssl = on); a host that is not local needs it."),
    ("root certificate", "Put the server's root certificate into ~/.postgresql/root.crt, or name it: sslrootcert=…"),
    ("certificate", "The server's certificate does not fit: correct the host's name, or name its root: sslrootcert=…"),
    ("too many", "All connections of the server are taken: end some, or raise max_connections."),
    ("remaining connection slots", "All connections of the server are taken: end some, or raise max_connections."),
    ("starting up", "Wait until the server is up and run doctor again."),
    ("shutting down", "Start the server again."),
)


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
        if error.__cause__ is None:
            return _GROUP.error(error)
        said = " ".join(str(error.__cause__).split())
        return _GROUP.failed(f"the server refuses a session: {said}", _remedy(said))


def server(session: psycopg.Connection) -> Iterator[Finding]:
    """What can be said of the server once a session is open."""
    info = session.info
    yield _GROUP.ok(f"sign-in: user {info.user}, database {info.dbname}")
    yield _tls(session)
    yield from _writable(session)
    try:
        find_postgis(session)
    except FluxError as error:
        yield _GROUP.error(error)
        return
    versions = session.execute("SELECT current_setting('server_version'), postgis_lib_version()").fetchone()
    if versions:
        yield _GROUP.ok(f"PostgreSQL {versions[0].split()[0]} with PostGIS {versions[1]}")


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
            "Correct the host in FLUX_POSTGRES_URL, or mend the name service.",
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
    standby = session.execute("SELECT pg_is_in_recovery()").fetchone()
    if standby and standby[0]:
        yield _GROUP.failed("the server is a standby, which takes no writes", "Name the primary instead.")
        return
    read_only = session.execute("SHOW default_transaction_read_only").fetchone()
    if read_only and read_only[0] == "on":
        yield _GROUP.failed(
            "sessions are read-only by default (default_transaction_read_only)",
            f'Run ALTER ROLE "{session.info.user}" SET default_transaction_read_only = off.',
        )


def _remedy(said: str) -> str:
    if "database" in said and "does not exist" in said:
        return "Create the database (CREATE DATABASE …, then CREATE EXTENSION postgis in it), or correct its name."
    if "role" in said and "does not exist" in said:
        return "Create the role (sql/postgis/roles.sql), or correct the user's name."
    return next(
        (remedy for part, remedy in _REFUSALS if part in said), "Correct FLUX_POSTGRES_URL and run doctor again."
    )
