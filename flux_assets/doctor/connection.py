"""Reaching the target database step by step, and what its server is, allows and waits for."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import psycopg

from flux_assets.doctor.finding import Finding, Group
from flux_assets.encryption import completed
from flux_assets.errors import FluxError, TargetError, reported
from flux_assets.postgis.liveness import WatchedConnection
from flux_assets.postgis.session import Target, find_postgis, require_writable
from flux_assets.sqlfiles import query
from flux_assets.words import megabytes

_SERVER, _LIMITS = Group("Target database"), Group("Limits")
_TIMEOUT_SECONDS = 5
# A session for the layer and two that build indexes; besides them one for a sync and one for alerts.
_OF_A_LAYER, _OTHERS = 3, 2


def reachable(target: Target) -> Iterator[Finding]:
    """Yield whether the name and port of each host can be reached, before signing in."""
    known = completed(target.conninfo)
    hosts = (known.get("hostaddr") or known.get("host") or "").split(",")
    ports = known.get("port", "").split(",")
    for host, port in zip(hosts, ports if len(ports) == len(hosts) else ports * len(hosts), strict=False):
        if host:
            yield _place(host, int(port or 5432))


def _place(host: str, port: int) -> Finding:
    if host.startswith("/"):
        path = Path(host) / f".s.PGSQL.{port}"
        if path.is_socket():
            return _SERVER.ok(f"Unix socket {path}")
        return _SERVER.failed(f"there is no Unix socket {path}", "Start the server, or correct host and port.")
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0]
    except OSError as error:
        return _SERVER.failed(
            f"the host name {host} has no address: {error.strerror or error}",
            "Correct the host in FLUX_POSTGRES_URL, or fix the name resolution.",
        )
    try:
        socket.create_connection((host, port), timeout=_TIMEOUT_SECONDS).close()
    except OSError as error:
        return _SERVER.failed(
            f"{host} ({address}) does not answer on port {port}: {error.strerror or error}",
            "Start the server, correct host and port, or open the firewall.",
        )
    return _SERVER.ok(f"{host} ({address}) answers on port {port}")


def refused(target: Target) -> Finding | None:
    """Return why a session cannot be opened, None where it can."""
    try:
        with target.session("doctor"):
            return None
    except TargetError as error:
        return _SERVER.error(error)


def server(session: WatchedConnection, place: str) -> Iterator[Finding]:
    """Yield the findings about the server of an open session; `place` follows its version."""
    user = session.info.user
    yield _SERVER.ok(f"sign-in: user {user}, database {session.info.dbname}")
    if session.pgconn.ssl_in_use:
        row = session.execute("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
        yield _SERVER.ok(f"TLS: {(row and row[0]) or 'on'}")
    else:
        yield _SERVER.ok("TLS: not used, and not needed on this machine")
    if session.is_pooled:
        yield _SERVER.note(
            "connections go through a pooler in session mode: the lease of a killed load is released after a minute,"
            " not at once, and a load needs as many server connections as it has sessions",
            "Connect to the server itself where that is possible.",
        )
    try:
        require_writable(session, asking=True)
    except TargetError as error:
        yield _SERVER.error(error)
    try:
        find_postgis(session)
        versions = session.execute(query("doctor", "server_versions")).fetchone()
    except FluxError as error:
        yield _SERVER.error(error)
    except psycopg.Error as error:
        schema, may_use = session.execute(query("doctor", "postgis_schema")).fetchone() or ("public", True)
        remedy = f'Run GRANT USAGE ON SCHEMA {schema} TO "{user}" as the schema\'s owner.'
        if may_use:
            remedy = (
                f'Run GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO "{user}" as the extension\'s owner; or ALTER'
                " EXTENSION postgis UPDATE if its files are of another version."
            )
        yield _SERVER.failed(
            f"PostGIS cannot be used by {user}: {reported(error.diag.message_primary or error)}", remedy
        )
    else:
        if versions:
            yield _SERVER.ok(f"PostgreSQL {versions[0].split()[0]} with PostGIS {versions[1]}, in UTF8{place}")


def limits(session: psycopg.Connection, parallel_layers: int) -> Iterator[Finding]:
    """Yield what commits wait for, how many sessions are allowed, and how large temporary files may be."""
    yield from _standbys(session)
    row = session.execute(query("doctor", "limits")).fetchone()
    if row is None:
        return
    of_role, of_database, of_server, temporary_bytes = row
    needed = _OF_A_LAYER * parallel_layers + _OTHERS
    user, database = f'"{session.info.user}"', f'"{session.info.dbname}"'
    of = f"CONNECTION LIMIT {needed} as"
    limited = (
        (of_role, f"the connection limit of role {user}", f"Run ALTER ROLE {user} {of} a superuser"),
        (of_database, f"the connection limit of database {database}", f"Run ALTER DATABASE {database} {of} its owner"),
        (of_server, "max_connections, less those reserved for superusers,", "Raise max_connections"),
    )
    # A negative limit means no limit.
    short = [(limit, name, remedy) for limit, name, remedy in limited if 0 <= limit < needed]
    for limit, name, remedy in short[:1]:
        yield _LIMITS.warning(
            f"{name} is {limit}, and a load of {parallel_layers} layers at once takes up to {needed} sessions",
            f"{remedy}, or lower FLUX_PARALLEL_LAYERS.",
        )
    if not short:
        yield _LIMITS.ok(f"{needed} sessions, as many as a load takes, are allowed")
    if temporary_bytes is not None:
        yield _LIMITS.note(
            f"temp_file_limit is {megabytes(temporary_bytes)}: a statement that needs larger temporary files fails",
            f"If a load fails because of it, run ALTER ROLE {user} SET temp_file_limit = … as a superuser.",
        )


def _standbys(session: psycopg.Connection) -> Iterator[Finding]:
    """Yield which synchronous standbys commits wait for."""
    row = session.execute(query("doctor", "synchronous_standbys")).fetchone()
    if row is None or not row[0] or row[1] in {"off", "local"}:
        return
    names, level, senders = row
    settings = f"synchronous_standby_names = '{names}', synchronous_commit = {level}"
    if senders:
        yield _SERVER.note(
            f"each commit waits for synchronous standbys ({settings})",
            "A publish does not block readers of this server meanwhile; loads and syncs take as long as the standbys"
            " do. For readers of a standby see docs/for-map-applications.md.",
        )
    else:
        yield _SERVER.failed(
            f"each commit waits for a synchronous standby, and none is connected ({settings})",
            "Start the standby, or run ALTER SYSTEM SET synchronous_standby_names = '' and SELECT pg_reload_conf() as a"
            " superuser.",
        )
