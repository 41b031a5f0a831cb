"""Whether the parts of a deployment answer: asked every few seconds, so without Dagster and with little else."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from urllib.parse import urlsplit

from flux_assets.errors import FluxError, SettingError, TargetError, reported

_SECONDS = 5
_HEARTBEAT_MINUTES = 5
_DAEMONS = ["QUEUED_RUN_COORDINATOR", "SCHEDULER", "SENSOR"]
_READ_ONLY = "SELECT current_setting('transaction_read_only') = 'on'"
# Dagster writes a line for each of its daemons every half a minute, in UTC without saying so.
_SILENT = """
SELECT coalesce(string_agg(daemon, ', ' ORDER BY daemon), '') FROM unnest(%s::text[]) AS daemon WHERE NOT EXISTS (
    SELECT FROM daemon_heartbeats
    WHERE daemon_type = daemon AND timestamp > (now() AT TIME ZONE 'UTC') - make_interval(mins => %s))
"""


def unready(part: str) -> str | None:
    """Return why a part cannot do its work, None where it can. Nothing is started to find out.

    Parts are postgis, dagster (its database), daemon, and addresses: http://… of a page, grpc://host:port of a code
    server. Raises SettingError for another.
    """
    if (asked := _ASKS.get(part.partition(":")[0])) is None:
        raise SettingError(
            f"{part!r} is no part of a deployment.",
            "The parts are postgis, dagster, daemon, http://host:port/path and grpc://host:port.",
        )
    try:
        return asked(part)
    except FluxError as error:
        return reported(error)


def _postgis(_: str) -> str | None:
    from flux_assets.settings import load_settings
    from flux_assets.wiring.target import embedded_cluster, postgis_target

    settings = load_settings()
    if settings.flux_profile == "embedded" and not settings.target_is_set:
        embedded_cluster(settings).require_running()
    if _answer(postgis_target(settings).conninfo, _READ_ONLY) is True:
        return "it takes no writes: it is a standby, or read-only by default"
    return None


def _dagster(_: str) -> str | None:
    _recorded("SELECT true")
    return None


def _daemon(_: str) -> str | None:
    if not _recorded("SELECT to_regclass('daemon_heartbeats') IS NOT NULL"):
        return "it has never run"
    silent = _recorded(_SILENT, _DAEMONS, _HEARTBEAT_MINUTES)
    return f"no heartbeat in {_HEARTBEAT_MINUTES} minutes: {silent}" if silent else None


def _recorded(statement: str, *parameters: object) -> object:
    """Return the one value of a statement about Dagster's history. Raises TargetError as `_answer` does."""
    conninfo = _history()
    try:
        return _answer(conninfo, statement, *parameters)
    except TargetError as error:
        problem = error.problem.replace("The target database", "Dagster's database", 1)
        raise TargetError(problem, "See DAGSTER_POSTGRES_URL, and whether its server is up.") from error


def _history() -> str:
    from flux_assets.settings import load_settings
    from flux_assets.wiring.target import dagster_storage_url, embedded_cluster

    settings = load_settings()
    if settings.flux_profile == "embedded" and settings.dagster_postgres_url is None:
        embedded_cluster(settings).require_running()
    return dagster_storage_url(settings).replace("postgresql+psycopg2", "postgresql", 1)


def _answer(conninfo: str, statement: str, *parameters: object) -> object:
    """Return the one value of a statement. Raises TargetError when the server does not answer or refuses."""
    import psycopg
    from psycopg.conninfo import make_conninfo

    from flux_assets.postgis import liveness
    from flux_assets.postgis.errors import refused

    address = make_conninfo(conninfo, connect_timeout=_SECONDS)
    try:
        with liveness.connect(address, "flux_assets health", answer_within=_SECONDS) as session:
            row = session.execute(statement, parameters or None).fetchone()
    except psycopg.OperationalError as error:
        raise refused(error) from error
    return row and row[0]


def _page(address: str) -> str | None:
    try:
        with urllib.request.urlopen(address, timeout=_SECONDS):  # noqa: S310 - http and https alone come here
            return None
    except (OSError, ValueError, HTTPException) as error:
        return reported(error)


def _code_server(address: str) -> str | None:
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    try:
        host, port = urlsplit(address).hostname, urlsplit(address).port
    except ValueError:
        host = port = None
    if not host or not port:
        return "it is not grpc://host:port, with a port from 1 to 65535"
    with grpc.insecure_channel(urlsplit(address).netloc) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service="DagsterApi"), timeout=_SECONDS
            )
        except grpc.RpcError as error:
            return str(error.details())
    return None if answer.status == answer.SERVING else "it is not serving"


_ASKS: dict[str, Callable[[str], str | None]] = {
    "postgis": _postgis,
    "dagster": _dagster,
    "daemon": _daemon,
    "http": _page,
    "https": _page,
    "grpc": _code_server,
}
