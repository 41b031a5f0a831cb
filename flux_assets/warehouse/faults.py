"""What the connector and Snowflake report, and what follows from it: try again, tell the user, or a bug of ours.

Here: the table of codes, each with a sentence and a remedy, and the translation into errors of ours. Not here:
trying again (retrying.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from flux_assets.errors import FluxError, SourceError, WarehouseError, abbreviated
from flux_assets.warehouse.account import Account


class Kind(Enum):
    """What can be done about a fault."""

    RETRY = "the same may work when it is tried again, on a new session"
    MISTAKE = "the user has to mend a setting, a right, or the source"
    BUG = "a statement of ours is wrong, or the source is not what we take it for"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A kind of fault: `problem` and `remedy` may hold {user}, {role}, {the_role}, {warehouse}, {account}, {host}
    and {object}.

    `of_table` says that one table's source is at fault, when the statement was about one.
    """

    kind: Kind
    problem: str
    remedy: str = ""
    of_table: bool = False


_GRANTS = "sql/snowflake/grants.sql holds the grants: snow sql -f sql/snowflake/grants.sql -D …"
_AGAIN = "It was tried several times; the next tick tries again. `flux-assets doctor` tests the connection."


def _retry(problem: str) -> Fault:
    return Fault(kind=Kind.RETRY, problem=problem, remedy=_AGAIN)


def _mistake(problem: str, remedy: str, *, of_table: bool = False) -> Fault:
    return Fault(kind=Kind.MISTAKE, problem=problem, remedy=remedy, of_table=of_table)


_UNREACHABLE = _retry("Snowflake at {host} cannot be reached")
_GONE = _retry("The session with Snowflake has ended")
_CUT = _retry("A result of Snowflake arrived incomplete")
_BUSY = _retry("Snowflake did not answer in time, or was busy")
_CREDENTIALS = _mistake(
    "Snowflake refuses the sign-in of user {user} at account {account}",
    "Correct SNOWFLAKE_ACCOUNT, SNOWFLAKE_USER, and SNOWFLAKE_PASSWORD or SNOWFLAKE_PRIVATE_KEY_PATH.",
)
_KEY = _mistake(
    "Snowflake refuses the private key of user {user}",
    "SNOWFLAKE_PRIVATE_KEY_PATH must be the key that belongs to the user: "
    "ALTER USER {user} SET RSA_PUBLIC_KEY = '…'; and the clock of this machine must be right.",
)
_PRIVATE_KEY = _mistake(
    "The private key cannot be used",
    "SNOWFLAKE_PRIVATE_KEY_PATH must name an unencrypted PKCS #8 key, or SNOWFLAKE_PRIVATE_KEY_PASSPHRASE must fit it.",
)
_LOCKED = _mistake(
    "Snowflake does not let user {user} in",
    "Ask an administrator: ALTER USER {user} SET DISABLED = FALSE; or unlock it.",
)
_ROLE = _mistake(
    "User {user} may not take {the_role}, or it does not exist",
    "Correct SNOWFLAKE_ROLE, or run GRANT ROLE {role} TO USER {user};",
)
_WAREHOUSE = _mistake(
    "Snowflake has no warehouse to run the query with",
    "Set SNOWFLAKE_WAREHOUSE, or run GRANT USAGE ON WAREHOUSE {warehouse} TO ROLE {role};",
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
    "Snowflake's network policy does not let this machine in", "Ask an administrator to allow this machine's address."
)
_PLACE = _mistake(
    "Database, schema, warehouse or role of the sign-in does not exist, or user {user} may not use it",
    "Correct SNOWFLAKE_DATABASE, SNOWFLAKE_SCHEMA, SNOWFLAKE_WAREHOUSE or SNOWFLAKE_ROLE. " + _GRANTS,
)
_SUSPENDED = _mistake(
    "Warehouse {warehouse} cannot run queries now",
    "ALTER WAREHOUSE {warehouse} RESUME; or look at its resource monitor.",
)

FAULTS: dict[int, Fault] = {
    # The connector's own: connection.
    250001: _UNREACHABLE,
    250002: _GONE,
    250003: _UNREACHABLE,
    250005: _UNREACHABLE,
    250007: _ACCOUNT,
    251001: _mistake("No Snowflake account is set", "Set SNOWFLAKE_ACCOUNT."),
    251005: _mistake("No Snowflake user is set", "Set SNOWFLAKE_USER."),
    251006: _mistake(
        "No password is set for Snowflake user {user}",
        "Set SNOWFLAKE_PRIVATE_KEY_PATH (key pair, for a service), or SNOWFLAKE_PASSWORD.",
    ),
    251008: _PRIVATE_KEY,
    251009: _ACCOUNT,
    251010: _KEY,
    251011: _UNREACHABLE,
    251012: _BUSY,
    252007: _GONE,
    252010: _CUT,
    252013: _CUT,
    255005: _CUT,
    # The connector's own: HTTP. 290000 + status, other than by a network policy.
    290000: _BUSY,
    290403: _NETWORK_POLICY,
    290401: _GONE,
    290404: _UNREACHABLE,
    **dict.fromkeys((290408, 290429, 290500, 290502, 290503, 290504, 290507, 290508), _BUSY),
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
    605: _retry("Snowflake gave up the query of a session that it took for gone"),
    606: _WAREHOUSE,
    610: _BUSY,
    625: _BUSY,
    630: _TOO_LONG,
    707: _mistake(
        "{object} holds nothing as of that instant", "It was replaced since; the next tick reads it.", of_table=True
    ),
    904: _EXPRESSION,
    1003: Fault(kind=Kind.BUG, problem="Snowflake does not understand the query of {object}", of_table=True),
    2002: Fault(kind=Kind.BUG, problem="Snowflake will not make what exists already"),
    2003: _MISSING,
    2037: _MISSING,
    2043: _MISSING,
    2140: Fault(kind=Kind.BUG, problem="Snowflake does not know a function in the query of {object}", of_table=True),
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
_UNTOLD = {250001, 290404, 390201}
_SAID = (
    ("incorrect username or password", _CREDENTIALS),
    ("verify the account name is correct", _ACCOUNT),
    ("login-request", _ACCOUNT),
    ("jwt token is invalid", _KEY),
    ("requested warehouse does not exist", _WAREHOUSE),
    ("role requested has been explicitly blocked", _ROLE),
    ("role", _ROLE),
    ("does not exist or not authorized", _PLACE),
    ("is disabled", _LOCKED),
    ("temporarily locked", _LOCKED),
    ("is not allowed to access snowflake", _NETWORK_POLICY),
)
# Of the library that reads key files, without a code: no key, or a passphrase that is wrong, missing or one too many.
_OF_KEY_FILES = (
    "unable to load pem file",
    "could not decrypt key",
    "password was not given but private key is encrypted",
    "password was given but private key is not encrypted",
)
_UNKNOWN = Fault(kind=Kind.BUG, problem="Snowflake reports what this program does not know")
_BY_STATE = {"08": _UNREACHABLE, "28": _CREDENTIALS, "42": _EXPRESSION, "22": _EXPRESSION, "57": _BUSY}


def fault_of(error: BaseException) -> Fault:
    """What kind of fault an exception of the connector is, or of the network below it."""
    code = _code(error)
    said = str(error).lower()
    if code in _UNTOLD:
        for words, fault in _SAID:
            if words in said:
                return fault
    if code in FAULTS:
        return FAULTS[code]
    if any(words in said for words in _OF_KEY_FILES):
        return _PRIVATE_KEY
    if 290500 <= code < 290600 or _of_network(error):
        return _BUSY if code else _UNREACHABLE
    state = str(getattr(error, "sqlstate", None) or "")
    return _BY_STATE.get(state[:2], _UNKNOWN)


def translated(
    error: BaseException, account: Account, *, table: str = "", object_: str = "", remedy: str = ""
) -> FluxError:
    """The error of ours: SourceError when one table's source is at fault, WarehouseError otherwise.

    `remedy` is for what would be a bug of ours if the statement were ours alone.
    """
    fault = fault_of(error)
    places = {
        "user": account.user,
        "role": account.role or "<role>",
        "the_role": f"role {account.role}" if account.role else "the user's default role",
        "warehouse": account.warehouse or "<warehouse>",
        "account": account.account,
        "host": _host(account),
        "object": object_ or f"{account.database}.{account.schema}",
    }
    problem = f"{fault.problem.format(**places)}: {_said(error)}."
    cure = fault.remedy.format(**places) or remedy or "Please report it with the lines of the log around it."
    if fault.kind is not Kind.RETRY and fault.of_table and table:
        return SourceError(f"{table}: {problem}", cure)
    return WarehouseError(problem, cure, curable=fault.kind is Kind.RETRY)


def _code(error: BaseException) -> int:
    code = abs(int(getattr(error, "errno", None) or 0))
    # The connector adds 290000 to the status of some HTTP errors twice.
    return code - 290000 if 580000 <= code < 581000 else code


def _of_network(error: BaseException) -> bool:
    """Connections that break while a result is read surface as what the libraries below the connector raise."""
    above = type(error).__mro__
    return isinstance(error, (OSError, EOFError)) or any(
        kind.__module__.split(".")[0] in {"requests", "urllib3", "http"}
        or kind.__module__.startswith("snowflake.connector.vendored")
        for kind in above
    )


def _host(account: Account) -> str:
    host = account.host or f"{account.account}.snowflakecomputing.com"
    return f"{host}:{account.port}" if account.port else host


def _said(error: BaseException) -> str:
    """The report on one line, in a length that one can read, without the full stop."""
    line = " ".join(str(error).split()).rstrip(".")
    return line if len(line) <= 300 else abbreviated(line, 300)
