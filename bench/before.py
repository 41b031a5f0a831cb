"""`python -m bench.before COMMIT`: the benchmarks of an earlier commit and of this tree, in turn, on one machine.

Each commit runs its own `bench`, as a command in a tree of its own, so that neither needs the other's modules; they
meet in the JSON that both write. Medians of everything that both timed are compared. What neither changed, such as the
published way, is the control: its ratio says how far the machine itself wandered.
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
    found: dict[str, dict[str, list[float]]] = {side: defaultdict(list) for side in (BEFORE, NOW)}
    with tempfile.TemporaryDirectory(prefix="flux-before-") as folder:
        tree = Path(folder) / "tree"
        _git("worktree", "add", "--quiet", "--detach", str(tree), commit)
        try:
            for number in range(rounds):
                for side, place in ((BEFORE, tree), (NOW, HERE)):
                    click.echo(f"round {number + 1} of {rounds}, {side} …")
                    for section in _results(place, arguments)["sections"]:
                        for name, seconds in _timed(section["values"]):
                            found[side][name] += seconds
        finally:
            _git("worktree", "remove", "--force", str(tree))
    table = Table("what", "values", BEFORE, NOW, f"{NOW} / {BEFORE}", title=f"Medians; below 1, {NOW} is less")
    for name, before in found[BEFORE].items():
        if not (now := found[NOW].get(name)):
            continue
        old, new = median(before), median(now)
        ratio = f"{new / old:.3f}" if old else "-"
        table.add_row(name, f"{len(before)} + {len(now)}", f"{old:.4f}", f"{new:.4f}", ratio)
    Console(width=None if Console().is_terminal else 160).print(table)


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


def _timed(values: Any, *path: str) -> Iterator[tuple[str, list[float]]]:
    """Every list of numbers or of timed runs, by where it is."""
    if isinstance(values, dict):
        for name, inner in values.items():
            yield from _timed(inner, *path, name)
    elif isinstance(values, list) and values:
        found = [value.get("seconds") if isinstance(value, dict) else value for value in values]
        if all(isinstance(value, int | float) for value in found):
            yield ", ".join(path), found


if __name__ == "__main__":
    main()
