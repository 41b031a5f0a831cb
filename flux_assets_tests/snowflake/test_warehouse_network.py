"""A network and a server on bad days, between the real connector and a real server: a cured retry, or a clear error.

The connector tries again by itself for `network_timeout`, with pauses of a second; here with hardly any.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from threading import Event

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import NoEncryption
from pydantic import SecretStr

from flux_assets.errors import FluxError, WarehouseError
from flux_assets.retry import RetryPolicy
from flux_assets.snowflake.account import Account
from flux_assets.snowflake.overrides import Overrides
from flux_assets.snowflake.session import connect_directly
from flux_assets.snowflake.source import Source
from flux_assets_tests import sourced
from flux_assets_tests.faulting_proxy import LOGIN, QUERIES, Fault, Proxy, faulting_proxy
from flux_assets_tests.snowflake_answers import refused
from flux_assets_tests.synced import FAULTS

ROWS = 500
# For a proxy that answers by itself.
ACCOUNT = Account(account="acme", user="FLUX", password=SecretStr("x"), host="127.0.0.1", protocol="http")
RENEWAL = "/session/token-request"
# Time-outs in seconds: where an answer never comes, and where all of them come.
SHORT, LONG = 1, 20


def without_pauses(arguments: dict, over: Event | None = None):
    """A connection that tries again at once, and no more once it is `over`."""

    def hardly_any() -> Iterator[float]:
        while over is None or not over.is_set():
            yield 0.01
        raise ConnectionAbortedError("the test is over")

    return connect_directly(arguments | {"backoff_policy": hardly_any})


@pytest.fixture
def filled(source: Account) -> Account:
    sourced.tell(
        source,
        f"""CREATE TABLE FAULTS AS SELECT 'F' || SEQ4() FAULT_ID, 'A' FEEDER, 'OPEN' STATE, SYSDATE() BEGUN
            FROM TABLE(GENERATOR(ROWCOUNT => {ROWS}))""",
    )
    return source


@pytest.fixture
def behind(filled: Account):
    """`behind(*faults)` is the source with a proxy before it that commits these faults."""

    @contextmanager
    def proxied(*faults: Fault, attempts: int = 3, seconds: int = LONG) -> Iterator[tuple[Source, Proxy, list[str]]]:
        log: list[str] = []
        with faulting_proxy(filled.port, *faults) as proxy:
            account = replace(
                filled, port=proxy.port, login_timeout=seconds, network_timeout=seconds, socket_timeout=seconds
            )
            patience = RetryPolicy(attempts=attempts, pause=0.01, longest_pause=0.02)
            opened = Source.open(account, Overrides(), connect=without_pauses, log=log.append, patience=patience)
            with opened as source:
                yield source, proxy, log

    return proxied


def read(source: Source) -> int:
    """A whole reading, as the sync does it: instant, mapping, rows."""
    instant = source.instant()
    return sum(batch.num_rows for batch in source.rows(source.mapping(FAULTS), instant))


# The query for the rows is the third request to the server: BEGIN, the description, the rows.
THE_ROWS = 2


@pytest.mark.parametrize(
    "faults",
    [
        [Fault("reset")],
        [Fault("reset", after=THE_ROWS)],
        [Fault("reset half-way", after=THE_ROWS)],
        [Fault("truncate", after=THE_ROWS)],
        [Fault("stall", after=THE_ROWS)],
        [Fault("stall half-way", after=THE_ROWS)],
        [Fault("status", status=503, after=THE_ROWS)],
        [Fault("status", status=429, after=THE_ROWS)],
        [Fault("status", status=401, after=THE_ROWS)],
        [Fault("reset", path=LOGIN)],
        [Fault("status", status=503, path=LOGIN)],
        [Fault("say", said=refused("390114"), after=THE_ROWS)],
        [Fault("say", said=refused("390104"), after=THE_ROWS)],
        # An expired session is renewed by the connector; here the renewal finds that the token is too old too.
        [Fault("say", said=refused("390112"), after=THE_ROWS), Fault("say", path=RENEWAL, said=refused("390114"))],
        [Fault("say", said=refused("000604"), after=THE_ROWS)],
    ],
    ids=lambda faults: f"{faults[0].kind} {faults[0].said['code'] if faults[0].said else ''}{faults[0].path[-6:]}",
)
def test_what_happens_once_is_cured(behind, faults):
    seconds = SHORT if faults[0].kind.startswith("stall") else LONG
    with behind(*faults, seconds=seconds) as (source, _, _):
        assert source.retrying(partial(read, source)) == ROWS
        # And so is the next one: the session is whole again.
        assert read(source) == ROWS


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault("reset", times=None), "cannot be reached"),
        (Fault("truncate", times=None), "cannot be reached|did not answer"),
        (Fault("stall", times=None), "cannot be reached"),
        (Fault("status", status=503, times=None), "did not answer in time, or was busy"),
        (Fault("say", said=refused("390114"), times=None), "The session with Snowflake has ended"),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_what_does_not_end_is_given_up_with_a_clear_error(behind, fault, said):
    with behind(fault, attempts=2, seconds=SHORT) as (source, _, log):
        with pytest.raises(WarehouseError, match=said) as given_up:
            source.retrying(partial(read, source))
        assert given_up.value.retryable
        assert "next tick" in given_up.value.remedy
        assert [line for line in log if line.startswith("Retrying on a new session")]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault("reset", path=LOGIN, times=None), "cannot be reached"),
        (Fault("status", path=LOGIN, status=503, times=None), "cannot be reached"),
        (Fault("stall", path=LOGIN, times=None), "cannot be reached"),
        (Fault("status", path=LOGIN, status=404, times=None), "There is no Snowflake account fakesnow"),
        (Fault("say", path=LOGIN, said=refused("390100")), "refuses the sign-in of user fake"),
        (Fault("say", path=LOGIN, said=refused("390144")), "refuses the private key of user fake"),
        (Fault("say", path=LOGIN, said=refused("390189")), "User fake may not take"),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_a_sign_in_that_fails_says_why(behind, fault, said):
    with pytest.raises(WarehouseError, match=said), behind(fault, attempts=2, seconds=SHORT):
        pass


@pytest.mark.parametrize(
    ("locked_with", "given"),
    [(b"right", "wrong"), (b"right", None), (None, "needless"), ("no key", None)],
    ids=["wrong passphrase", "missing passphrase", "needless passphrase", "no key"],
)
def test_a_key_file_that_cannot_be_used_names_its_settings(source_server, tmp_path, locked_with, given):
    path = tmp_path / "key.p8"
    lock = serialization.BestAvailableEncryption(locked_with) if isinstance(locked_with, bytes) else NoEncryption()
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)
    path.write_bytes(b"nonsense" if locked_with == "no key" else pem)
    account = replace(
        source_server, private_key_path=path, private_key_passphrase=SecretStr(given) if given is not None else None
    )
    with pytest.raises(WarehouseError) as raised, Source.open(account, Overrides(), log=print):
        pass
    assert raised.value.problem.startswith("The private key cannot be used")
    assert "SNOWFLAKE_PRIVATE_KEY_PATH" in raised.value.remedy
    assert "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE" in raised.value.remedy
    assert not raised.value.retryable


def test_a_user_s_mistake_is_not_tried_again(behind):
    with behind(Fault("say", said=refused("000606"), times=None, after=THE_ROWS)) as (source, proxy, log):
        with pytest.raises(FluxError, match=r"no warehouse to run the query with.*SNOWFLAKE_WAREHOUSE"):
            source.retrying(partial(read, source))
        assert proxy.count(LOGIN) == 1
        assert log == []


def test_a_server_that_forgot_its_sessions(behind):
    """It was restarted: every session is unknown to it."""
    from fakesnow.server import sessions

    with behind() as (source, proxy, _):
        assert read(source) == ROWS
        sessions.clear()
        assert source.retrying(partial(read, source)) == ROWS
        assert proxy.count(LOGIN) == 2


def test_a_snapshot_is_begun_again_in_a_new_session(behind, filled):
    """Rows that are read without a new instant, after the session broke, are of one transaction again."""
    with behind(Fault("say", said=refused("390114"), after=THE_ROWS)) as (source, _, _):
        instant, mapping = source.instant(), source.mapping(FAULTS)

        def count() -> int:
            return sum(batch.num_rows for batch in source.rows(mapping, instant))

        assert source.retrying(count) == ROWS
        sourced.tell(filled, "DELETE FROM FAULTS")
        assert count() == ROWS
        assert read(source) == 0


def test_pauses_are_bounded_in_number_and_in_time(behind):
    """The last error comes out, and not one of the library that counts."""
    with behind(Fault("status", status=503, times=None)) as (source, proxy, _):
        before = proxy.count(LOGIN)

        def fails() -> None:
            raise WarehouseError("Nothing works.", retryable=True)

        with pytest.raises(WarehouseError, match="Nothing works"):
            source.retrying(fails)
        with pytest.raises(WarehouseError, match="Nothing works"):
            RetryPolicy(attempts=10**6, total=0.05, pause=0.01).spend(fails, lambda _: None)
        assert proxy.count(LOGIN) == before
    assert proxy.count(QUERIES) == 0


# Sign-ins that are refused: repetition may lock the user out.

KEY_PAIR = "TYPE = SERVICE"
REFUSALS = [
    # What shared accounts of such refusals show, and the same kinds in other words.
    (None, "Multi-factor authentication is required for this account. Log in to Snowsight to enroll.", KEY_PAIR),
    ("390127", "MFA with TOTP is required.", KEY_PAIR),
    ("394508", "Duo Security push was denied.", KEY_PAIR),
    (None, "Specified password has expired.", "MUST_CHANGE_PASSWORD"),
    ("390999", "You must change your password before signing in.", "MUST_CHANGE_PASSWORD"),
    (None, "User access disabled. Contact your local system administrator.", "SET DISABLED = FALSE"),
    (None, "Your user account has been temporarily locked. Contact your account administrator.", "MINS_TO_UNLOCK"),
    ("390913", "Your account is suspended due to lack of payment method.", "administrator of the account"),
    ("390914", "Your account has been locked. Contact support.", "administrator of the account"),
    ("390317", "The OAuth client integration is disabled.", "there was no second attempt"),
    ("390900", "Your free trial has ended.", "administrator of the account"),
    ("394400", "Programmatic access token is invalid.", "Make a new token"),
    ("390114", "Authentication token has expired. The user must authenticate again.", "Make a new token"),
    ("395001", "Authentication attempt rejected by the current authentication policy.", "KEYPAIR"),
    ("390432", "Network policy is required.", "address"),
    ("391234", "IP 10.1.2.3 is not allowed to connect.", "address"),
    ("390189", "Role 'MFA_TOKEN' specified in the connect string does not exist or not authorized.", "SNOWFLAKE_ROLE"),
    ("001008", "Insufficient privileges to set session parameter 'ROWS_PER_RESULTSET'.", "source-contract.md"),
    ("399999", "Something that nobody has heard of.", "there was no second attempt"),
    (None, "Something that nobody has heard of.", "there was no second attempt"),
    ("390104", "Something that nobody has heard of.", "there was no second attempt"),
    ("390111", "Something that nobody has heard of.", "there was no second attempt"),
]  # fmt: skip


def refused_once(fault: Fault) -> WarehouseError:
    """How a sign-in that meets this fault every time ends: as a mistake, after one attempt."""
    with faulting_proxy(1) as proxy:
        proxy.faults.append(fault)
        account = replace(ACCOUNT, port=proxy.port)
        with pytest.raises(WarehouseError) as refused_with, Source.open(account, Overrides(), log=print):
            pass
        assert proxy.count(LOGIN) == 1
    assert not refused_with.value.retryable
    return refused_with.value


@pytest.mark.parametrize(("code", "message", "cured"), REFUSALS, ids=lambda value: str(value)[:30])
def test_a_sign_in_that_is_refused_is_not_repeated_and_its_cure_is_told(code, message, cured):
    said = {"success": False, "data": None, "message": message} | ({"code": code} if code else {})
    told = refused_once(Fault("say", path=LOGIN, said=said, times=None))
    assert cured in told.remedy
    assert message.rstrip(".") in told.problem
    assert "tried several times" not in str(told)


@pytest.mark.parametrize(
    "said",
    [
        {"success": False, "data": None, "message": "No.", "code": None},
        {"success": False, "data": None},
        ["no object at all"],
        {"success": False, "data": {"nextAction": "PWD_CHANGE"}, "message": "No.", "code": "390190"},
        {"success": True, "data": {"nextAction": "PWD_CHANGE", "token": None, "masterToken": None}, "message": None},
    ],
    ids=["no code", "no message", "no object", "a new password, refused", "a new password"],
)
def test_an_answer_without_a_session_is_a_refusal_whatever_it_lacks(said):
    refusal = refused_once(Fault("say", path=LOGIN, said=said, times=None))
    assert "SNOWFLAKE_PRIVATE_KEY_PATH" in refusal.remedy
    assert "report it" not in str(refusal)
    assert "int()" not in str(refusal)
    assert "attribute" not in str(refusal)


@pytest.mark.parametrize("code", ["300002", "000603"])
def test_a_sign_in_that_fails_by_a_fault_of_the_server_s_is_repeated(behind, code):
    with behind(Fault("say", path=LOGIN, said=refused(code))) as (source, proxy, _):
        assert read(source) == ROWS
        assert proxy.count(LOGIN) == 2


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_status_that_refuses_is_not_repeated(status):
    refused_once(Fault("status", path=LOGIN, status=status, times=None))


def test_a_session_that_is_refused_when_it_is_made_anew_is_not_asked_for_again(behind):
    """The password was changed, or the user disabled, while a sync ran."""
    no_more = Fault("say", path=LOGIN, said=refused("390101", "User access disabled."), after=1, times=None)
    with behind(no_more, Fault("say", said=refused("390114"), after=THE_ROWS)) as (source, proxy, _):
        with pytest.raises(WarehouseError, match="User access disabled"):
            source.retrying(partial(read, source))
        assert proxy.count(LOGIN) == 2


def test_a_user_s_own_warehouse_and_role_are_used_where_none_are_set(behind):
    """What is not set is not sent, and Snowflake takes the user's DEFAULT_WAREHOUSE and DEFAULT_ROLE."""
    with behind() as (source, proxy, _):
        assert read(source) == ROWS
        (path,) = (path for path in proxy.requests if path.startswith(LOGIN))
        assert "warehouse=" not in path
        assert "roleName=" not in path


def test_without_any_warehouse_the_remedy_says_how_to_have_one(behind):
    message = "No active warehouse selected in the current session."
    with behind(Fault("say", said=refused("000606", message), after=THE_ROWS)) as (source, _, _):
        with pytest.raises(FluxError) as told:
            source.retrying(partial(read, source))
        assert "Set SNOWFLAKE_WAREHOUSE" in told.value.remedy
        assert "ALTER USER fake SET DEFAULT_WAREHOUSE" in told.value.remedy
