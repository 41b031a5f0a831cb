"""What the connector and Snowflake report, as a table of codes, each with a sentence and a remedy."""

from __future__ import annotations

import re
from dataclasses import dataclass

from flux_assets.errors import FluxError, SourceError, WarehouseError, bounded, reported
from flux_assets.retry import GivenUpError
from flux_assets.snowflake.account import Account


@dataclass(frozen=True)
class _Fault:
    """What went wrong, in words that hold {user}, {object} and the other places that `_error` fills in.

    Without a remedy it is an error of this program; after a `retryable` one the same may work in a new session.
    `of_table` says that one table's source is at fault, when the statement was about one.
    """

    problem: str
    remedy: str = ""
    retryable: bool = False
    of_table: bool = False


def _retry(problem: str) -> _Fault:
    again = "It was retried; the next tick tries again. `flux-assets doctor` tests the connection."
    return _Fault(problem, again, retryable=True)


_GRANTS = "sql/snowflake/grants.sql holds the grants: snow sql -f sql/snowflake/grants.sql -D …"
_GRANT = "GRANT SELECT ON {object} TO ROLE {role}; with USAGE on its database and schema. " + _GRANTS
_UNREACHABLE = _retry("Snowflake at {host} cannot be reached")
_GONE = _retry("The session with Snowflake has ended")
_BUSY = _retry("Snowflake did not answer in time, or was busy")
_CREDENTIALS = _Fault(
    "Snowflake refuses the sign-in of user {user} at account {account}",
    "Correct SNOWFLAKE_ACCOUNT, SNOWFLAKE_USER, and SNOWFLAKE_PASSWORD or SNOWFLAKE_PRIVATE_KEY_PATH.",
)
_KEY = _Fault(
    "Snowflake refuses the private key of user {user}",
    "SNOWFLAKE_PRIVATE_KEY_PATH must be the key that belongs to the user: "
    "ALTER USER {user} SET RSA_PUBLIC_KEY = '…'; and the clock of this machine must be right.",
)
_PRIVATE_KEY = _Fault(
    "The private key cannot be used",
    "SNOWFLAKE_PRIVATE_KEY_PATH must name an unencrypted PKCS #8 key, or SNOWFLAKE_PRIVATE_KEY_PASSPHRASE must fit it.",
)
_LOCKED = _Fault(
    "Snowflake has locked or disabled user {user}",
    "Ask an administrator: ALTER USER {user} SET DISABLED = FALSE; or, where it is locked, SET MINS_TO_UNLOCK = 0;",
)
_KEY_PAIR = (
    "Sign in with a key pair, as a service does: ALTER USER {user} SET TYPE = SERVICE, RSA_PUBLIC_KEY = '…'; set"
    " SNOWFLAKE_PRIVATE_KEY_PATH and unset SNOWFLAKE_PASSWORD."
)
_SECOND_FACTOR = _Fault(
    "Snowflake requires multi-factor authentication of user {user}, which no program can provide", _KEY_PAIR
)
_PASSWORD = _Fault(
    "The password of Snowflake user {user} must be changed",
    _KEY_PAIR + " Or set a new one: ALTER USER {user} SET PASSWORD = '…', MUST_CHANGE_PASSWORD = FALSE;",
)
_TOKEN = _Fault(
    "Snowflake refuses the token that user {user} signs in with", "Make a new token for the user. " + _KEY_PAIR
)
_METHOD = _Fault(
    "An authentication policy of Snowflake does not let user {user} sign in this way",
    _KEY_PAIR + " The policy has to allow KEYPAIR, and DRIVERS as client.",
)
_CLOSED = _Fault(
    "Snowflake account {account} refuses every sign-in",
    "Ask an administrator of the account, or Snowflake's support, to open it again.",
)
_PARAMETER = _Fault(
    "Snowflake does not let user {user} set a session parameter that decides what is read",
    "Ask an administrator to allow it; docs/source-contract.md lists what every session sets, and why.",
)
_CERTIFICATE = _Fault(
    "What answers at {host} is not trusted as Snowflake",
    "Correct SNOWFLAKE_HOST, SNOWFLAKE_PORT or SNOWFLAKE_PROTOCOL; behind a proxy that inspects TLS, let"
    " REQUESTS_CA_BUNDLE name its certificate authority.",
)
_REFUSED = _Fault(
    "Snowflake refuses the sign-in of user {user} at account {account}",
    "Follow its message; there was no second attempt, since repetition may lock the user. A service signs in with a key"
    " pair and a user of TYPE = SERVICE (SNOWFLAKE_PRIVATE_KEY_PATH).",
)
_ROLE = _Fault(
    "User {user} may not take {the_role}, or it does not exist",
    "Correct SNOWFLAKE_ROLE, or run GRANT ROLE {role} TO USER {user};",
)
_WAREHOUSE = _Fault(
    "Snowflake has no warehouse to run the query with",
    "Set SNOWFLAKE_WAREHOUSE, or give the user a default: ALTER USER {user} SET DEFAULT_WAREHOUSE = '…'; and let the"
    " role use it: GRANT USAGE ON WAREHOUSE {warehouse} TO ROLE {role};",
)
_ACCOUNT = _Fault("There is no Snowflake account {account} at {host}", "Correct SNOWFLAKE_ACCOUNT.")
_MISSING = _Fault(
    "{object} does not exist, or {the_role} may not see it",
    "Correct SNOWFLAKE_DATABASE and SNOWFLAKE_SCHEMA, or the object in FLUX_CONFIG; or run " + _GRANT,
    of_table=True,
)
_RIGHTS = _Fault("{object} cannot be read: {the_role} has no right to", "Run " + _GRANT, of_table=True)
_EXPRESSION = _Fault(
    "Snowflake cannot evaluate the query of {object}",
    "If FLUX_CONFIG holds an expression for it, correct that; `flux-assets doctor` prints the mapping as resolved.",
    of_table=True,
)
_TOO_LONG = _Fault(
    "Snowflake cancelled the query of {object} after its time limit",
    "A larger SNOWFLAKE_WAREHOUSE or a smaller window in FLUX_CONFIG makes it quicker.",
)
_NETWORK_POLICY = _Fault(
    "Snowflake's network policy refuses this machine", "Ask an administrator to allow this machine's address."
)
_PLACE = _Fault(
    "Database, schema, warehouse or role of the sign-in does not exist, or user {user} may not use it",
    "Correct SNOWFLAKE_DATABASE, SNOWFLAKE_SCHEMA, SNOWFLAKE_WAREHOUSE or SNOWFLAKE_ROLE. " + _GRANTS,
)
_SUSPENDED = _Fault(
    "Warehouse {warehouse} cannot run queries now",
    "ALTER WAREHOUSE {warehouse} RESUME; or look at its resource monitor.",
)
_NO_PASSWORD = _Fault(
    "No password is set for Snowflake user {user}",
    "Set SNOWFLAKE_PRIVATE_KEY_PATH (key pair, for a service), or SNOWFLAKE_PASSWORD.",
)
_REPLACED = _Fault(
    "{object} holds nothing as of that instant", "It was replaced since; the next tick reads it.", of_table=True
)
_MOVED = _Fault(
    "{object} or a column of it was dropped, renamed or replaced, or the right to it was taken away, since its columns"
    " were read",
    "Nothing has to be done if that was intended: the next tick reads the columns again and reports what is missing.",
    of_table=True,
)
_UNKNOWN_NAME = _Fault(
    "The expression names a column, function or object that does not exist, or that {the_role} may not use",
    "Correct the expression: {expression} (or, where it is right, grant {the_role} what it uses).",
    of_table=True,
)
_WRONG = _Fault("Snowflake cannot evaluate the expression", "Correct the expression: {expression}", of_table=True)

# By code; those of HTTP are 290000 + status.
FAULTS: dict[int, _Fault] = {
    code: fault
    for fault, *codes in (
        # Connection and sign-in.
        (_UNREACHABLE, 250001, 250003, 250005, 251011, 290404),
        (_GONE, 250002, 252007, 290401, 390103, 390104, 390108, 390110, 390111, 390112, 390113, 390114, 390115),
        (_retry("A result of Snowflake arrived incomplete"), 252010, 252013, 255005),
        (_BUSY, 251012, 290000, 290408, 290429, 290500, 290502, 290503, 290504, 290507, 290508),
        (_ACCOUNT, 250007, 251009),
        (_Fault("No Snowflake account is set", "Set SNOWFLAKE_ACCOUNT."), 251001),
        (_Fault("No Snowflake user is set", "Set SNOWFLAKE_USER."), 251005),
        (_NO_PASSWORD, 251006),
        (_PRIVATE_KEY, 251008),
        (_KEY, 251010, 390144, 394300, 394306),
        (_NETWORK_POLICY, 290403, 390420, 390422),
        (_CREDENTIALS, 390100, 390101, 390106, 390195, 390303, 390318, 394301, 394302, 394303, 394304, 394305),
        (_LOCKED, 390102, 390202),
        (_ROLE, 390186, 390189),
        (_PLACE, 390201),
        # Statements.
        (_retry("Snowflake met an internal error"), 603, 300002, 300005),
        (_retry("The query was cancelled in Snowflake"), 604),
        (_retry("Snowflake ended the query of a session that it took for abandoned"), 605),
        (_WAREHOUSE, 606),
        (_BUSY, 610, 625),
        (_TOO_LONG, 630),
        (_REPLACED, 707),
        (_EXPRESSION, 904, 1044, 1065, 2049, 100035, 100037, 100038, 100039, 100040, 100046, 100051, 100071, 100078),
        (_EXPRESSION, 100080, 100096),
        (_Fault("Snowflake does not understand the query of {object}", of_table=True), 1003),
        (_Fault("Snowflake will not create what exists already"), 2002),
        (_Fault("Snowflake does not know a function in the query of {object}", of_table=True), 2140, 2141),
        (_MISSING, 2003, 2037, 2043, 90105, 90106),
        (_RIGHTS, 3001),
        (_SUSPENDED, 3540, 90064, 90073, 90109),
    )
    for code in codes
}
_BY_STATE = {"08": _UNREACHABLE, "28": _CREDENTIALS, "42": _EXPRESSION, "22": _EXPRESSION, "57": _BUSY}
_UNKNOWN = _Fault("Snowflake reports an unknown error")
# What the same codes mean where rows are read of a table whose columns were described a moment before.
_OF_ROWS = dict.fromkeys((904, 2003, 2037, 2043, 3001), _MOVED)
# And where an expression of FLUX_CONFIG is compiled over an object that existed a moment before.
_OF_EXPRESSIONS = {
    **{code: _WRONG for code, fault in FAULTS.items() if fault is _EXPRESSION or code == 1003},
    **dict.fromkeys((904, 2003, 2037, 2043, 2140, 2141, 3001), _UNKNOWN_NAME),
}
# Where a code alone does not tell: the connector gives 250001 to much that goes wrong while it signs in.
_AMBIGUOUS = {250001, 290404, 390201}
# A sign-in that is refused for one of these passing reasons is retried; no other is.
_PASSING = {603, 604, 605, 610, 625, 300002, 300005}
# Patterns of messages in lower case, without what is in quotes. The first that is found counts.
_SAID = (
    (r"incorrect username or password", _CREDENTIALS),
    (r"verify the account name is correct|login-request", _ACCOUNT),
    (r"\bparameter\b", _PARAMETER),
    (r"requested warehouse does not exist", _WAREHOUSE),
    (r"network policy|\bip\b.* not allowed|is not allowed to access snowflake", _NETWORK_POLICY),
    (r"authentication (policy|method)|client (type|application)\b.* not (allowed|permitted)", _METHOD),
    (r"\bjwt\b|\bpublic key\b|\bkey pair\b", _KEY),
    (r"multi-?factor|\bmfa\b|\btotp\b|\bduo\b|passcode|second factor", _SECOND_FACTOR),
    (r"\bpassword\b.*(expired|chang|reset)|(expired|chang|reset).*\bpassword\b", _PASSWORD),
    (r"\btoken\b", _TOKEN),
    (r"\brole\b", _ROLE),
    (r"does not exist or not authorized", _PLACE),
    (r"(?<!user )\baccount\b.*\b(suspended|deleted|closed|terminated|expired|locked|disabled)", _CLOSED),
    (r"payment|\btrial\b", _CLOSED),
    (r"\b(user|login)\b.*\b(disabled|locked|deactivated|suspended)\b", _LOCKED),
)
# Of the library that reads key files, without a code: no key, or a passphrase that is wrong, missing or one too many.
_OF_KEY_FILES = re.compile(
    "unable to load pem file|could not decrypt key|password was (not )?given but private key is (not )?encrypted"
)
_NAMES = re.compile(r"'[^']*'|\"[^\"]*\"|(?<=connect to db: )\S+")


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

    def translated(self, error: BaseException, account: Account) -> FluxError:
        """Return SourceError when one table's source is at fault, WarehouseError otherwise."""
        # The connector wraps errors after which a person would sign in again.
        wrapped = getattr(error, "cause", None)
        error = wrapped if isinstance(wrapped, BaseException) else error
        fault = _BUSY if isinstance(error, GivenUpError) else _fault_of(error, self)
        # The connector fails by itself at an answer without code or message, or of another shape.
        unexplained = self.signs_in and isinstance(error, KeyError | TypeError | AttributeError)
        return _error(fault, "it does not say why" if unexplained else reported(error, 300), account, self)

    def unfinished(self, account: Account) -> FluxError:
        """Return the error of a sign-in that needs something that only a person can do."""
        return _error(_PASSWORD, "it signs the user in only after that, and gave no session", account, self)


def _error(fault: _Fault, message: str, account: Account, subject: Subject) -> FluxError:
    host = account.host or f"{account.account}.snowflakecomputing.com"
    places = {
        "user": account.user,
        "role": account.role or "<role>",
        "the_role": f"role {account.role}" if account.role else "the user's default role",
        "warehouse": account.warehouse or "<warehouse>",
        "account": account.account,
        "host": f"{host}:{account.port}" if account.port else host,
        "object": subject.object or f"{account.database}.{account.schema}",
        "expression": subject.expression,
    }
    problem = f"{fault.problem.format(**places)}: {message}."
    remedy = fault.remedy.format(**places) or "Please report it with the lines of the log around it."
    if fault.of_table and subject.table:
        return SourceError(f"{subject.table}: {problem}", remedy)
    return WarehouseError(problem, remedy, retryable=fault.retryable)


def _fault_of(error: BaseException, subject: Subject) -> _Fault:
    """Return the fault that an exception of the connector, or of the network below it, reports."""
    code = abs(int(getattr(error, "errno", None) or 0))
    if 580000 <= code < 581000:  # the connector adds 290000 to the status of some HTTP errors twice
        code -= 290000
    special = _OF_EXPRESSIONS if subject.expression else _OF_ROWS if subject.reads_rows else {}
    message = bounded(str(error)).lower()
    if code in special or _OF_KEY_FILES.search(message):
        return special.get(code, _PRIVATE_KEY)
    known = FAULTS.get(code)
    # Names apart: those in quotes, and the host after "connect to db".
    words = _NAMES.sub("", message)
    worded = next((fault for pattern, fault in _SAID if re.search(pattern, words)), None)
    if subject.signs_in and not _passes(error, code):
        mistake = known if known is not None and known.remedy and not known.retryable else None
        said = worded if mistake is None or code in _AMBIGUOUS else mistake
        return _CERTIFICATE if _is_a(error, "NonRetryableTlsError") else said or mistake or _REFUSED
    if code in _AMBIGUOUS and worded is not None:
        return worded
    if known is None and (290500 <= code < 290600 or _is_of_network(error)):
        return _BUSY if code else _UNREACHABLE
    return known or _BY_STATE.get(str(getattr(error, "sqlstate", None) or "")[:2], _UNKNOWN)


def _passes(error: BaseException, code: int) -> bool:
    """Return whether a sign-in failed for a passing reason: retrying after any other may lock the user out."""
    status = code - 290000
    if code in _PASSING or status in {408, 429} or 500 <= status < 600 or _is_of_network(error):
        return True
    # The connector could not reach the server; the server's answers are another kind of error.
    return _is_a(error, "OperationalError") and not _is_a(error, "NonRetryableTlsError")


def _is_a(error: BaseException, name: str) -> bool:
    """Return whether the error is of a class of this name: the connector takes three seconds to import."""
    return any(kind.__name__ == name for kind in type(error).__mro__)


def _is_of_network(error: BaseException) -> bool:
    """Return whether the network is at fault: libraries below the connector raise what breaks during a result."""
    modules = [kind.__module__ for kind in type(error).__mro__]
    return isinstance(error, (OSError, EOFError)) or any(
        module.split(".")[0] in {"requests", "urllib3", "http"} or module.startswith("snowflake.connector.vendored")
        for module in modules
    )
