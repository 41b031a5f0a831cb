"""How far redirects may lead: from this machine nowhere else, from elsewhere never closer to it."""

from __future__ import annotations

from enum import IntEnum
from ipaddress import IPv6Address, ip_address

from flux_assets.locality import is_local_host


class Reach(IntEnum):
    """Who can answer at an address."""

    MACHINE = 0
    PRIVATE = 1
    PUBLIC = 2


def reach_of(address: str) -> Reach:
    """Return the reach of a numeric address."""
    parsed = ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    plain = mapped or parsed
    if plain.is_loopback or plain.is_unspecified:
        return Reach.MACHINE
    return Reach.PUBLIC if plain.is_global else Reach.PRIVATE


def named_reach(host: str) -> Reach:
    """Return the reach of a host, judged by its name where only a proxy knows its address."""
    try:
        return reach_of(host)
    except ValueError:
        return Reach.MACHINE if is_local_host(host) else Reach.PUBLIC


def refusal(first: Reach, then: Reach) -> str | None:
    """Return why a request to `first` may not be redirected to `then`; None when it may."""
    if first is Reach.MACHINE:
        return None if then is Reach.MACHINE else "it redirects from this machine to another one"
    if then < first:
        return f"it redirects to {'this machine' if then is Reach.MACHINE else 'a private network'}"
    return None
