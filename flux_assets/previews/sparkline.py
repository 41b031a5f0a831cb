"""Rows and durations of the last runs as a line of Markdown with a tiny drawing in it.

Dagster shows Markdown of under 1,000 characters in place and a longer one only behind a click, and every sync records
one: so it is SVG of a few hundred bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from flux_assets.ledger.status import Past

_STEP, _LINE, _BARS, _GAP = 8, 16, 14, 4  # pixels: a sync's width, the heights of line and bars, what lies between


def sparkline(past: Sequence[Past]) -> str | None:
    """Draw the rows over bars of the durations, failures red, with ranges in words; None for fewer than two runs."""
    if len(past) < 2:
        return None
    rows, seconds = [each.rows for each in past], [each.seconds for each in past]
    width, height = _STEP * len(past), _LINE + _GAP + _BARS
    paths = _path(_line(rows), "#2a7fb8", 1.5, " fill='none'")
    paths += _path(_bars(past, failed=False), "#b8b2a7", _STEP - 3)
    paths += _path(_bars(past, failed=True), "#d62728", _STEP - 3)
    svg = f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}'>{paths}</svg>"
    counts = f"{min(rows):,} to {max(rows):,} rows, " if min(rows) < max(rows) else ""
    failed = sum(each.failed for each in past)
    ranges = f"{counts}{min(seconds):.1f} to {max(seconds):.1f} s{f', {failed} failed' if failed else ''}"
    last = f"last {len(past)}"
    return f"![{last}](data:image/svg+xml,{quote(svg, safe='/:=,.-')})  \n{last}: {ranges}"


def _path(moves: str, colour: str, width: float, fill: str = "") -> str:
    return f"<path d='{moves}' stroke='{colour}' stroke-width='{width}'{fill}/>" if moves else ""


def _line(rows: Sequence[int]) -> str:
    """Return a path of the rows after each run, between the fewest and the most; level where they never changed."""
    least, most = min(rows), max(rows)
    shares = [(most - each) / (most - least) if most > least else 0.5 for each in rows]
    return "M" + "L".join(f"{_middle(at)},{round(1 + (_LINE - 2) * share)}" for at, share in enumerate(shares))


def _bars(past: Sequence[Past], *, failed: bool) -> str:
    """Return a path of the durations; failures at full height, since a failure is quick and would not be seen."""
    longest = max(each.seconds for each in past) or 1.0
    kept = [(at, 1.0 if failed else each.seconds / longest) for at, each in enumerate(past) if each.failed is failed]
    return "".join(f"M{_middle(at)},{_LINE + _GAP + _BARS}v-{max(1, round(_BARS * share))}" for at, share in kept)


def _middle(at: int) -> int:
    return at * _STEP + _STEP // 2
