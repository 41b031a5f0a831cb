"""Every error that a user can meet: what is wrong and where, what to do about it, and no longer than a message may be.

FluxError
├── SettingError           a setting is missing or illegal
├── ReleaseError           a release or one of its files is unavailable or fails verification
│   ├── ManifestError      the manifest is malformed, or a file does not match it
│   ├── RecordError        a value, record or header of a file is not acceptable
│   └── QuarantineError    too many records of a file are refused
├── TargetError            the target database cannot be used
├── LayerError             a load stopped; what was published stays published
│   ├── SchemaChangeError  the columns changed in a way that the user has to decide on
│   ├── AuditError         a blocking audit failed; the version is kept and not published
│   ├── PublishError       the audited version could not be published yet
│   ├── PinnedError        the layer is pinned to another version
│   └── BusyError          another process is loading the layer
├── SyncError              a dynamic table could not be synced and is unchanged
├── WarehouseError         Snowflake cannot be used at all
├── SourceError            one source table cannot be used
├── AlertError             an alert, or news of a change, was not delivered
└── EmbeddedError          the embedded PostGIS or the stand-in did not start
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# Characters of a whole message, and of what another program reports within one. A server repeats the value that it
# refuses, however long it is, and messages are stored, sent and printed.
LONGEST_MESSAGE, LONGEST_REPORT = 8_000, 600
_LONGEST_REMEDY, _LONGEST_VALUE = 2_000, 80
# A word, such as a connection string with its password, is left out whole rather than cut where that costs no more.
_LONGEST_WORD = 200


class FluxError(Exception):
    """Something that the user can fix; `problem` and `remedy` are cut to the length of a message.

    `retryable` says that another attempt, on a new session or connection, may succeed.
    """

    retryable = False

    def __init__(self, problem: str, remedy: str = "") -> None:
        self.problem = bounded(problem, LONGEST_MESSAGE - _LONGEST_REMEDY - 1)
        self.remedy = bounded(remedy, _LONGEST_REMEDY)
        super().__init__(f"{self.problem} {self.remedy}".strip())


class SettingError(FluxError):
    """A setting is missing, malformed, or conflicts with another."""


class ReleaseError(FluxError):
    """A release, or one of its files, is unavailable or fails verification."""


class ManifestError(ReleaseError):
    """The manifest is malformed, or a file does not match it."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A place in a release file: line 1 is the header, record 1 the first row after it."""

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
    """A value, record or header of a release file is not acceptable; `place` says where it is."""

    def __init__(self, place: Place, problem: str, remedy: str = "") -> None:
        self.place = place
        super().__init__(f"{place}: {problem}", remedy)

    @property
    def reason(self) -> str:
        """The problem without the place."""
        return self.problem.removeprefix(f"{self.place}: ")


class QuarantineError(ReleaseError):
    """More records of a release file are refused than may go into quarantine."""


class TargetError(FluxError):
    """The target database cannot be used: it is unreachable, refuses us, is too old, or lacks PostGIS or rights."""


class LayerError(FluxError):
    """The load of a layer stopped; what was published before is still published."""


class SchemaChangeError(LayerError):
    """The declaration and the public table differ in a way that the user has to decide on."""


class AuditError(LayerError):
    """A blocking audit failed; the staged version was not published and is kept for inspection.

    `audits` are the results of all audits (checks.audit.AuditResult), for the caller to show.
    """

    def __init__(self, problem: str, remedy: str, audits: Sequence[Any]) -> None:
        self.audits = tuple(audits)
        super().__init__(problem, remedy)


class PublishError(LayerError):
    """The audited version could not be published yet; the next run publishes it without loading it again."""


class PinnedError(LayerError):
    """The layer is pinned to another version; nothing was published."""


class BusyError(LayerError):
    """Another process is loading the same layer."""


class SyncError(FluxError):
    """A dynamic table could not be synced and is unchanged; `audits` are the results (AuditResult) that led to it."""

    def __init__(self, problem: str, remedy: str = "", audits: Sequence[Any] = ()) -> None:
        self.audits = tuple(audits)
        super().__init__(problem, remedy)


class WarehouseError(FluxError):
    """Snowflake cannot be used for any table: sign-in, session, network, or a statement that is refused."""

    def __init__(self, problem: str, remedy: str = "", *, retryable: bool = False) -> None:
        self.retryable = retryable
        super().__init__(problem, remedy)


class SourceError(FluxError):
    """The source of one table cannot be used (object, column, type or value); other tables are synced all the same."""


class AlertError(FluxError):
    """A message was not delivered and is sent again. `unreachable` says that the receiver did not answer at all."""

    def __init__(self, problem: str, remedy: str = "", *, unreachable: bool = False, retryable: bool = False) -> None:
        self.unreachable, self.retryable = unreachable, unreachable or retryable
        super().__init__(problem, remedy)


class EmbeddedError(FluxError):
    """The embedded PostGIS or the stand-in could not be found, created or started."""


def abbreviated(value: str, *, bare: bool = False) -> str:
    """Return a value as a message shows it: quoted, on one line, a long one cut and followed by its length.

    With `bare`, a short printable one is not quoted.
    """
    if len(value) > _LONGEST_VALUE:
        return f"{value[:_LONGEST_VALUE]!r}… ({len(value)} characters)"
    return value if bare and value and value.isprintable() and value == value.strip() else repr(value)


def bounded(text: str, limit: int = LONGEST_MESSAGE) -> str:
    """Return the text; of one longer than `limit` its beginning and end, with the whole length between them."""
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
    """Return a number with its noun: 1 record, 2,000 records."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def reported(error: object, limit: int = LONGEST_REPORT) -> str:
    """Return the text of another library's exception: on one line, bounded, without the full stop."""
    # Bounded before it is split into words: one report was 15 million characters long.
    return bounded(" ".join(bounded(str(error)).split()).rstrip("."), limit)
