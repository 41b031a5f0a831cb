"""Whose server it is, told by roles that only one managed service has, and who does there what takes a superuser."""

from __future__ import annotations

import re
from dataclasses import dataclass

import psycopg

from flux_assets.sqlfiles import query

_INHERITS_BY_GRANT = 160000
_INSTALL, _LET_SEE = "CREATE EXTENSION postgis", "GRANT pg_read_all_stats"
_SET = re.compile(r"run ALTER (?:ROLE \S+|SYSTEM) SET (\w+) .*? as a superuser")
_MEMBERSHIP = re.compile(r'(GRANT "[^"]+" TO "[^"]+")(?! WITH)')


@dataclass(frozen=True, kw_only=True)
class _Service:
    """A managed service: its name, its administrators, where they change settings, and how they install PostGIS."""

    name: str
    administrator: str
    settings: str
    install: str = _INSTALL


# By a role that no other server has.
_SERVICES = {
    "rds_superuser": _Service(
        name="Amazon RDS or Aurora", administrator="a member of rds_superuser", settings="the parameter group"
    ),
    "azure_pg_admin": _Service(
        name="Azure Database for PostgreSQL",
        administrator="a member of azure_pg_admin",
        settings="the server parameters",
        install=f"{_INSTALL} (once POSTGIS is in the server parameter azure.extensions)",
    ),
    "cloudsqlsuperuser": _Service(
        name="Cloud SQL", administrator="a member of cloudsqlsuperuser", settings="the database flags"
    ),
    "alloydbsuperuser": _Service(
        name="AlloyDB", administrator="a member of alloydbsuperuser", settings="the database flags"
    ),
    "supabase_admin": _Service(
        name="Supabase",
        administrator="postgres",
        settings="the settings of the database (supabase postgres-config update)",
        install=f"{_INSTALL} SCHEMA extensions",
    ),
    "neon_superuser": _Service(
        name="Neon", administrator="a member of neon_superuser", settings="the settings, which Neon's support changes"
    ),
    "avnadmin": _Service(name="Aiven", administrator="avnadmin", settings="the advanced configuration"),
}


@dataclass(frozen=True, kw_only=True)
class Administration:
    """How a remedy has to be worded for one server, where it says what a superuser would do."""

    _service: _Service | None
    _server_version: int

    @classmethod
    def of(cls, session: psycopg.Connection) -> Administration:
        """Ask the session's server for the roles that tell the service."""
        row = session.execute(query("doctor", "role_of_service"), [list(_SERVICES)]).fetchone()
        return cls(_service=_SERVICES[row[0]] if row else None, _server_version=session.info.server_version)

    @property
    def place(self) -> str:
        """Where the server is, to follow its version; empty where it is nobody's service."""
        return f", on {self._service.name}" if self._service else ""

    def worded(self, remedy: str) -> str:
        """Return the remedy with the statement that works here, and with who can run it."""
        if self._server_version >= _INHERITS_BY_GRANT:
            remedy = _MEMBERSHIP.sub(r"\1 WITH INHERIT TRUE", remedy)
        if self._service is None:
            return remedy
        remedy = _SET.sub(rf"set \1 in {self._service.settings}", remedy)
        for usual, here in (
            (_INSTALL, self._service.install),
            (_LET_SEE, "GRANT pg_monitor"),
            ("a superuser, or the administrator of a managed service", self._service.administrator),
            ("a superuser", self._service.administrator),
        ):
            remedy = remedy.replace(usual, here)
        return remedy
