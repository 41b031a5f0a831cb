"""What an examination says.

Here: one finding, and making those of a group. Not here: finding it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flux_assets.errors import FluxError

Outcome = Literal["ok", "note", "warning", "failed"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line: how what was examined is, and what to do when it is not `ok`; below an `ok`, details.

    A note tells of something that is as it should be and surprises people all the same.
    """

    group: str
    outcome: Outcome
    said: str
    remedy: str = ""


@dataclass(frozen=True)
class Group:
    """Makes the findings of one group."""

    name: str

    def ok(self, said: str, details: str = "") -> Finding:
        return Finding(group=self.name, outcome="ok", said=said, remedy=details)

    def note(self, said: str, remedy: str = "") -> Finding:
        return Finding(group=self.name, outcome="note", said=said, remedy=remedy)

    def warning(self, said: str, remedy: str) -> Finding:
        return Finding(group=self.name, outcome="warning", said=said, remedy=remedy)

    def failed(self, said: str, remedy: str) -> Finding:
        return Finding(group=self.name, outcome="failed", said=said, remedy=remedy)

    def error(self, error: FluxError) -> Finding:
        """What a step of ours refused, as it would say it itself."""
        return self.failed(error.problem, error.remedy)
