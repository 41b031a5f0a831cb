"""Connecting to the embedded server whatever the libpq environment says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

# Every parameter that an environment variable or a service file could fill, with libpq's own default; an empty
# value counts as said. Those of PostgreSQL 16 and later are unknown to an older libpq, which would refuse them.
_SAID = {
    "hostaddr": "",
    "passfile": "",
    "options": "",
    "client_encoding": "UTF8",
    "channel_binding": "prefer",
    "sslmode": "disable",
    "sslcert": "",
    "sslkey": "",
    "sslrootcert": "",
    "sslcrl": "",
    "sslcrldir": "",
    "ssl_min_protocol_version": "TLSv1.2",
    "ssl_max_protocol_version": "",
    "gssencmode": "disable",
    "requirepeer": "",
    "target_session_attrs": "any",
}
_SAID_SINCE_16 = {"require_auth": "scram-sha-256", "load_balance_hosts": "disable", "sslcertmode": "allow"}
_SAID_SINCE_17 = {"sslnegotiation": "postgres"}
_SAID_SINCE_18 = {"min_protocol_version": "3.0", "max_protocol_version": "3.0"}
# libpq sends these with every connection, and no parameter overrides them.
_SESSION_VARIABLES = ("PGTZ", "PGDATESTYLE", "PGGEQO")
_connecting = Lock()


def said_parameters(libpq_version: int) -> dict[str, str]:
    """Return parameters that leave nothing to the environment, for a libpq of this version (170004 is 17.4)."""
    said = dict(_SAID)
    for since, more in ((160000, _SAID_SINCE_16), (170000, _SAID_SINCE_17), (180000, _SAID_SINCE_18)):
        if libpq_version >= since:
            said |= more
    return said


def drop_session_variables() -> None:
    """Remove from this process's environment what no parameter overrides and no one can want.

    PGTZ, PGDATESTYLE and PGGEQO would change our sessions' meaning of times; an empty PGSERVICE names no service
    and makes every connection fail.
    """
    for name in _SESSION_VARIABLES:
        os.environ.pop(name, None)
    if os.environ.get("PGSERVICE") == "":
        del os.environ["PGSERVICE"]


@contextmanager
def without_service() -> Iterator[None]:
    """Hide PGSERVICE while connecting, which no parameter overrides when its service does not exist."""
    with _connecting:
        service = os.environ.pop("PGSERVICE", None)
        try:
            yield
        finally:
            if service is not None:
                os.environ["PGSERVICE"] = service
