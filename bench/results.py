"""What the benchmarks found, on the console, as JSON and as Markdown.

Here: tables and goals, and writing them. Not here: measuring.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A figure that was aimed at, and what came out."""

    claim: str
    wanted: str
    measured: str
    met: bool


@dataclass(frozen=True, kw_only=True)
class Section:
    """One experiment: a table of its own, the goals it speaks to, and every single value for the JSON."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    goals: Sequence[Goal] = ()
    notes: Sequence[str] = ()
    values: Mapping[str, object] = field(default_factory=dict)


def show(section: Section, console: Console) -> None:
    """Print one experiment."""
    _print(console, section.title, section.columns, section.rows)
    for note in section.notes:
        console.print(f"  {note}", highlight=False)


def finish(sections: Sequence[Section], facts: Mapping[str, str], console: Console, name: str) -> None:
    """Print the goals together, and write everything under bench/results/."""
    goals = [goal for section in sections for goal in section.goals]
    _print(console, "Goals", *_goal_table(goals))
    RESULTS.mkdir(exist_ok=True)
    stored = {"machine": dict(facts), "sections": [asdict(section) for section in sections]}
    (RESULTS / f"{name}.json").write_text(json.dumps(stored, indent=1, default=str) + "\n")
    (RESULTS / f"{name}.md").write_text(_markdown(sections, goals, facts))
    console.print(f"written: {RESULTS / name}.json and .md", highlight=False)


def _goal_table(goals: Sequence[Goal]) -> tuple[list[str], list[list[str]]]:
    rows = [[goal.claim, goal.wanted, goal.measured, "yes" if goal.met else "NO"] for goal in goals]
    return ["what", "goal", "measured", "met"], rows


def _markdown(sections: Sequence[Section], goals: Sequence[Goal], facts: Mapping[str, str]) -> str:
    parts = ["# Benchmarks", "", *(f"- {name}: {value}" for name, value in facts.items()), "", "## Goals", ""]
    parts += _markdown_table(*_goal_table(goals))
    for section in sections:
        parts += ["", f"## {section.title}", "", *_markdown_table(section.columns, section.rows), ""]
        parts += [f"- {note}" for note in section.notes]
    return "\n".join(parts) + "\n"


def _markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [_row(columns), _row(["---"] * len(columns)), *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _print(console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*row)
    console.print(table)
