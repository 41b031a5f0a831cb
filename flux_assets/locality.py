"""Whether a host is this machine. Databases, releases and webhooks on any other host need encryption.

A name counts as local only when all of its addresses are loopback addresses, whatever it looks like: `127.example.org`
is a name like any other.
"""

from __future__ import annotations

import socket
from ipaddress import IPv6Address, ip_address


def is_local_host(host: str) -> bool:
    """Return whether `host` is on this machine: a Unix socket, a loopback address, or a name of such addresses."""
    return is_socket(host) or bool(loopback_addresses(host))


def is_socket(host: str) -> bool:
    """Return whether libpq takes `host` for the folder of a Unix socket or, after an @, for an abstract name."""
    return host.startswith(("/", "@"))


def loopback_addresses(host: str) -> tuple[str, ...]:
    """Return all addresses of `host` when each is a loopback address, otherwise none."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM) if host else []
    except (OSError, ValueError):  # no such name, or a text that cannot be one, such as one with a NUL
        return ()
    addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
    return addresses if all(map(is_loopback, addresses)) else ()


def is_loopback(address: str) -> bool:
    """Return whether a numeric address is a loopback address, an IPv4 address written as IPv6 included."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return (mapped or parsed).is_loopback
