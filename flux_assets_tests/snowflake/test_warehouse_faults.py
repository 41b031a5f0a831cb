"""The table of error codes: what each leads to, and what the user is told."""

from dataclasses import replace

import pytest
import requests
from snowflake.connector import errors
from snowflake.connector.network import get_http_retryable_error

from flux_assets.errors import FluxError, SourceError, WarehouseError
from flux_assets.snowflake.account import Account
from flux_assets.snowflake.faults import FAULTS, Subject

ACCOUNT = Account(account="ab12345", user="FLUX", role="FLUX_SYNC", warehouse="FLUX_WH")
RETRIED = (
    250001, 250002, 250003, 250005, 251011, 251012, 252007, 252010, 252013, 255005,
    290000, 290401, 290404, 290408, 290429, 290500, 290502, 290503, 290504, 290507, 290508,
    390103, 390104, 390108, 390110, 390111, 390112, 390113, 390114, 390115,
    603, 604, 605, 610, 625, 300002, 300005,
)  # fmt: skip
BUGS = (1003, 2002, 2140, 2141)
# What means something else where rows are read, and where an expression of the user's is compiled.
OF_ROWS = (904, 2003, 2037, 2043, 3001)
OF_EXPRESSIONS = (
    *OF_ROWS, 1003, 1044, 1065, 2049, 2140, 2141,
    100035, 100037, 100038, 100039, 100040, 100046, 100051, 100071, 100078, 100080, 100096,
)  # fmt: skip
# By code: the setting or the statement that fixes it.
MISTAKES = {
    250007: "SNOWFLAKE_ACCOUNT", 251001: "SNOWFLAKE_ACCOUNT", 251005: "SNOWFLAKE_USER", 251006: "SNOWFLAKE_PASSWORD",
    251008: "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE", 251009: "SNOWFLAKE_ACCOUNT", 251010: "SNOWFLAKE_PRIVATE_KEY_PATH",
    290403: "administrator", 390100: "SNOWFLAKE_PASSWORD", 390101: "SNOWFLAKE_USER", 390102: "ALTER USER FLUX",
    390106: "SNOWFLAKE_USER", 390144: "ALTER USER FLUX SET RSA_PUBLIC_KEY",
    390186: "GRANT ROLE FLUX_SYNC TO USER FLUX;",
    390189: "SNOWFLAKE_ROLE", 390195: "SNOWFLAKE_USER", 390201: "SNOWFLAKE_DATABASE", 390202: "ALTER USER FLUX",
    390303: "SNOWFLAKE_USER", 390318: "SNOWFLAKE_USER", 390420: "administrator", 390422: "administrator",
    394300: "SNOWFLAKE_PRIVATE_KEY_PATH", 394301: "SNOWFLAKE_USER", 394302: "SNOWFLAKE_USER",
    394303: "SNOWFLAKE_USER", 394304: "SNOWFLAKE_USER", 394305: "SNOWFLAKE_USER", 394306: "SNOWFLAKE_PRIVATE_KEY_PATH",
    606: "GRANT USAGE ON WAREHOUSE FLUX_WH TO ROLE FLUX_SYNC;", 630: "SNOWFLAKE_WAREHOUSE", 707: "next tick",
    904: "FLUX_CONFIG", 1044: "FLUX_CONFIG", 1065: "FLUX_CONFIG", 2049: "FLUX_CONFIG",
    2003: "GRANT SELECT ON D.S.T TO ROLE FLUX_SYNC;", 2037: "GRANT SELECT", 2043: "SNOWFLAKE_SCHEMA",
    3001: "GRANT SELECT ON D.S.T TO ROLE FLUX_SYNC;", 3540: "ALTER WAREHOUSE FLUX_WH", 90064: "ALTER WAREHOUSE",
    90073: "ALTER WAREHOUSE", 90105: "SNOWFLAKE_DATABASE", 90106: "SNOWFLAKE_SCHEMA", 90109: "ALTER WAREHOUSE",
    **dict.fromkeys(
        (100035, 100037, 100038, 100039, 100040, 100046, 100051, 100071, 100078, 100080, 100096), "FLUX_CONFIG"
    ),
}  # fmt: skip


TABLE = Subject(table="t", object="D.S.T")


def raised(code: int, message: str = "it went wrong", sqlstate: str = "n/a", subject: Subject = TABLE) -> FluxError:
    error = errors.ProgrammingError(msg=message, errno=code, sqlstate=sqlstate)
    return subject.translated(error, ACCOUNT)


def test_every_code_of_the_table_is_tested():
    assert set(FAULTS) == {*RETRIED, *BUGS, *MISTAKES}


@pytest.mark.parametrize("code", RETRIED)
def test_what_a_retry_can_cure(code):
    error = raised(code)
    assert isinstance(error, WarehouseError)
    assert error.retryable
    assert "next tick" in error.remedy


@pytest.mark.parametrize("code", MISTAKES)
def test_what_the_user_has_to_fix(code):
    error = raised(code)
    assert isinstance(error, (WarehouseError, SourceError))
    assert not getattr(error, "retryable", False)
    assert "report it" not in error.remedy
    assert MISTAKES[code] in error.remedy
    assert "it went wrong" in error.problem
    assert "{" not in str(error)


def test_a_file_that_holds_no_key_is_the_user_s_mistake():
    """The library that reads key files has no code for it."""
    error = Subject().translated(ValueError("Unable to load PEM file. See the FAQ."), ACCOUNT)
    assert "SNOWFLAKE_PRIVATE_KEY_PATH" in str(error)
    assert "report it" not in str(error)


@pytest.mark.parametrize("code", [*BUGS, 999999])
def test_what_nobody_can_fix_is_not_tried_again(code):
    error = raised(code)
    assert not getattr(error, "retryable", False)
    assert "report it" in error.remedy
    assert "report it" in Subject().translated(errors.ProgrammingError(msg="x", errno=code), ACCOUNT).remedy


@pytest.mark.parametrize("code", OF_ROWS)
def test_what_was_there_a_moment_before_has_changed_and_needs_no_grant(code):
    error = raised(code, subject=replace(TABLE, reads_rows=True))
    assert isinstance(error, SourceError)
    assert error.problem.startswith("t: D.S.T or a column of it was dropped, renamed or replaced, or the right to it")
    assert "next tick" in error.remedy
    assert "GRANT" not in error.remedy


def test_the_codes_of_what_is_gone_are_told_apart_by_what_was_asked():
    for code in FAULTS:
        alone = str(raised(code))
        assert (str(raised(code, subject=replace(TABLE, reads_rows=True))) != alone) is (code in OF_ROWS)
        assert (str(raised(code, subject=replace(TABLE, expression="X"))) != alone) is (code in OF_EXPRESSIONS)


@pytest.mark.parametrize("code", OF_EXPRESSIONS)
def test_an_expression_that_does_not_compile_is_to_be_corrected(code):
    error = raised(code, subject=replace(TABLE, expression="NOSUCH({'a': HOMES})"))
    assert isinstance(error, SourceError)
    assert error.remedy.startswith("Correct the expression: NOSUCH({'a': HOMES})")
    assert "GRANT SELECT" not in error.remedy
    assert ("grant role FLUX_SYNC" in error.remedy) == ("role FLUX_SYNC may not use" in error.problem)


@pytest.mark.parametrize("subject", [replace(TABLE, expression="HOMES"), replace(TABLE, reads_rows=True)])
def test_what_is_nobody_s_columns_is_told_the_same_whatever_was_asked(subject):
    for code in (390114, 606, 250001, 604):
        assert str(raised(code, subject=subject)) == str(raised(code))


@pytest.mark.parametrize("code", [2003, 904, 100038, 3001])
def test_one_table_s_fault_names_the_table(code):
    error = raised(code)
    assert isinstance(error, SourceError)
    assert str(error).startswith("t: ")
    nobody_s = Subject().translated(errors.ProgrammingError(msg="x", errno=code), ACCOUNT)
    assert isinstance(nobody_s, WarehouseError)
    assert "FLUX_DB.PRODUCTION" in str(nobody_s)


@pytest.mark.parametrize(
    ("said", "setting"),
    [
        ("Failed to connect to DB. Incorrect username or password was specified.", "SNOWFLAKE_PASSWORD"),
        ("Failed to connect to DB. JWT token is invalid. [0ce9eb56]", "SNOWFLAKE_PRIVATE_KEY_PATH"),
        ("Role 'X' specified in the connect string does not exist or not authorized.", "SNOWFLAKE_ROLE"),
        ("Failed to connect to DB. Verify the account name is correct: x. HTTP 403: Forbidden", "SNOWFLAKE_ACCOUNT"),
        ("User access disabled: the user is disabled", "ALTER USER"),
        ("Your user account has been temporarily locked due to too many failed attempts.", "ALTER USER"),
        ("Incoming request with IP 10.0.0.1 is not allowed to access Snowflake.", "administrator"),
        ("The requested warehouse does not exist or not authorized.", "SNOWFLAKE_WAREHOUSE"),
        ("The requested database does not exist or not authorized.", "SNOWFLAKE_DATABASE"),
    ],
)
def test_a_sign_in_that_fails_is_told_by_its_words(said, setting):
    """The connector gives 250001 to each of these, or a code of its own."""
    error = raised(250001, said, "08001")
    assert not error.retryable
    assert setting in str(error)


def test_a_wrong_account_in_the_host_name():
    error = raised(290404, "404 Not Found: post https://nowhere.snowflakecomputing.com/session/v1/login-request?")
    assert not error.retryable
    assert "SNOWFLAKE_ACCOUNT" in error.remedy


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(104, "reset"),
        TimeoutError("timed out"),
        EOFError(),
        requests.exceptions.ChunkedEncodingError("broken"),
        *(get_http_retryable_error(status) for status in (429, 500, 502, 503, 504, 599)),
        errors.DatabaseError(msg="link failure", errno=123456, sqlstate="08003"),
    ],
    ids=repr,
)
def test_a_network_that_breaks_is_curable(error):
    assert Subject().translated(error, ACCOUNT).retryable


def test_long_reports_are_cut_and_lie_on_one_line():
    error = raised(604, "line one\n  line two " + "x" * 1000)
    assert "\n" not in str(error)
    assert len(str(error)) < 700


def test_without_a_role_the_remedy_still_reads():
    account, subject = Account(account="a", user="u"), Subject(object="D.S.T")
    error = subject.translated(errors.ProgrammingError(msg="x", errno=2003), account)
    assert "the user's default role may not see it" in error.problem
    assert "GRANT SELECT ON D.S.T TO ROLE <role>;" in error.remedy
