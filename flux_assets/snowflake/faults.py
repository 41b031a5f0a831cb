"""What the connector and Snowflake report, as a table of codes, each with a sentence and a remedy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from flux_assets.errors import FluxError, SourceError, WarehouseError, bounded, reported
from flux_assets.retry import GivenUpError
from flux_assets.snowflake.account import Account


class Kind(Enum):
    """What to do about a fault."""

    RETRY = "the same may work on another attempt, in a new session"
    MISTAKE = "the user has to correct a setting, a right, or the source"
    BUG = "a statement of this program is wrong, or its assumption about the source"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A kind of fault: `problem` and `remedy` may hold {user}, {role}, {the_role}, {warehouse}, {account}, {host}
    and {object}, and {expression} where one was asked about.

    `of_table` says that one table's source is at fault, when the statement was about one.
    """

    kind: Kind
    problem: str
    remedy: str = ""
    of_table: bool = False


_GRANTS = "sql/snowflake/grants.sql holds the grants: snow sql -f sql/snowflake/grants.sql -D …"
_AGAIN = "It was retried; the next tick tries again. `flux-assets doctor` tests the connection."


def _retry(problem: str) -> Fault:
    return Fault(kind=Kind.RETRY, problem=problem, remedy=_AGAIN)


def _mistake(problem: str, remedy: str, *, of_table: bool = False) -> Fault:
    return Fault(kind=Kind.MISTAKE, problem=problem, remedy=remedy, of_table=of_table)


UNREACHABLE = _retry("Snowflake at {host} cannot be reached")
_GONE = _retry("The session with Snowflake has ended")
_CUT = _retry("A result of Snowflake arrived incomplete")
BUSY = _retry("Snowflake did not answer in time, or was busy")
_CREDENTIALS = _mistake(
    "Snowflake refuses the sign-in of user {user} at account {account}",
    "Correct SNOWFLAKE_ACCOUNT, SNOWFLAKE_USER, and SNOWFLAKE_PASSWORD or SNOWFLAKE_PRIVATE_KEY_PATH.",
)
_KEY = _mistake(
    "Snowflake refuses the private key of user {user}",
    "SNOWFLAKE_PRIVATE_KEY_PATH must be the key that belongs to the user: "
    "ALTER USER {user} SET RSA_PUBLIC_KEY = '…'; and the clock of this machine must be right.",
)
PRIVATE_KEY = _mistake(
    "The private key cannot be used",
    "SNOWFLAKE_PRIVATE_KEY_PATH must name an unencrypted PKCS #8 key, or SNOWFLAKE_PRIVATE_KEY_PASSPHRASE must fit it.",
)
_LOCKED = _mistake(
    "Snowflake has locked or disabled user {user}",
    "Ask an administrator: ALTER USER {user} SET DISABLED = FALSE; or, where it is locked, SET MINS_TO_UNLOCK = 0;",
)
_KEY_PAIR = (
    "Sign in with a key pair, as a service does: ALTER USER {user} SET TYPE = SERVICE, RSA_PUBLIC_KEY = '…'; set"
    " SNOWFLAKE_PRIVATE_KEY_PATH and unset SNOWFLAKE_PASSWORD."
)
_SECOND_FACTOR = _mistake(
    "Snowflake requires multi-factor authentication of user {user}, which no program can provide", _KEY_PAIR
)
PASSWORD = _mistake(
    "The password of Snowflake user {user} must be changed",
    _KEY_PAIR + " Or set a new one: ALTER USER {user} SET PASSWORD = '…', MUST_CHANGE_PASSWORD = FALSE;",
)
_TOKEN = _mistake(
    "Snowflake refuses the token that user {user} signs in with", "Make a new token for the user. " + _KEY_PAIR
)
_METHOD = _mistake(
    "An authentication policy of Snowflake does not let user {user} sign in this way",
    _KEY_PAIR + " The policy has to allow KEYPAIR, and DRIVERS as client.",
)
_CLOSED = _mistake(
    "Snowflake account {account} refuses every sign-in",
    "Ask an administrator of the account, or Snowflake's support, to open it again.",
)
_PARAMETER = _mistake(
    "Snowflake does not let user {user} set a session parameter that decides what is read",
    "Ask an administrator to allow it; docs/source-contract.md lists what every session sets, and why.",
)
CERTIFICATE = _mistake(
    "What answers at {host} is not trusted as Snowflake",
    "Correct SNOWFLAKE_HOST, SNOWFLAKE_PORT or SNOWFLAKE_PROTOCOL; behind a proxy that inspects TLS, let"
    " REQUESTS_CA_BUNDLE name its certificate authority.",
)
REFUSED = _mistake(
    "Snowflake refuses the sign-in of user {user} at account {account}",
    "Follow its message; there was no second attempt, since repetition may lock the user. A service signs in with a key"
    " pair and a user of TYPE = SERVICE (SNOWFLAKE_PRIVATE_KEY_PATH).",
)
_ROLE = _mistake(
    "User {user} may not take {the_role}, or it does not exist",
    "Correct SNOWFLAKE_ROLE, or run GRANT ROLE {role} TO USER {user};",
)
_WAREHOUSE = _mistake(
    "Snowflake has no warehouse to run the query with",
    "Set SNOWFLAKE_WAREHOUSE, or give the user a default: ALTER USER {user} SET DEFAULT_WAREHOUSE = '…'; and let the"
    " role use it: GRANT USAGE ON WAREHOUSE {warehouse} TO ROLE {role};",
)
_ACCOUNT = _mistake("There is no Snowflake account {account} at {host}", "Correct SNOWFLAKE_ACCOUNT.")
_MISSING = _mistake(
    "{object} does not exist, or {the_role} may not see it",
    "Correct SNOWFLAKE_DATABASE and SNOWFLAKE_SCHEMA, or the object in FLUX_CONFIG; or run "
    "GRANT SELECT ON {object} TO ROLE {role}; with USAGE on its database and schema. " + _GRANTS,
    of_table=True,
)
_RIGHTS = _mistake(
    "{object} cannot be read: {the_role} has no right to",
    "Run GRANT SELECT ON {object} TO ROLE {role}; with USAGE on its database and schema. " + _GRANTS,
    of_table=True,
)
_EXPRESSION = _mistake(
    "Snowflake cannot evaluate the query of {object}",
    "If FLUX_CONFIG holds an expression for it, correct that; `flux-assets doctor` prints the mapping as resolved.",
    of_table=True,
)
_TOO_LONG = _mistake(
    "Snowflake cancelled the query of {object} after its time limit",
    "A larger SNOWFLAKE_WAREHOUSE or a smaller window in FLUX_CONFIG makes it quicker.",
)
_NETWORK_POLICY = _mistake(
    "Snowflake's network policy refuses this machine", "Ask an administrator to allow this machine's address."
)
_PLACE = _mistake(
    "Database, schema, warehouse or role of the sign-in does not exist, or user {user} may not use it",
    "Correct SNOWFLAKE_DATABASE, SNOWFLAKE_SCHEMA, SNOWFLAKE_WAREHOUSE or SNOWFLAKE_ROLE. " + _GRANTS,
)
_SUSPENDED = _mistake(
    "Warehouse {warehouse} cannot run queries now",
    "ALTER WAREHOUSE {warehouse} RESUME; or look at its resource monitor.",
)

_FUNCTION = Fault(kind=Kind.BUG, problem="Snowflake does not know a function in the query of {object}", of_table=True)

FAULTS: dict[int, Fault] = {
    # The connector's own: connection.
    250001: UNREACHABLE,
    250002: _GONE,
    250003: UNREACHABLE,
    250005: UNREACHABLE,
    250007: _ACCOUNT,
    251001: _mistake("No Snowflake account is set", "Set SNOWFLAKE_ACCOUNT."),
    251005: _mistake("No Snowflake user is set", "Set SNOWFLAKE_USER."),
    251006: _mistake(
        "No password is set for Snowflake user {user}",
        "Set SNOWFLAKE_PRIVATE_KEY_PATH (key pair, for a service), or SNOWFLAKE_PASSWORD.",
    ),
    251008: PRIVATE_KEY,
    251009: _ACCOUNT,
    251010: _KEY,
    251011: UNREACHABLE,
    251012: BUSY,
    252007: _GONE,
    252010: _CUT,
    252013: _CUT,
    255005: _CUT,
    # The connector's own: HTTP. 290000 + status, other than by a network policy.
    290000: BUSY,
    290403: _NETWORK_POLICY,
    290401: _GONE,
    290404: UNREACHABLE,
    **dict.fromkeys((290408, 290429, 290500, 290502, 290503, 290504, 290507, 290508), BUSY),
    # Sign-in and session.
    **dict.fromkeys((390100, 390101, 390195, 390303, 390318, 394301, 394302, 394303, 394304, 394305), _CREDENTIALS),
    390102: _LOCKED,
    **dict.fromkeys((390103, 390104, 390108, 390110, 390111, 390112, 390113, 390114, 390115), _GONE),
    390106: _CREDENTIALS,
    **dict.fromkeys((390144, 394300, 394306), _KEY),
    390186: _ROLE,
    390189: _ROLE,
    390201: _PLACE,
    390202: _LOCKED,
    390420: _NETWORK_POLICY,
    390422: _NETWORK_POLICY,
    # Statements.
    603: _retry("Snowflake met an internal error"),
    604: _retry("The query was cancelled in Snowflake"),
    605: _retry("Snowflake ended the query of a session that it took for abandoned"),
    606: _WAREHOUSE,
    610: BUSY,
    625: BUSY,
    630: _TOO_LONG,
    707: _mistake(
        "{object} holds nothing as of that instant", "It was replaced since; the next tick reads it.", of_table=True
    ),
    904: _EXPRESSION,
    1003: Fault(kind=Kind.BUG, problem="Snowflake does not understand the query of {object}", of_table=True),
    2002: Fault(kind=Kind.BUG, problem="Snowflake will not create what exists already"),
    2003: _MISSING,
    2037: _MISSING,
    2043: _MISSING,
    **dict.fromkeys((2140, 2141), _FUNCTION),
    3001: _RIGHTS,
    3540: _SUSPENDED,
    90073: _SUSPENDED,
    90064: _SUSPENDED,
    90105: _MISSING,
    90106: _MISSING,
    90109: _SUSPENDED,
    **dict.fromkeys(
        (100035, 100037, 100038, 100039, 100040, 100046, 100051, 100071, 100078, 100080, 100096), _EXPRESSION
    ),
    1044: _EXPRESSION,
    1065: _EXPRESSION,
    2049: _EXPRESSION,
    # A system limit that passes.
    300002: _retry("Snowflake met an internal error"),
    300005: _retry("Snowflake met an internal error"),
}
# Where a code alone does not tell: the connector gives 250001 to much that goes wrong while it signs in.
AMBIGUOUS = {250001, 290404, 390201}
# A sign-in that is refused for one of these passing reasons is retried; no other is.
PASSING = (603, 604, 605, 610, 625, 300002, 300005)
# Patterns of messages in lower case, without what is in quotes. The first that is found counts.
SAID = tuple(
    (re.compile(pattern), fault)
    for pattern, fault in (
        (r"incorrect username or password", _CREDENTIALS),
        (r"verify the account name is correct", _ACCOUNT),
        (r"login-request", _ACCOUNT),
        (r"\bparameter\b", _PARAMETER),
        (r"requested warehouse does not exist", _WAREHOUSE),
        (r"network policy|\bip\b.* not allowed|is not allowed to access snowflake", _NETWORK_POLICY),
        (r"authentication (policy|method)|client (type|application)\b.* not (allowed|permitted)", _METHOD),
        (r"\bjwt\b|\bpublic key\b|\bkey pair\b", _KEY),
        (r"multi-?factor|\bmfa\b|\btotp\b|\bduo\b|passcode|second factor", _SECOND_FACTOR),
        (r"\bpassword\b.*(expired|chang|reset)|(expired|chang|reset).*\bpassword\b", PASSWORD),
        (r"\btoken\b", _TOKEN),
        (r"\brole\b", _ROLE),
        (r"does not exist or not authorized", _PLACE),
        (
            r"(?<!user )\baccount\b.*\b(suspended|deleted|closed|terminated|expired|locked|disabled)|payment|\btrial\b",
            _CLOSED,
        ),
        (r"\b(user|login)\b.*\b(disabled|locked|deactivated|suspended)\b", _LOCKED),
    )
)
# Of the library that reads key files, without a code: no key, or a passphrase that is wrong, missing or one too many.
OF_KEY_FILES = (
    "unable to load pem file",
    "could not decrypt key",
    "password was not given but private key is encrypted",
    "password was given but private key is not encrypted",
)
UNKNOWN = Fault(kind=Kind.BUG, problem="Snowflake reports an unknown error")
BY_STATE = {"08": UNREACHABLE, "28": _CREDENTIALS, "42": _EXPRESSION, "22": _EXPRESSION, "57": BUSY}
# What the same codes mean where rows are read of a table whose columns were described a moment before.
_MOVED = _mistake(
    "{object} or a column of it was dropped, renamed or replaced, or the right to it was taken away, since its columns"
    " were read",
    "Nothing has to be done if that was intended: the next tick reads the columns again and reports what is missing.",
    of_table=True,
)
OF_ROWS: dict[int, Fault] = dict.fromkeys((904, 2003, 2037, 2043, 3001), _MOVED)
# And where an expression of FLUX_CONFIG is compiled over an object that existed a moment before.
_UNKNOWN_NAME = _mistake(
    "The expression names a column, function or object that does not exist, or that {the_role} may not use",
    "Correct the expression: {expression} (or, where it is right, grant {the_role} what it uses).",
    of_table=True,
)
_WRONG = _mistake("Snowflake cannot evaluate the expression", "Correct the expression: {expression}", of_table=True)
OF_EXPRESSIONS: dict[int, Fault] = {
    **{code: _WRONG for code, fault in FAULTS.items() if fault in (_EXPRESSION, FAULTS[1003])},
    **dict.fromkeys((904, 2003, 2037, 2043, 2140, 2141, 3001), _UNKNOWN_NAME),
}


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a statement was about: its table, the source object, and the configured expression that it compiles.

    It `reads_rows` of an object whose columns were described a moment before, or it is no statement but `signs_in`.
    """

    table: str = ""
    object: str = ""
    expression: str = ""
    reads_rows: bool = False
    signs_in: bool = False


NOTHING = Subject()
SIGN_IN = Subject(signs_in=True)
_LONGEST = 300
_NAMES = re.compile(r"'[^']*'|\"[^\"]*\"|(?<=connect to db: )\S+")


def fault_of(error: BaseException, subject: Subject = NOTHING) -> Fault:
    """Return the fault that an exception of the connector, or of the network below it, reports."""
    code = _code(error)
    special = OF_EXPRESSIONS if subject.expression else OF_ROWS if subject.reads_rows else {}
    message = bounded(str(error)).lower()
    if code in special or any(words in message for words in OF_KEY_FILES):
        return special.get(code, PRIVATE_KEY)
    if subject.signs_in and not _passes(error, code):
        return _refusal(error, code, message)
    worded = _by_words(message) if code in AMBIGUOUS else None
    known = worded or FAULTS.get(code)
    if known is not None:
        return known
    if 290500 <= code < 290600 or _of_network(error):
        return BUSY if code else UNREACHABLE
    state = str(getattr(error, "sqlstate", None) or "")
    return BY_STATE.get(state[:2], UNKNOWN)


def _passes(error: BaseException, code: int) -> bool:
    """Return whether a sign-in failed for a passing reason: retrying after any other may lock the user out."""
    status = code - 290000
    return code in PASSING or status in {408, 429} or 500 <= status < 600 or _of_network(error) or _unanswered(error)


def _unanswered(error: BaseException) -> bool:
    """Return whether the connector could not reach the server; the server's answers are another kind of error."""
    return any(kind.__name__ == "OperationalError" for kind in type(error).__mro__) and not _untrusted(error)


def _untrusted(error: BaseException) -> bool:
    return any(kind.__name__ == "NonRetryableTlsError" for kind in type(error).__mro__)


def _refusal(error: BaseException, code: int, message: str) -> Fault:
    """Return why the server refuses the user: by its code, or by its words where that is unknown."""
    if _untrusted(error):
        return CERTIFICATE
    known = FAULTS.get(code)
    if known is not None and known.kind is Kind.MISTAKE and code not in AMBIGUOUS:
        return known
    return _by_words(message) or (known if known is not None and known.kind is Kind.MISTAKE else REFUSED)


def _by_words(message: str) -> Fault | None:
    """Return the fault that the words report, names apart: those in quotes, and the host after "connect to db"."""
    words = _NAMES.sub("", message)
    return next((fault for pattern, fault in SAID if pattern.search(words)), None)


def translated(error: BaseException, account: Account, subject: Subject = NOTHING) -> FluxError:
    """Return SourceError when one table's source is at fault, WarehouseError otherwise."""
    # The connector wraps errors after which a person would sign in again.
    wrapped = getattr(error, "cause", None)
    error = wrapped if isinstance(wrapped, BaseException) else error
    fault = BUSY if isinstance(error, GivenUpError) else fault_of(error, subject)
    # The connector fails by itself at an answer without code or message, or of another shape.
    unexplained = subject.signs_in and isinstance(error, KeyError | TypeError | AttributeError)
    return _error(fault, "it does not say why" if unexplained else reported(error, _LONGEST), account, subject)


def unfinished(account: Account) -> FluxError:
    """Return the error of a sign-in that needs something that only a person can do."""
    return _error(PASSWORD, "it signs the user in only after that, and gave no session", account, SIGN_IN)


def _error(fault: Fault, message: str, account: Account, subject: Subject) -> FluxError:
    places = {
        "user": account.user,
        "role": account.role or "<role>",
        "the_role": f"role {account.role}" if account.role else "the user's default role",
        "warehouse": account.warehouse or "<warehouse>",
        "account": account.account,
        "host": _host(account),
        "object": subject.object or f"{account.database}.{account.schema}",
        "expression": subject.expression,
    }
    problem = f"{fault.problem.format(**places)}: {message}."
    remedy = fault.remedy.format(**places) or "Please report it with the lines of the log around it."
    if fault.kind is not Kind.RETRY and fault.of_table and subject.table:
        return SourceError(f"{subject.table}: {problem}", remedy)
    return WarehouseError(problem, remedy, retryable=fault.kind is Kind.RETRY)


def _code(error: BaseException) -> int:
    code = abs(int(getattr(error, "errno", None) or 0))
    # The connector adds 290000 to the status of some HTTP errors twice.
    return code - 290000 if 580000 <= code < 581000 else code


def _of_network(error: BaseException) -> bool:
    """Return whether the network is at fault: libraries below the connector raise what breaks during a result."""
    above = type(error).__mro__
    return isinstance(error, (OSError, EOFError)) or any(
        kind.__module__.split(".")[0] in {"requests", "urllib3", "http"}
        or kind.__module__.startswith("snowflake.connector.vendored")
        for kind in above
    )


def _host(account: Account) -> str:
    host = account.host or f"{account.account}.snowflakecomputing.com"
    return f"{host}:{account.port}" if account.port else host
