"""What the benchmarks found: tables and goals, on the console, as JSON and as Markdown."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.timing import Runs, Spread

RESULTS = Path(__file__).parent / "results"
_LIMIT = re.compile(r"([≥≤<]?) ?([\d.]+)(.*)")
_JUDGED = {"≥": operator.ge, "≤": operator.le, "<": operator.lt, "": operator.eq}
_GOAL = ("what", "goal", "measured", "met")


Lines = Sequence[Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Section:
    """One experiment: a table, the goals it speaks to as lines of another, and every single value for the JSON."""

    title: str
    columns: Sequence[str]
    rows: Lines
    goals: Lines = ()
    notes: Sequence[str] = ()
    values: Mapping[str, object] = field(default_factory=dict)


def goal(claim: str, wanted: str, found: Spread | float, digits: int = 2, *, worst: bool = False) -> list[str]:
    """Judge a figure by a limit such as `≥ 1.6x`, `< 10 s` or `0`: of a spread its median, or its worst value."""
    parts = _LIMIT.fullmatch(wanted)
    assert parts is not None
    sign, limit, unit = parts.groups()
    value = found if isinstance(found, float | int) else max(found) if worst else found.median
    return [claim, wanted, f"{found:.{digits}f}{unit}", "yes" if _JUDGED[sign](value, float(limit)) else "NO"]


def cells(runs: Runs, name: str, base: str) -> list[str]:
    """A line about one side; each ratio is that of `base` to it."""
    times, quietest = f"{runs.ratio(base, name):.2f}", runs.quietest(base, name)
    return [name, f"{runs.seconds(name):.3f}", times, quietest, runs.cpu(name), f"{runs.wal_mb(name):.3f}"]


def columns(base: str) -> list[str]:
    """What `cells` says."""
    return ["what", "seconds", f"{base} / it", "in the quietest pair", "CPU s, client + servers", "WAL MB"]


def section(
    title: str, runs: Runs, base: str, *, goals: Lines = (), more: Lines = (), notes: Sequence[str] = ()
) -> Section:
    """A section with a line about each side, and `more` lines."""
    return Section(
        title=f"{title}, {len(runs[base])} rounds in turn",
        columns=columns(base),
        rows=[*(cells(runs, name, base) for name in runs), *more],
        goals=goals,
        notes=notes,
        values=runs.values(),
    )


def show(found: Section, console: Console) -> None:
    """Print one experiment."""
    console.print(_table(found.columns, found.rows, found.title))
    for note in found.notes:
        console.print(f"  {note}", highlight=False, markup=False)


def finish(sections: Sequence[Section], facts: Mapping[str, str], console: Console, name: str) -> None:
    """Print the goals together, and write everything under bench/results/."""
    goals = [line for each in sections for line in each.goals]
    console.print(_table(_GOAL, goals, "Goals"))
    RESULTS.mkdir(exist_ok=True)
    stored = {"machine": dict(facts), "sections": [asdict(each) for each in sections]}
    (RESULTS / f"{name}.json").write_text(json.dumps(stored, indent=1, default=str) + "\n")
    with (RESULTS / f"{name}.md").open("w") as file:
        page = Console(file=file, width=10_000)
        page.print("# Benchmarks\n", *(f"- {fact}: {value}" for fact, value in facts.items()), sep="\n")
        for each in [Section(title="Goals", columns=_GOAL, rows=goals), *sections]:
            page.print(f"\n## {each.title}\n", _table(each.columns, each.rows), sep="\n", markup=False)
            page.print("", *(f"- {note}" for note in each.notes), sep="\n", markup=False)
    console.print(f"written: {RESULTS / name}.json and .md", highlight=False)


def _table(names: Sequence[str], rows: Lines, title: str | None = None) -> Table:
    """A table for the console, or without a title for a page of Markdown."""
    table = Table(*names, title=title, title_justify="left", box=box.HEAVY_HEAD if title else box.MARKDOWN)
    for row in rows:
        table.add_row(*map(Text, row))
    return table
