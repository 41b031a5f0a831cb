"""Calling a webhook: what arrives, how it fails, that it ends in time, and that the address is never told."""

from __future__ import annotations

import logging
import socket
import threading
import traceback
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from flux_assets.alerting.webhook import Webhook
from flux_assets.errors import AlertError
from flux_assets_tests.receiver import Receiver, receiving

SECRET = "T000-B000-s3cr3t"
PATH = f"/services/{SECRET}?token={SECRET}"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def hook(address: str, seconds: float = 20) -> Webhook:
    return Webhook(SecretStr(address + PATH), seconds)


def refused(webhook: Webhook) -> AlertError:
    """The error of a call, all of which is free of the address."""
    with pytest.raises(AlertError) as caught:
        webhook.post({"text": "x"})
    printed = "".join(traceback.format_exception(caught.value)) + repr(webhook) + str(vars(caught.value))
    assert SECRET not in printed
    assert caught.value.remedy
    return caught.value


def test_json_arrives(receiver):
    hook(receiver.address).post({"text": "Höhe <ß>", "n": 3})
    assert receiver.got == [{"text": "Höhe <ß>", "n": 3}]
    assert receiver.paths == [PATH]
    assert receiver.headers[0]["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("status", "remedy"), [(400, "FLUX_ALERT_FORMAT"), (404, "FLUX_ALERT_URL"), (429, "again"), (500, "again")]
)
def test_a_refusal_is_told_with_its_status_and_what_to_do(receiver, status, remedy):
    receiver.status, receiver.says = status, "invalid_payload"
    error = refused(hook(receiver.address))
    assert str(status) in error.problem
    assert "invalid_payload" in error.problem
    assert remedy in error.remedy
    assert not error.unreachable


def test_what_a_receiver_says_is_told_without_the_address(receiver):
    receiver.status, receiver.says = 404, f"no {receiver.address}{PATH} here, nor {SECRET}"
    assert "***" in refused(hook(receiver.address)).problem


def test_a_redirection_is_not_followed(receiver):
    receiver.status = 302
    assert "leads" in refused(hook(receiver.address)).remedy
    assert receiver.paths == [PATH]


def test_nobody_there():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    error = refused(hook(address))
    assert error.unreachable
    assert "cannot be reached" in error.problem


def test_a_name_that_is_none():
    assert refused(hook("https://nobody.invalid")).unreachable


def test_a_receiver_that_never_answers_is_given_up(receiver):
    receiver.silent = True
    error = refused(hook(receiver.address, seconds=0.3))
    assert error.unreachable
    assert "0.3 s" in error.problem


def test_an_answer_that_never_ends_is_given_up(receiver):
    """Every byte of it comes in time, so no limit of the client ends it. The call does not go on behind our back."""
    receiver.dribbles = True
    assert "did not answer within" in refused(hook(receiver.address, seconds=0.5)).problem
    for call in [thread for thread in threading.enumerate() if thread.name == "flux_assets alert"]:
        call.join(60)
        assert not call.is_alive()


def test_what_speaks_no_tls(receiver):
    assert "TLS" in refused(hook(receiver.address.replace("http:", "https:"))).problem


def test_the_client_does_not_log_the_address(receiver, caplog):
    caplog.set_level(logging.DEBUG)
    hook(receiver.address).post({"text": "x"})
    receiver.status = 500
    refused(hook(receiver.address))
    assert SECRET not in caplog.text


def test_a_message_in_the_clear_goes_through_no_proxy(receiver, monkeypatch):
    with receiving() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.address)
        hook(receiver.address).post({"n": 1})
        # A proxy is given the whole address. Clients of other tests in this process may see the variables as well.
        assert [path for path in proxy.paths if path.startswith(receiver.address)] == []
        assert receiver.got == [{"n": 1}]


def test_a_name_that_leads_elsewhere_by_now_is_not_called_in_the_clear(receiver, monkeypatch):
    away = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", 80))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [away])
    assert "unencrypted" in refused(hook("http://maps.example")).problem


def test_a_password_in_the_address_is_used_and_netrc_is_not(receiver, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    hook(receiver.address).post({})
    hook(receiver.address.replace("//", "//me:pass%40word@")).post({})
    first, second = receiver.headers
    assert "Authorization" not in first
    assert second["Authorization"] == "Basic bWU6cGFzc0B3b3Jk"


def test_a_long_answer_is_cut_after_its_secrets_are_hidden(receiver):
    receiver.status, receiver.says = 404, "x" * 110 + f" {SECRET} " + "y" * 5000
    problem = refused(hook(receiver.address)).problem
    assert SECRET[:5] not in problem
    assert len(problem) < 200
