"""Whether a host is this machine. Databases, releases and webhooks on any other host need encryption.

A name counts as local only when all of its addresses are loopback addresses, whatever it looks like: `127.example.org`
is a name like any other.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address


@dataclass(frozen=True)
class Host:
    """A host as an address names it: a name, a numeric address, or a Unix socket."""

    name: str

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine: a Unix socket, a loopback address, or a name of such addresses."""
        return self.is_socket or bool(self.loopback_addresses)

    @property
    def is_socket(self) -> bool:
        """Whether libpq takes it for the folder of a Unix socket or, after an @, for an abstract name."""
        return self.name.startswith(("/", "@"))

    @property
    def is_loopback(self) -> bool:
        """Whether it is a loopback address, numeric, an IPv4 address written as IPv6 included."""
        return _is_loopback(self.name)

    @property
    def loopback_addresses(self) -> tuple[str, ...]:
        """All its addresses when each is a loopback address, otherwise none."""
        try:
            found = socket.getaddrinfo(self.name, None, type=socket.SOCK_STREAM) if self.name else []
        except (OSError, ValueError):  # no such name, or a text that cannot be one, such as one with a NUL
            return ()
        addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
        return addresses if all(map(_is_loopback, addresses)) else ()


def _is_loopback(address: str) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return (mapped or parsed).is_loopback
