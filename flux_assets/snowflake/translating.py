"""Exceptions of the connector as errors of this package, by what they are and what was asked when they occurred."""

from __future__ import annotations

import re
from dataclasses import dataclass

from flux_assets.errors import FluxError, SourceError, WarehouseError, bounded, reported
from flux_assets.retry import GivenUpError
from flux_assets.snowflake.account import Account
from flux_assets.snowflake.faults import (
    AMBIGUOUS,
    BUSY,
    BY_STATE,
    CERTIFICATE,
    FAULTS,
    OF_EXPRESSIONS,
    OF_KEY_FILES,
    OF_ROWS,
    PASSING,
    PASSWORD,
    PRIVATE_KEY,
    REFUSED,
    SAID,
    UNKNOWN,
    UNREACHABLE,
    Fault,
    Kind,
)


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
