"""The cause in an error's message: the sentence, the remedy, and what stays the same from table to table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from flux_assets.errors import bounded

_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z`\"'])")
_CLAUSE = re.compile(r"[:;(,]\s|\.$")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`")
_NUMBER = re.compile(r"\b(?:[0-9a-f]{8}-[0-9a-f-]{27}|0x[0-9a-f]+|[0-9a-f]{12,}|\d[\d,.:]*)\b", re.IGNORECASE)
_LONGEST = 600
NO_REASON = "No reason was given."


@dataclass(frozen=True, kw_only=True)
class _ErrorCause:
    """An error taken apart. `head` is its cause without tables, values and numbers; `whole` says more of it."""

    problem: str
    remedy: str
    head: str
    whole: str


def cause_of(message: str | None, tables: Sequence[str]) -> _ErrorCause:
    """Take an error's message apart; `tables` are all names that could occur in it."""
    text = " ".join(bounded(message or NO_REASON).split())
    problem, *rest = _END.split(text, maxsplit=1)
    whole = _general(problem, tables)
    head = _CLAUSE.split(whole, maxsplit=1)[0]
    return _ErrorCause(problem=_cut(problem), remedy=_cut(rest[0] if rest else ""), head=head, whole=whole)


def _general(sentence: str, tables: Sequence[str]) -> str:
    """Return the text without what differs between tables and ticks though the cause is one."""
    named = "|".join(sorted(map(re.escape, tables), key=len, reverse=True)) or "(?!)"
    # `work_orders: …`, `public.work_orders: …` and `…/work_orders.csv.gz: …` begin with what the rest is about.
    text = re.sub(rf"^\S*\b(?:{named})\b\S*:\s+", "", sentence)
    text = re.sub(rf"\b(?:{named})\b", "<table>", text)
    return _NUMBER.sub("#", _QUOTED.sub("'…'", text))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
