"""Whether a host is this machine: the one judge for databases, releases and webhooks, which need encryption otherwise.

A name counts only when every address that it has is a loopback address, whatever it looks like: `127.example.org` is a
name like any other.
"""

from __future__ import annotations

import socket
from ipaddress import IPv6Address, ip_address


def is_local_host(host: str) -> bool:
    """Whether all that `host` leads to is on this machine: a Unix socket, a loopback address, or a name of such."""
    return is_socket(host) or bool(loopback_addresses(host))


def is_socket(host: str) -> bool:
    """Whether libpq takes `host` for a Unix socket's folder or, after an @, for an abstract name."""
    return host.startswith(("/", "@"))


def loopback_addresses(host: str) -> tuple[str, ...]:
    """All addresses of `host` when each is a loopback address, none otherwise or when it has none."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM) if host else []
    except (OSError, ValueError):  # no such name; a text that is none, such as one with a NUL
        return ()
    addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
    return addresses if all(map(is_loopback, addresses)) else ()


def is_loopback(address: str) -> bool:
    """Whether a numeric address is a loopback address, also one of IPv4 that is written as IPv6."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return (mapped or parsed).is_loopback
