"""Signing in asks no cloud's metadata service where this machine is, by whichever way the session is opened."""

from __future__ import annotations

import socket
from dataclasses import replace
from uuid import uuid4

import pytest
from snowflake.connector import platform_detection

from flux_assets.orchestration.resources import connect as connect_by_dagster
from flux_assets.snowflake.account import Account
from flux_assets.snowflake.session import Connect, connect_directly

METADATA = {"169.254.169.254", "metadata.google.internal"}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every host that a connection is sought to; those that are not this machine are not there."""
    hosts: list[str] = []
    resolve, connect = socket.getaddrinfo, socket.socket.connect

    def note(host: object) -> None:
        hosts.append(str(host))
        if host not in {"127.0.0.1", "localhost", "0.0.0.0"}:
            raise socket.gaierror(socket.EAI_NONAME, "not here")

    def noted_resolve(host: object, *others: object, **named: object) -> object:
        note(host)
        return resolve(host, *others, **named)

    def noted_connect(self: socket.socket, address: object) -> None:
        if self.family != socket.AF_UNIX:
            note(address[0])
        connect(self, address)

    monkeypatch.setattr(socket, "getaddrinfo", noted_resolve)
    monkeypatch.setattr(socket.socket, "connect", noted_connect)
    # What was found out is kept for the process.
    platform_detection.detect_platforms.cache_clear()
    return hosts


def sign_in(connect: Connect, account: Account, **more: object) -> None:
    # A role that no other test signs in with: nothing kept of an earlier sign-in serves.
    account = replace(account, role=f"role_{uuid4().hex[:8]}")
    with connect(account.arguments() | more) as connection, connection.cursor() as cursor:
        assert cursor.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("connect", [connect_directly, connect_by_dagster], ids=["directly", "by dagster"])
def test_no_metadata_service_is_asked(source: Account, asked: list[str], connect: Connect) -> None:
    sign_in(connect, source)
    assert source.host in asked
    assert set(asked) <= {source.host, "127.0.0.1", "localhost"}


def test_left_to_itself_the_connector_asks(source: Account, asked: list[str]) -> None:
    """Otherwise the test above would prove nothing."""
    sign_in(connect_directly, source, platform_detection_timeout_seconds=5.0)
    assert METADATA & set(asked)
