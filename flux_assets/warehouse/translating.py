"""Exceptions of the connector as errors of ours, by what they are and by what was asked when they were met.

Here: Subject, and the translation. Not here: the codes, sentences and remedies (faults.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from flux_assets.errors import FluxError, SourceError, WarehouseError, bounded, reported
from flux_assets.warehouse.account import Account
from flux_assets.warehouse.deadline import GivenUpError
from flux_assets.warehouse.faults import (
    BUSY,
    BY_STATE,
    FAULTS,
    OF_EXPRESSIONS,
    OF_KEY_FILES,
    OF_ROWS,
    PRIVATE_KEY,
    SAID,
    UNKNOWN,
    UNREACHABLE,
    UNTOLD,
    Fault,
    Kind,
)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a statement was about: its table, the source object, the configured expression that it compiles, or that it
    reads rows of an object whose columns were told a moment before."""

    table: str = ""
    object: str = ""
    expression: str = ""
    reads_rows: bool = False


NOTHING = Subject()
_LONGEST = 300


def fault_of(error: BaseException, subject: Subject = NOTHING) -> Fault:
    """What kind of fault an exception of the connector is, or of the network below it."""
    code = _code(error)
    special = OF_EXPRESSIONS if subject.expression else OF_ROWS if subject.reads_rows else {}
    if code in special:
        return special[code]
    said = bounded(str(error)).lower()
    if code in UNTOLD:
        for words, fault in SAID:
            if words in said:
                return fault
    if code in FAULTS:
        return FAULTS[code]
    if any(words in said for words in OF_KEY_FILES):
        return PRIVATE_KEY
    if 290500 <= code < 290600 or _of_network(error):
        return BUSY if code else UNREACHABLE
    state = str(getattr(error, "sqlstate", None) or "")
    return BY_STATE.get(state[:2], UNKNOWN)


def translated(error: BaseException, account: Account, subject: Subject = NOTHING) -> FluxError:
    """The error of ours: SourceError when one table's source is at fault, WarehouseError otherwise."""
    fault = BUSY if isinstance(error, GivenUpError) else fault_of(error, subject)
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
    problem = f"{fault.problem.format(**places)}: {reported(error, _LONGEST)}."
    cure = fault.remedy.format(**places) or "Please report it with the lines of the log around it."
    if fault.kind is not Kind.RETRY and fault.of_table and subject.table:
        return SourceError(f"{subject.table}: {problem}", cure)
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
