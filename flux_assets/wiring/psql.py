"""psql on the target database: which program, and the environment that connects it.

Here: what stands between a target and a psql process. Not here: which database that is (target.py).
"""

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
    """The psql on the PATH, else the one beside the server's programs. Raises TargetError when there is none."""
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
    """This process's environment with the target's address and password in libpq's variables.

    Nothing of them stands on the command line, where every user of the machine could read it. The embedded one is
    started when no other is configured. Raises what finding a target raises.
    """
    conninfo = postgis_target(settings).conninfo
    # A service named there would win over the variables, so nothing of libpq's is left in it.
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    if settings.target_is_set:
        return plain | _configured(conninfo)
    # The URL names only parameters that a psql of any supported version knows.
    return plain | _variables(conninfo_to_dict(Cluster(settings.flux_home).url()))


def _configured(conninfo: str) -> dict[str, str]:
    """All that libpq knows of the configured target, services resolved, and the state that is wanted of its server."""
    safe = protected(conninfo)
    known = completed(safe) | {"service": "", "target_session_attrs": ""}
    wanted = conninfo_to_dict(safe).get("target_session_attrs") or os.environ.get("PGTARGETSESSIONATTRS")
    return _variables(known | {"target_session_attrs": wanted or "any"})


def _variables(said: Mapping[str, object]) -> dict[str, str]:
    names = {option.keyword.decode(): option.envvar.decode() for option in pq.Conninfo.get_defaults() if option.envvar}
    return {names[keyword]: str(value) for keyword, value in said.items() if keyword in names and value}
