"""Every error a user of flux_assets can meet, each of one sentence and a remedy, and of a bounded length.

Here: the hierarchy and how a message is put together. Not here: deciding that something is wrong
(the module that finds it) and catching (cli.py for the terminal, orchestration/assets.py for a Dagster run).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# Characters of a whole message, and of what another program reports within one. A server repeats the value that it
# refuses, however long it is, and messages are stored, sent and printed.
LONGEST_MESSAGE, LONGEST_REPORT = 8_000, 600
_LONGEST_REMEDY = 2_000
# A word, such as a connection string with its password, is left out whole rather than cut where that costs no more.
_LONGEST_WORD = 200


class FluxError(Exception):
    """Something the user can fix: what is wrong, and what to do about it. Longer texts than a message's are cut."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        self.problem = bounded(problem, LONGEST_MESSAGE - _LONGEST_REMEDY - 1)
        self.remedy = bounded(remedy, _LONGEST_REMEDY)
        super().__init__(f"{self.problem} {self.remedy}".strip())


class SettingError(FluxError):
    """A setting is missing, malformed, or not allowed together with another."""


class ReleaseError(FluxError):
    """A release, or one of its files, cannot be had or is not what it should be."""


class ManifestError(ReleaseError):
    """The manifest is malformed, or a file does not match what it says."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where in a release file something is: line 1 is the header, record 1 the first row after it."""

    file: str
    line: int | None = None
    record: int | None = None
    column: str | None = None
    value: str | None = None

    def __str__(self) -> str:
        parts = [self.file]
        if self.line is not None:
            parts.append(f"line {self.line}")
        elif self.record is not None:
            parts.append(f"record {self.record}")
        if self.column is not None:
            parts.append(f"column {self.column}")
        if self.value is not None:
            parts.append(f"value {abbreviated(self.value)}")
        return ", ".join(parts)


class RecordError(ReleaseError):
    """One value, record or header of a release file is not acceptable; `place` says where."""

    def __init__(self, place: Place, problem: str, remedy: str = "") -> None:
        self.place = place
        super().__init__(f"{place}: {problem}", remedy)


class QuarantineError(ReleaseError):
    """More records of a release file are refused than may go into quarantine."""


class TargetError(FluxError):
    """The target database cannot be used: unreachable, refused, too old, without PostGIS or rights."""


class LayerError(FluxError):
    """A layer's load stopped; what was published before is still published."""


class SchemaChangeError(LayerError):
    """The declaration and the public table differ in a way that only the user can decide."""


class AuditError(LayerError):
    """A blocking audit failed; the staged version is kept for inspection and was not published.

    `audits` are the results of all audits (checks.audit.AuditResult), so that they can be shown.
    """

    def __init__(self, problem: str, remedy: str, audits: Sequence[Any]) -> None:
        self.audits = tuple(audits)
        super().__init__(problem, remedy)


class PublishError(LayerError):
    """The audited version could not be published now; the next run publishes it without loading."""


class PinnedError(LayerError):
    """The layer is pinned to another version; nothing was published."""


class BusyError(LayerError):
    """Another process is loading the same layer."""


class SyncError(FluxError):
    """One dynamic table could not be synced; it is as it was before.

    `audits` are results of audits (checks.audit.AuditResult) that led to it, where any did.
    """

    def __init__(self, problem: str, remedy: str = "", audits: Sequence[Any] = ()) -> None:
        self.audits = tuple(audits)
        super().__init__(problem, remedy)


class WarehouseError(FluxError):
    """Snowflake cannot be used: sign-in, session, network or a statement that is refused for all tables alike.

    `retryable` says that the same may work when it is tried again, on a new session.
    """

    def __init__(self, problem: str, remedy: str = "", *, retryable: bool = False) -> None:
        self.retryable = retryable
        super().__init__(problem, remedy)


class SourceError(FluxError):
    """One table's source cannot be used as it is: object, column, type or value; other tables can go on."""


class AlertError(FluxError):
    """A message did not arrive; it is sent again. `unreachable` says that the receiver did not answer at all."""

    def __init__(self, problem: str, remedy: str = "", *, unreachable: bool = False) -> None:
        self.unreachable = unreachable
        super().__init__(problem, remedy)


class EmbeddedError(FluxError):
    """The embedded PostGIS or stand-in could not be found, made or started."""


def plainly(value: str, limit: int = 80) -> str:
    """A short value as it is; one that would not show, or not on one line, or in whole, as `abbreviated` has it."""
    shows = value.isprintable() and value == value.strip() and 0 < len(value) <= limit
    return value if shows else abbreviated(value, limit)


def abbreviated(value: str, limit: int = 80) -> str:
    """A value as shown in a message: quoted, on one line, long ones cut with their length."""
    shown = repr(value[:limit])
    return shown if len(value) <= limit else f"{shown}… ({len(value)} characters)"


def bounded(text: str, limit: int = LONGEST_MESSAGE) -> str:
    """The text; of one longer than `limit` its beginning and its end, with how much is left out between them."""
    if len(text) <= limit:
        return text
    gap = f" … ({len(text):,} characters in all) … "
    room = max(limit - len(gap), 0)
    head, tail = text[: room - room // 4], text[len(text) - room // 4 :]
    if (space := head.rfind(" ", -_LONGEST_WORD)) > 0:
        head = head[:space]
    if (space := tail.find(" ", 0, _LONGEST_WORD)) >= 0:
        tail = tail[space + 1 :]
    return f"{head}{gap}{tail}"


def counted(count: int, noun: str) -> str:
    """Write a number with its noun: 1 record, 2,000 records."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def reported(error: object, limit: int = LONGEST_REPORT) -> str:
    """What an exception of another library says: on one line, bounded, without the full stop."""
    # No more is split into words than can be shown: one report had 15 million characters.
    return bounded(" ".join(bounded(str(error)).split()).rstrip("."), limit)
