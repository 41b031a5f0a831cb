"""The private PostGIS cluster under FLUX_HOME, started when it is needed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from flux_assets import sqlfiles
from flux_assets.errors import EmbeddedError, reported
from flux_assets.sample.layout import Address, Layout, replace_text
from flux_assets.sample.libpq import drop_session_variables, said_parameters, without_service
from flux_assets.sample.server import ADMIN, Server, new_password

OWNER = "flux"
MAP_DATABASE = "flux"
DAGSTER_DATABASE = "dagster"


@dataclass(frozen=True)
class Cluster:
    """The cluster of one FLUX_HOME. Every method may be called by several processes at once."""

    home: Path

    @cached_property
    def _layout(self) -> Layout:
        return Layout(home=self.home)

    @property
    def log(self) -> Path:
        """The server's log file."""
        return self._layout.log

    @property
    def secrets(self) -> Path:
        """The file that holds the passwords; only the user who created the cluster can read it."""
        return self._layout.secrets

    @property
    def data(self) -> Path:
        """The server's data folder: under FLUX_HOME unless the server's user cannot reach that."""
        return self._layout.data

    def running(self) -> bool:
        """Return whether the server accepts connections now."""
        return self._layout.data.exists() and Server.of(self._layout).running()

    def require_running(self) -> None:
        """Raise EmbeddedError when the server does not run, where it must not be started."""
        if not self.running():
            raise EmbeddedError("The embedded PostGIS is not running.", "Start it with `flux-assets up`, or `make ui`.")

    def start(self) -> None:
        """Create the cluster if there is none, start it if it does not run, and wait until it accepts connections.

        Raises EmbeddedError with the server's last words and what to do.
        """
        drop_session_variables()
        if self.running():
            return
        try:
            with self._layout.lock():
                server = Server.of(self._layout)
                if not self._layout.data.exists():
                    self._write_secrets()
                    server.initialise(self._secrets()["admin"])
                server.start()
        except OSError as error:
            raise EmbeddedError(
                f"The embedded PostGIS cannot use {self.home}: {error}.",
                "Free space or correct the folder's rights, or set FLUX_HOME to another folder.",
            ) from error

    def stop(self) -> None:
        """Stop the server and its sessions, if it runs; data stays."""
        if not self._layout.data.exists():
            return
        with self._layout.lock():
            Server.of(self._layout).stop()

    def remove(self) -> None:
        """Stop the server and delete the cluster with all its data; the next start creates an empty one."""
        if self._layout.data.exists():
            with self._layout.lock():
                Server.of(self._layout).stop("immediate")
        self._layout.remove()

    def ensure_map_database(self, name: str = MAP_DATABASE) -> None:
        """Start the server, and create a database with PostGIS and the reader role if there is none of that name."""
        self._ensure(name, sqlfiles.script("postgis/roles.sql"))

    def ensure_plain_database(self, name: str = DAGSTER_DATABASE) -> None:
        """Start the server, and create an empty database if there is none of that name."""
        self._ensure(name, None)

    def conninfo(self, dbname: str = MAP_DATABASE, *, admin: bool = False) -> str:
        """Return a conninfo for psycopg, over the Unix socket, that ignores the libpq environment; it holds a password.

        The role is the owner of the databases, which is no superuser, unless `admin`.
        """
        return make_conninfo(**self._parameters(dbname, psycopg.pq.version(), admin))

    def url(self, dbname: str = MAP_DATABASE, driver: str | None = None, libpq_version: int = 150000) -> str:
        """Return the same as a URL, `postgresql+driver://…` for SQLAlchemy; it holds a password.

        `libpq_version` is that of the program which will read it; the default suits every version from 15 on.
        """
        parameters = self._parameters(dbname, libpq_version, admin=False)
        user, password = parameters.pop("user"), parameters.pop("password")
        scheme = "postgresql" if driver is None else f"postgresql+{driver}"
        return (
            f"{scheme}://{user}:{password}@/{quote(parameters.pop('dbname'))}?{urlencode(parameters, quote_via=quote)}"
        )

    def tcp_url(self, dbname: str = MAP_DATABASE) -> str:
        """Return the URL for a map program: over TCP on this machine; it holds a password."""
        return f"postgresql://{OWNER}:{self._secrets()['owner']}@127.0.0.1:{self._address().port}/{quote(dbname)}"

    @contextmanager
    def admin_session(self, dbname: str = "postgres") -> Iterator[psycopg.Connection]:
        """Open an autocommit session of the cluster's superuser. Raises EmbeddedError when the server refuses."""
        try:
            with without_service():
                connection = psycopg.connect(
                    self.conninfo(dbname, admin=True),
                    autocommit=True,
                    connect_timeout=15,
                    application_name="flux_assets",
                )
        except psycopg.OperationalError as error:
            raise EmbeddedError(
                f"The embedded PostGIS refuses a session: {reported(error)}.", f"Its log is {self.log}."
            ) from error
        with connection:
            yield connection

    def _ensure(self, name: str, script: str | None) -> None:
        self.start()
        if self._has(name):
            return
        with self._layout.lock(), self.admin_session() as admin:
            if self._has(name):
                return
            self._ensure_owner(admin)
            # Under its own name only when it is whole: a process killed half-way leaves nothing that looks done.
            half = f"{name[:50]}_unfinished"
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} (FORCE)").format(sql.Identifier(half)))
            admin.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(half), sql.Identifier(OWNER)))
            if script is not None:
                with self.admin_session(half) as session:
                    session.execute(script.encode())
            admin.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(half), sql.Identifier(name)))

    def _has(self, name: str) -> bool:
        with self.admin_session() as admin:
            return admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is not None

    def _ensure_owner(self, admin: psycopg.Connection) -> None:
        if admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [OWNER]).fetchone() is None:
            create = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
            admin.execute(create.format(sql.Identifier(OWNER), sql.Literal(self._secrets()["owner"])))

    def _parameters(self, dbname: str, libpq_version: int, admin: bool) -> dict[str, str]:
        address = self._address()
        who = {"user": ADMIN if admin else OWNER, "password": self._secrets()["admin" if admin else "owner"]}
        where = {"host": address.socket_folder, "port": str(address.port), "dbname": dbname}
        return who | where | said_parameters(libpq_version)

    def _address(self) -> Address:
        address = self._layout.read_address()
        if address is None:
            raise EmbeddedError(f"There is no embedded cluster in {self.home}.", "Run `flux-assets up`.")
        return address

    def _secrets(self) -> dict[str, str]:
        try:
            return dict(json.loads(self._layout.secrets.read_text()))
        except PermissionError:
            raise EmbeddedError(
                f"The embedded cluster's passwords in {self._layout.secrets} belong to another user.",
                "Run as that user, or set FLUX_HOME to a folder of your own.",
            ) from None

    def _write_secrets(self) -> None:
        fresh = json.dumps({"admin": new_password(), "owner": new_password()})
        replace_text(self._layout.secrets, fresh, mode=0o600)
