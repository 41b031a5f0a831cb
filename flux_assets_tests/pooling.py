"""PgBouncer before a database of the tests, for as long as a block lasts."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from time import monotonic, sleep

import psycopg
from psycopg.conninfo import conninfo_to_dict

from flux_assets.postgis.session import Target
from flux_assets.sample.cluster import Cluster
from flux_assets.sample.os_user import server_account

_STARTED_SECONDS = 30


@contextmanager
def pooled(cluster: Cluster, target: Target, mode: str, **settings: object) -> Iterator[Target]:
    """The same database through PgBouncer in this mode, with further settings of its own."""
    direct = conninfo_to_dict(target.conninfo)
    server = conninfo_to_dict(cluster.tcp_url(str(direct["dbname"])))
    # PgBouncer runs as the owner of the server, whom a test's own folder would not let in.
    folder = Path(mkdtemp(prefix="pgbouncer-"))
    port = _free_port()
    lines = {
        "listen_addr": "127.0.0.1", "listen_port": port, "auth_type": "any", "pool_mode": mode,
        "default_pool_size": 8, "unix_socket_dir": "", "pidfile": folder / "pid", "logfile": folder / "log",
        "ignore_startup_parameters": "extra_float_digits",
    } | settings  # fmt: skip
    where = " ".join(f"{name}={server[name]}" for name in ("host", "port", "dbname", "user", "password"))
    ini = folder / "pgbouncer.ini"
    ini.write_text(
        f"[databases]\nmap = {where}\n[pgbouncer]\n" + "".join(f"{name} = {value}\n" for name, value in lines.items())
    )
    account = server_account(cluster.data)
    account.own(folder)
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program, "PgBouncer is not installed; run scripts/install_pgbouncer.sh"
    with (folder / "start.log").open("wb") as log:
        assert account.run([program, "-q", "-d", str(ini)], log) == 0, (folder / "start.log").read_text()
    try:
        _wait_for(port)
        yield Target(
            conninfo=f"postgresql://{server['user']}@127.0.0.1:{port}/map", schema=target.schema,
            declared=target.declared,
        )  # fmt: skip
    finally:
        os.kill(int((folder / "pid").read_text()), signal.SIGTERM)
        _wait_for_end(folder / "pid")
        shutil.rmtree(folder)


def _wait_for(port: int) -> None:
    deadline = monotonic() + _STARTED_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            assert monotonic() < deadline, "PgBouncer does not start"
            sleep(0.02)
        else:
            return


def _wait_for_end(pid: Path) -> None:
    """Until PgBouncer has removed the file with its process number, the last that it does."""
    deadline = monotonic() + _STARTED_SECONDS
    while pid.exists():
        assert monotonic() < deadline, "PgBouncer does not end"
        sleep(0.02)


def left_behind(target: Target) -> list[tuple]:
    """What the next client of a pool meets: settings that are not the server's, locks, temporary tables, statements."""
    with psycopg.connect(target.conninfo, autocommit=True) as client:
        client.prepare_threshold = None
        return client.execute(
            "SELECT name, setting FROM pg_settings WHERE source = 'session' AND name NOT IN"
            " ('application_name', 'client_encoding', 'DateStyle', 'TimeZone', 'standard_conforming_strings')"
            " UNION ALL SELECT 'table', relname FROM pg_class WHERE pg_my_temp_schema() = relnamespace"
            " UNION ALL SELECT 'lock', mode FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
            " UNION ALL SELECT 'prepared', name FROM pg_prepared_statements"
        ).fetchall()


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])
