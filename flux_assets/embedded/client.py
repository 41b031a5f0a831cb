"""psql on the target database: which program, and the environment that connects it.

Here: what stands between a target and a psql process. Not here: which database that is (target.py).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from psycopg import pq

from flux_assets.embedded import binaries
from flux_assets.embedded.cluster import Cluster
from flux_assets.embedded.target import postgis_target
from flux_assets.errors import EmbeddedError, TargetError
from flux_assets.settings import Settings


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
    if settings.target_is_set:
        return {**os.environ, **_variables(conninfo)}
    # The URL names only parameters that a psql of any supported version knows.
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return plain | _variables(Cluster(settings.flux_home).url())


def _variables(conninfo: str) -> dict[str, str]:
    options = pq.Conninfo.parse(conninfo.encode())
    return {option.envvar.decode(): option.val.decode() for option in options if option.envvar and option.val}
