"""Sizes and spans of time in words, for messages, the command line and checks."""

from __future__ import annotations

from flux_assets.errors import counted

_DAY, _HOUR, _MINUTE = 86_400, 3_600, 60


def in_words(seconds: float) -> str:
    """Write an age: `just now`, `5 minutes ago`, `2 days ago`; postgres_sync.in_words writes the same."""
    for size, unit in ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute")):
        if (count := int(seconds // size)) >= 1:
            return f"{counted(count, unit)} ago"
    return "just now"


def brief_span(seconds: float | None, suffix: str = "") -> str | None:
    """Write a span of time in few letters: `40 s`, `5 min`, `3 h`, `12 d`."""
    if seconds is None:
        return None
    spans = ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min"))
    size, unit = next(((size, unit) for size, unit in spans if seconds >= size), (1, "s"))
    return f"{max(0, int(seconds // size))} {unit}{suffix}"


def size(count: int | None) -> str | None:
    """Write bytes with the unit that fits: `12 B`, `1.2 MB`."""
    if count is None:
        return None
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def megabytes(count: float, decimals: int = 0) -> str:
    """Write bytes as megabytes, so that amounts in one message compare: `1,234 MB`."""
    return f"{count / 1e6:,.{decimals}f} MB"
