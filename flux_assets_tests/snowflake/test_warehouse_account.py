"""Who signs in, with what, and what every session is told."""

import json
import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from flux_assets.errors import SettingError
from flux_assets.settings import REPOSITORY
from flux_assets.snowflake.account import Account


def account(**changes: object) -> Account:
    return Account(**{"account": "ab12345.eu-west-1", "user": "FLUX", "password": SecretStr("hush")} | changes)


def test_every_time_out_is_set():
    """The connector waits for ever by default."""
    arguments = account().arguments()
    for name in ("login_timeout", "network_timeout", "socket_timeout"):
        assert 0 < arguments[name] <= 120
    session = arguments["session_parameters"]
    assert 0 < session["STATEMENT_TIMEOUT_IN_SECONDS"] <= 300
    assert 0 < session["STATEMENT_QUEUED_TIMEOUT_IN_SECONDS"] <= 300
    assert session["ABORT_DETACHED_QUERY"] is True
    assert session["TIMEZONE"] == "UTC"


def test_what_an_account_sets_for_people_shapes_no_result_of_ours():
    session = account().arguments()["session_parameters"]
    assert session["ROWS_PER_RESULTSET"] == 0
    assert session["PYTHON_CONNECTOR_QUERY_RESULT_FORMAT"] == "ARROW"
    assert session["QUOTED_IDENTIFIERS_IGNORE_CASE"] is False
    assert session["TIMESTAMP_INPUT_FORMAT"] == session["DATE_INPUT_FORMAT"] == "AUTO"
    assert session["TIMESTAMP_TYPE_MAPPING"] == "TIMESTAMP_NTZ"


def test_every_parameter_is_set_or_left_for_a_reason_in_writing():
    """docs/source-contract.md goes through the list of SHOW PARAMETERS."""
    said = (REPOSITORY / "docs" / "source-contract.md").read_text(encoding="utf-8")
    rows = [line for line in said.splitlines() if line.startswith("| `")]
    ours = {name for line in rows if "| set" in line for name in re.findall(r"`([A-Z][A-Z0-9_]+)`", line.split("|")[1])}
    tagged = {
        "QUERY_TAG",
        "STATEMENT_TIMEOUT_IN_SECONDS",
        "STATEMENT_QUEUED_TIMEOUT_IN_SECONDS",
        "ABORT_DETACHED_QUERY",
    }
    assert ours == {*Account.SHAPING, *tagged}
    assert account().arguments()["session_parameters"].keys() == ours


def test_the_query_tag_names_run_and_layer():
    session = account(run_id="r1", layer="work_orders").arguments()["session_parameters"]
    assert json.loads(session["QUERY_TAG"]) == {"app": "flux_assets", "run_id": "r1", "layer": "work_orders"}
    assert json.loads(account().arguments()["session_parameters"]["QUERY_TAG"]) == {"app": "flux_assets"}
    named = account(utility="austin").arguments()["session_parameters"]["QUERY_TAG"]
    assert json.loads(named) == {"app": "flux_assets", "utility": "austin"}


def test_a_key_pair_comes_before_a_password(tmp_path: Path):
    key = tmp_path / "key.p8"
    key.write_text("-----BEGIN PRIVATE KEY-----")
    arguments = account(private_key_path=key, private_key_passphrase=SecretStr("open")).arguments()
    assert arguments["authenticator"] == "SNOWFLAKE_JWT"
    assert arguments["private_key_file"] == str(key)
    assert arguments["private_key_file_pwd"] == "open"
    assert "password" not in arguments


def test_what_is_not_set_is_not_sent():
    """The connector would take None for a role that is called so."""
    arguments = account().arguments()
    assert not {"role", "warehouse", "host", "port", "protocol"} & set(arguments)
    chosen = account(role="R", warehouse="W", host="127.0.0.1", port=8080, protocol="http").arguments()
    assert [chosen[name] for name in ("role", "warehouse", "host", "port", "protocol")] == [
        "R", "W", "127.0.0.1", 8080, "http",
    ]  # fmt: skip


def test_no_secret_is_shown():
    shown = repr(account(private_key_passphrase=SecretStr("open")))
    assert "hush" not in shown
    assert "open" not in shown


def test_nothing_to_sign_in_with():
    with pytest.raises(SettingError, match=r"User FLUX has neither .*SNOWFLAKE_PRIVATE_KEY_PATH.*SNOWFLAKE_PASSWORD"):
        account(password=None).arguments()


def test_a_key_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(SettingError, match=r"SNOWFLAKE_PRIVATE_KEY_PATH = '.*none\.p8' cannot be read: No such file"):
        account(private_key_path=tmp_path / "none.p8").arguments()
