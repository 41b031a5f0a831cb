"""`python -m bench.before COMMIT`: the benchmarks of an earlier commit and of this tree, in turn, on one machine.

Here: running both and comparing medians of everything that both timed. What neither changed, such as the published way,
is the control: its ratio says how far the machine itself wandered. Not here: the experiments.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import click
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent.parent
BEFORE, NOW = "before", "now"
Times = dict[str, list[float]]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("commit")
@click.argument("arguments", nargs=-1)
@click.option("--rounds", default=3, show_default=True, help="How often each of the two runs, in turn.")
def main(commit: str, arguments: tuple[str, ...], rounds: int) -> None:
    """Compare COMMIT with this tree by the same benchmarks; ARGUMENTS after `--` are those of `python -m bench`.

    \b
    Example:
      python -m bench.before v1.0 --rounds 3 -- --only sync --only publish
    """
    found: dict[str, Times] = {BEFORE: defaultdict(list), NOW: defaultdict(list)}
    with tempfile.TemporaryDirectory(prefix="flux-before-") as folder:
        tree = Path(folder) / "tree"
        _git("worktree", "add", "--quiet", "--detach", str(tree), commit)
        try:
            for number in range(rounds):
                for side, place in ((BEFORE, tree), (NOW, HERE)):
                    click.echo(f"round {number + 1} of {rounds}, {side} …")
                    for name, seconds in _timed(_results(place, arguments)):
                        found[side][name] += seconds
        finally:
            _git("worktree", "remove", "--force", str(tree))
    _show(found)


def _git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=HERE, check=True)


def _results(tree: Path, arguments: tuple[str, ...]) -> Any:
    """What one run of the benchmarks in a tree wrote."""
    results = tree / "bench" / "results"
    standing = _written(results)
    # The tree's own packages come before the installed ones.
    environment = os.environ | {"PYTHONPATH": str(tree)}
    subprocess.run([sys.executable, "-m", "bench", *arguments], cwd=tree, env=environment, check=True)
    ((path, _),) = _written(results) - standing
    return json.loads(path.read_text())


def _written(results: Path) -> set[tuple[Path, int]]:
    """Files with when they were written: two runs of one minute have one name."""
    return {(path, path.stat().st_mtime_ns) for path in results.glob("*.json")}


def _timed(stored: Any) -> Iterator[tuple[str, list[float]]]:
    """Every list of timed runs, by where it stands."""
    for section in stored["sections"]:
        yield from _lists(section["values"], ())


def _lists(values: Any, path: tuple[str, ...]) -> Iterator[tuple[str, list[float]]]:
    if isinstance(values, dict):
        for name, inner in values.items():
            yield from _lists(inner, (*path, name))
    elif isinstance(values, list) and values:
        if all(isinstance(value, int | float) for value in values):
            yield ", ".join(path), values
        elif all(isinstance(value, dict) and "seconds" in value for value in values):
            yield ", ".join(path), [value["seconds"] for value in values]


def _show(found: dict[str, Times]) -> None:
    table = Table(title=f"Medians; below 1, {NOW} is the quicker one")
    for heading in ("what", "values", BEFORE, NOW, f"{NOW} / {BEFORE}"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for name, before in found[BEFORE].items():
        if now := found[NOW].get(name):
            old, new = median(before), median(now)
            ratio = f"{new / old:.3f}" if old else "-"
            table.add_row(name, f"{len(before)} + {len(now)}", f"{old:.4f}", f"{new:.4f}", ratio)
    Console(width=None if Console().is_terminal else 160).print(table)


if __name__ == "__main__":
    main()
