"""No database connection crosses a network unencrypted: checked before it is opened, as libpq would open it, and after.

Encryption means TLS: no driver tells whether Kerberos (GSS) encrypts a session, and libpq prefers it to TLS, so it is
turned off.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, replace

from psycopg import ProgrammingError, pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from flux_assets.errors import TargetError
from flux_assets.locality import Host

_ENCRYPTED = {"require", "verify-ca", "verify-full"}
_ADD_TLS = "Set sslmode=verify-full in its address, or use a server on this machine."
# Checked addresses by conninfo and PG* variables: a sync opens a connection every few minutes, and asking libpq to
# complete the address costs a tenth of opening it.
_judged: dict[tuple[str, frozenset[tuple[str, str]]], str] = {}
# An illegal value, which libpq refuses after it has completed all other parameters and before it connects.
_STOP = "flux_assets"


@dataclass(frozen=True)
class _Server:
    """One of the servers that libpq would try, in its own words."""

    host: str
    hostaddr: str
    port: str

    def pinned(self) -> list[_Server]:
        """Return the server at each of its addresses, so that its name cannot lead elsewhere later; none if not local.

        Neither name nor address means libpq's default socket.
        """
        if not self.is_name:
            return [self]
        return [replace(self, hostaddr=address) for address in self._place.loopback_addresses]

    @property
    def is_name(self) -> bool:
        """Whether it is neither a socket nor an address of this machine."""
        return bool(self._place.name) and not self._place.is_socket and not self._place.is_loopback

    @property
    def _place(self) -> Host:
        return Host(self.hostaddr or self.host)


def completed(conninfo: str) -> dict[str, str]:
    """Return all parameters as libpq completes them: from the conninfo, a service, the environment, the defaults.

    Raises TargetError when libpq cannot read the conninfo or a service.
    """
    try:
        asked = make_conninfo(conninfo, target_session_attrs=_STOP)
    except ProgrammingError:  # its text may show a piece of a password
        raise TargetError(
            "The database's address cannot be read by libpq.",
            "Write postgresql://user:password@host:port/database, special characters as %XX.",
        ) from None
    probe = pq.PGconn.connect_start(asked.encode())
    known = {option.keyword.decode(): os.fsdecode(option.val) for option in probe.info if option.val is not None}
    message = probe.error_message.decode(errors="replace").strip()
    probe.finish()
    if known.get("target_session_attrs") != _STOP:
        raise TargetError(f"libpq cannot complete the database's address: {message}.", "Correct PGSERVICE or its file.")
    return known


def protected(conninfo: str) -> str:
    """Return the conninfo with its servers and their encryption fixed, as libpq completes it.

    Where nothing is said about TLS it is `verify-full`, unless every server is on this machine. Raises TargetError when
    a server on another machine would be reached unencrypted.
    """
    surroundings = frozenset((name, value) for name, value in os.environ.items() if name.startswith("PG"))
    if (judged := _judged.get((conninfo, surroundings))) is not None:
        return judged
    known = completed(conninfo)
    servers = _servers(known)
    address = _fixed(conninfo, known, servers)
    # A service file may change, and a name lead elsewhere: these are checked every time.
    if not known.get("service") and not any(server.is_name for server in servers):
        _judged[conninfo, surroundings] = address
    return address


def _fixed(conninfo: str, known: dict[str, str], servers: list[_Server]) -> str:
    mode = known.get("sslmode", "")
    if mode not in _ENCRYPTED:
        pinned = {server: server.pinned() for server in servers}
        elsewhere = [server for server in servers if not pinned[server]]
        if elsewhere:
            mode = _demanded(conninfo, mode, elsewhere[0])
        else:
            servers = [local for server in servers for local in pinned[server]]
    if mode in _ENCRYPTED and known.get("gssencmode") == "require":
        raise TargetError("gssencmode=require is not supported.", "Remove it and use TLS: sslmode=verify-full.")
    # No variable overrides a parameter that is given, even as empty.
    addresses = ",".join(server.hostaddr for server in servers)
    return make_conninfo(
        conninfo,
        host=",".join(server.host for server in servers),
        hostaddr=addresses if addresses.strip(",") else "",
        port=",".join(server.port for server in servers),
        sslmode=mode,
        gssencmode="disable" if mode in _ENCRYPTED else known.get("gssencmode"),
    )


def confirm(descriptor: int, host: str, *, encrypted: bool) -> None:
    """Raise TargetError when an open connection, given by its descriptor, is neither encrypted nor local."""
    if encrypted or _stays_here(descriptor):
        return
    raise TargetError(f"The connection to {host} is not encrypted, and that is another machine.", _ADD_TLS)


def _servers(known: dict[str, str]) -> list[_Server]:
    hosts, addresses, ports = (known.get(name, "").split(",") for name in ("host", "hostaddr", "port"))
    count = max(len(hosts), len(addresses))
    hosts, addresses = (column * count if column == [""] else column for column in (hosts, addresses))
    ports = ports * count if len(ports) == 1 else ports
    if not len(hosts) == len(addresses) == len(ports):
        raise TargetError(
            f"The database's address lists {len(hosts)} hosts, {len(addresses)} host addresses and {len(ports)} ports.",
            "List the same number of each, or one port for all.",
        )
    return [_Server(*server) for server in zip(hosts, addresses, ports, strict=True)]


def _demanded(conninfo: str, mode: str, server: _Server) -> str:
    """Return `verify-full` where no mode was chosen (`prefer` is libpq's default); raise TargetError otherwise."""
    in_address = "sslmode" in conninfo_to_dict(conninfo)
    if mode == "prefer" and not in_address and "PGSSLMODE" not in os.environ:
        return "verify-full"
    origin = "" if in_address else " (from PGSSLMODE or a service file)"
    raise TargetError(
        f"{server.hostaddr or server.host} is another machine, and sslmode={mode}{origin} does not ensure encryption.",
        "Use sslmode=verify-full, verify-ca or require.",
    )


def _stays_here(descriptor: int) -> bool:
    try:
        connection = socket.socket(fileno=descriptor)
    except OSError:
        return False
    try:
        return connection.family == socket.AF_UNIX or Host(str(connection.getpeername()[0])).is_loopback
    except OSError:
        return False
    finally:
        connection.detach()  # the descriptor belongs to the driver
