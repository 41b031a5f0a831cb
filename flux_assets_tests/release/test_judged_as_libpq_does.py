"""The judge of encryption against a second opinion, for any mix of address, service, environment and names.

The second opinion merges by libpq's documented precedence what libpq's own parser says of each part.
"""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from flux_assets.encryption import protected
from flux_assets.errors import TargetError

ENCRYPTED = {"require", "verify-ca", "verify-full"}
NAMES = {
    "here.example": ["127.0.0.1", "::1"],
    "there.example": ["10.0.0.1"],
    "half.example": ["127.0.0.1", "10.0.0.1"],
    "127.evil.example": ["10.0.0.2"],
    "nowhere.example": [],
}
LOCAL = {"", "/run/x", "@abstract", "here.example", "127.0.0.1", "127.9.9.9", "::1"}
VARIABLES = {"host": "PGHOST", "hostaddr": "PGHOSTADDR", "sslmode": "PGSSLMODE"}

hosts = some.lists(some.sampled_from([*NAMES, "/run/x", "@abstract", "127.0.0.1", "::1", "10.0.0.3", ""]), max_size=3)
addresses = some.lists(some.sampled_from(["127.0.0.1", "127.9.9.9", "::1", "10.0.0.4", ""]), max_size=3)
modes = some.sampled_from(["disable", "allow", "prefer", "require", "verify-ca", "verify-full"])
part = some.fixed_dictionaries(
    {}, optional={"host": hosts.map(",".join), "hostaddr": addresses.map(",".join), "sslmode": modes}
)


def looked_up(host: str, *_: object, **__: object) -> list[tuple]:
    if host in NAMES and not NAMES[host]:
        raise socket.gaierror("not known")
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in NAMES.get(host, [host])]


def places(known: dict[str, str]) -> list[str] | None:
    """Where each server of the merged parameters leads, None when the lists do not fit."""
    names, given = known.get("host") or "", known.get("hostaddr") or ""
    if not given:
        return names.split(",")
    both = [names.split(",") if names else [""] * len(given.split(",")), given.split(",")]
    return [address or name for name, address in zip(*both, strict=True)] if len(both[0]) == len(both[1]) else None


@settings(max_examples=400, deadline=None)
@given(address=part, service=part, environment=part, repeated=some.none() | modes)
def test_what_is_accepted_is_encrypted_or_stays_here(
    address: dict[str, str], service: dict[str, str], environment: dict[str, str], repeated: str | None
) -> None:
    conninfo = make_conninfo(service="s", **address) + (f" sslmode={repeated}" if repeated else "")
    said = {name: str(value) for name, value in conninfo_to_dict(conninfo).items()}
    known = environment | {name: value for name, value in service.items() if value} | said
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "services"
        file.write_text("[s]\n" + "".join(f"{name}={value}\n" for name, value in service.items() if value))
        patch.setenv("PGSERVICEFILE", str(file))
        for name, value in environment.items():
            patch.setenv(VARIABLES[name], value)
        patch.setattr(socket, "getaddrinfo", looked_up)
        expected, mode = places(known), known.get("sslmode")
        if expected is None or (mode not in ENCRYPTED | {None} and not LOCAL.issuperset(expected)):
            # A service's `prefer` cannot be told from silence; silence means verify-full.
            by_service = expected is not None and mode == "prefer" and not {"sslmode"} & (said.keys() | environment)
            if not by_service:
                with pytest.raises(TargetError):
                    protected(conninfo)
                return
        accepted = {option.keyword.decode(): option.val.decode() for option in parsed(protected(conninfo))}
        leads_to = places(accepted) or []
        if accepted["sslmode"] in ENCRYPTED:
            assert leads_to == expected
            assert accepted["gssencmode"] == "disable"
            assert mode == accepted["sslmode"] or accepted["sslmode"] == "verify-full"
        else:
            fixed = [found for place in expected or [] for found in NAMES.get(place, [place])]
            assert leads_to == fixed
            assert all(place.startswith(("/", "@", "127.")) or place in {"", "::1"} for place in leads_to)


def parsed(conninfo: str) -> list[pq.ConninfoOption]:
    return [option for option in pq.Conninfo.parse(conninfo.encode()) if option.val is not None]
