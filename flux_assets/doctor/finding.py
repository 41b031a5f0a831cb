"""What an examination says.

Here: one finding. Not here: finding it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["ok", "note", "warning", "failed"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line: what was examined, how it is, and what to do when it is not `ok`.

    A note tells of something that is as it should be and surprises people all the same.
    """

    group: str
    outcome: Outcome
    said: str
    remedy: str = ""
