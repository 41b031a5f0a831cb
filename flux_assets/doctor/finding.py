"""What the examination of one thing found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import psycopg

from flux_assets.errors import FluxError, reported

_Outcome = Literal["ok", "note", "warning", "failed"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The outcome of one test, and what to do where it is not `ok`; the remedy of an `ok` holds details.

    A `note` points out something that is correct and may surprise people.
    """

    group: str
    outcome: _Outcome
    message: str
    remedy: str = ""


@dataclass(frozen=True)
class Group:
    """Creates the findings of one group."""

    name: str

    def ok(self, message: str, details: str = "") -> Finding:
        return Finding(group=self.name, outcome="ok", message=message, remedy=details)

    def note(self, message: str, remedy: str = "") -> Finding:
        return Finding(group=self.name, outcome="note", message=message, remedy=remedy)

    def warning(self, message: str, remedy: str) -> Finding:
        return Finding(group=self.name, outcome="warning", message=message, remedy=remedy)

    def failed(self, message: str, remedy: str) -> Finding:
        return Finding(group=self.name, outcome="failed", message=message, remedy=remedy)

    def error(self, error: FluxError) -> Finding:
        """Return the error that a load or sync would raise as a failed finding."""
        return self.failed(error.problem, error.remedy)


def examined(*parts: Iterable[Finding]) -> Iterator[Finding]:
    """Yield the findings of each part; where PostgreSQL refuses one, the others are not prevented."""
    for part in parts:
        try:
            yield from part
        except psycopg.Error as error:
            yield Group("Rights").failed(
                f"PostgreSQL refused the examination: {reported(error)}",
                "Grant the right that it names, and run doctor again.",
            )
