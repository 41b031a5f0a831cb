"""What counts as this machine, for databases, releases and webhooks alike."""

import socket

import pytest

from flux_assets.errors import ReleaseError
from flux_assets.locality import Host
from flux_assets.release.files import Address

LOOKALIKES = ("127.evil.test", "127.0.0.1.evil.test", "localhost.evil.test", "local-host", "127.0.0.1 ", "")


@pytest.mark.parametrize(
    "host", ["/run/postgresql", "@abstract", "localhost", "127.0.0.1", "127.8.9.1", "127.1", "::1", "::ffff:127.0.0.1"]
)
def test_this_machine_is_local(host: str) -> None:
    assert Host(host).is_local


@pytest.mark.parametrize(
    "host", [*LOOKALIKES, "10.0.0.1", "fd00::1", "::ffff:10.0.0.1", "0.0.0.0", "::", "a\0b", "-" * 70]
)
def test_what_is_elsewhere_or_nowhere_is_not(host: str) -> None:
    assert not Host(host).is_local


@pytest.mark.parametrize(
    ("addresses", "local"),
    [
        (["127.0.0.1", "::1"], True),
        (["127.0.0.1", "10.0.0.1"], False),
        (["::1", "fd00::1"], False),
        (["10.0.0.1"], False),
    ],
)
def test_a_name_is_local_when_all_its_addresses_are(
    addresses: list[str], local: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [(socket.AF_INET6 if ":" in a else socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, 0)) for a in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert Host("maps.example").is_local is local


@pytest.mark.parametrize("host", ["127.evil.test", "localhost.evil.test", "10.0.0.1", "[fd00::1]"])
def test_a_release_elsewhere_is_not_read_in_the_clear(host: str) -> None:
    with pytest.raises(ReleaseError, match="unencrypted"):
        Address(f"http://{host}/v1").check()


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "LOCALHOST"])
def test_a_release_on_this_machine_is(host: str) -> None:
    Address(f"http://{host}/v1").check()
