"""psql on the target database: which program, and the environment that connects it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from flux_assets.encryption import completed, protected
from flux_assets.errors import EmbeddedError, TargetError
from flux_assets.sample import binaries
from flux_assets.sample.cluster import Cluster
from flux_assets.settings import Settings
from flux_assets.wiring.target import postgis_target


def psql_program() -> str:
    """Return the psql on the PATH, else the one of the server's programs. Raises TargetError when there is none."""
    if found := shutil.which("psql"):
        return found
    try:
        beside = binaries.find().program("psql")
    except EmbeddedError:
        beside = ""
    if not Path(beside).is_file():
        raise TargetError("There is no psql on the PATH.", "Run `sudo apt-get install postgresql-client`.")
    return beside


def psql_environment(settings: Settings) -> dict[str, str]:
    """Return this process's environment with the target's address and password in libpq's variables.

    They are not on the command line, where every user of the machine could read them. The embedded database is started
    when no other is configured. Raises what `postgis_target` raises.
    """
    conninfo = postgis_target(settings).conninfo
    # A service would take precedence over the variables, so all of libpq's variables are dropped.
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    if settings.target_is_set:
        return plain | _configured(conninfo)
    # The URL names only parameters that a psql of any supported version knows.
    return plain | _variables(conninfo_to_dict(Cluster(settings.flux_home).url()))


def _configured(conninfo: str) -> dict[str, str]:
    """Return all parameters of the configured target, services resolved, and the wanted state of its server."""
    safe = protected(conninfo)
    known = completed(safe) | {"service": "", "target_session_attrs": ""}
    wanted = conninfo_to_dict(safe).get("target_session_attrs") or os.environ.get("PGTARGETSESSIONATTRS")
    return _variables(known | {"target_session_attrs": wanted or "any"})


def _variables(parameters: Mapping[str, object]) -> dict[str, str]:
    names = {option.keyword.decode(): option.envvar.decode() for option in pq.Conninfo.get_defaults() if option.envvar}
    return {names[keyword]: str(value) for keyword, value in parameters.items() if keyword in names and value}
