"""Print the figures of how the code is laid out, each beside the most that it may be: `make house`.

The figures of the code come from its text; how many files one publish and one sync enter is traced over a load and a
sync of the sample city, in a database of the script's own.
"""

from __future__ import annotations

import ast
import os
import re
import sys
import tempfile
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "flux_assets"
SAMPLE = PACKAGE / "sample"
BENCH = ROOT / "bench"
# Folders that may be as large as what they describe: a module a table, a module a part of the city.
LARGE_ON_PURPOSE = {PACKAGE / "tables", SAMPLE / "city"}
DOOR = "dagster_internals"


@dataclass(frozen=True)
class Figure:
    """One measure, and the most that it may be."""

    what: str
    value: int
    at_most: int
    where: str = ""


@dataclass(frozen=True)
class Module:
    """One module of the package: its dotted name, its file, its text and its tree."""

    name: str
    path: Path
    text: str
    tree: ast.Module


def modules() -> list[Module]:
    """Return every module of the package."""
    return [_module(path) for path in sorted(PACKAGE.rglob("*.py"))]


def static_figures() -> list[Figure]:
    """Return what can be counted in the text of the package."""
    every = modules()
    ours = [module for module in every if SAMPLE not in module.path.parents]
    folders = Counter(module.path.parent for module in every if module.path.parent not in LARGE_ON_PURPOSE)
    folder, largest = folders.most_common(1)[0]
    cycles = import_cycles(every)
    private = {module.name: count for module in every if (count := _private_imports(module.tree))}
    return [
        Figure("modules in the largest folder", largest, 16, str(folder.relative_to(ROOT))),
        Figure("public top-level names outside the sample", sum(len(public_names(m.tree)) for m in ours), 541),
        Figure("lines of the package outside the sample", sum(len(m.text.splitlines()) for m in ours), 20_000),
        Figure("lines of module headers outside the sample", sum(_header_lines(m.tree) for m in ours), 450),
        Figure("imports of dagster._*", sum(private.values()), 20),
        Figure("files that import dagster._*", len(private), 3, ", ".join(private)),
        Figure("import cycles", len(cycles), 0, "; ".join(" <-> ".join(sorted(cycle)) for cycle in cycles)),
        Figure("# fmt: skip in the package", _counted(every, r"# fmt: (skip|off)"), 20),
        Figure("# noqa in the package", _counted(every, r"# noqa"), 30),
        Figure("# type: ignore in the package", _counted(every, r"# type: ignore"), 15),
        Figure("lines of bench/", sum(len(path.read_text().splitlines()) for path in BENCH.glob("*.py")), 2_200),
    ]


def public_names(tree: ast.Module) -> list[str]:
    """Return the names that a module defines at its top level and that do not begin with an underscore."""
    names = []
    for node in tree.body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names.append(node.name)
            case ast.Assign():
                bound = (each for target in node.targets for each in ast.walk(target))
                names += [each.id for each in bound if isinstance(each, ast.Name)]
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.append(name)
    return [name for name in dict.fromkeys(names) if not name.startswith("_")]


def import_cycles(every: list[Module]) -> list[set[str]]:
    """Return the sets of modules that import each other, imports within functions counted too."""
    return [group for group in _strongly_connected(imports_of(every)) if len(group) > 1]


def imports_of(every: list[Module]) -> dict[str, set[str]]:
    """Return the modules of the package that each imports, at its top or within a function."""
    known = {module.name for module in every}
    return {module.name: set(_imported(module, known)) for module in every}


def traced_figures() -> list[Figure]:
    """Return how many files one publish and one sync enter, of a database and a stand-in of their own."""
    with tempfile.TemporaryDirectory(prefix="house-") as home:
        os.environ |= {"FLUX_HOME": home, "FLUX_ENV_FILE": ""}
        from flux_assets.sample.cluster import Cluster
        from flux_assets.sample.stand_in.server import StandIn

        try:
            return [
                Figure("files entered by one publish", len(files := _publish()), 28, ", ".join(files)),
                Figure("files entered by one sync", len(files := _sync()), 24, ", ".join(files)),
            ]
        finally:
            StandIn(Path(home)).stop()
            Cluster(Path(home)).stop()


def _publish() -> list[str]:
    from flux_assets.layers.context import LoadOptions
    from flux_assets.layers.load import load_layer
    from flux_assets.settings import load_settings
    from flux_assets.tables import static_tables
    from flux_assets.wiring.source import layer_release
    from flux_assets.wiring.target import postgis_target

    settings = load_settings()
    target, release = postgis_target(settings), layer_release(settings)
    table = next(table for table in static_tables() if table.name == "substations")
    load_layer(table, release, target, LoadOptions(), _ignore)
    return _entered(lambda: load_layer(table, release, target, LoadOptions(force=True), _ignore))


def _sync() -> list[str]:
    from datetime import timedelta
    from functools import partial

    from flux_assets.settings import load_settings
    from flux_assets.snowflake.overrides import Overrides
    from flux_assets.snowflake.source import Source
    from flux_assets.sync.result import SyncOptions
    from flux_assets.sync.sync import sync_tables
    from flux_assets.sync.table import Family
    from flux_assets.tables import dynamic_tables
    from flux_assets.wiring.source import simulation_of, snowflake_account
    from flux_assets.wiring.target import postgis_target

    settings = load_settings()
    target, account = postgis_target(settings), snowflake_account(settings)
    family = Family(tables=dynamic_tables())
    source = partial(Source.open, account, Overrides(), log=_ignore)

    def sync() -> None:
        done = sync_tables({table.name for table in family.tables}, family, source, target, SyncOptions(), _ignore)
        if failed := [result.error for result in done.tables if result.error]:
            raise RuntimeError(f"the sync failed: {failed[0]}")

    sync()
    simulation_of(settings).tick(timedelta(minutes=30), storm=True)
    return _entered(sync)


def _entered(work: Callable[[], object]) -> list[str]:
    """Return the files of the package whose functions are called by `work`, on any thread."""
    seen: set[str] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            seen.add(frame.f_code.co_filename)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    inside = (Path(file) for file in seen if Path(file).is_relative_to(PACKAGE))
    return sorted(
        str(path.relative_to(PACKAGE)) for path in inside if not {SAMPLE, PACKAGE / "tables"} & set(path.parents)
    )


def _ignore(_: str) -> None:
    """Drop a line of a load's log."""


def _module(path: Path) -> Module:
    text = path.read_text(encoding="utf-8")
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    return Module(name, path, text, ast.parse(text))


def _header_lines(tree: ast.Module) -> int:
    header = ast.get_docstring(tree, clean=False)
    return len(header.splitlines()) if header else 0


def _private_imports(tree: ast.Module) -> int:
    named = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    named += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    return sum(bool(re.match(r"dagster\w*(\.\w+)*\._", name)) for name in named)


def _counted(every: list[Module], pattern: str) -> int:
    return sum(len(re.findall(pattern, module.text)) for module in every)


def _imported(module: Module, known: set[str]) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield from ({whole} if whole in known else {node.module} & known)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)


def _strongly_connected(graph: dict[str, set[str]]) -> list[set[str]]:
    """Return the strongly connected components (Kosaraju)."""
    backwards: dict[str, set[str]] = defaultdict(set)
    for start, ends in graph.items():
        for end in ends:
            backwards[end].add(start)
    order: list[str] = []
    _visit(graph, graph, order)
    groups: list[set[str]] = []
    done: set[str] = set()
    for name in reversed(order):
        if name not in done:
            group: list[str] = []
            _visit([name], backwards, group, done)
            groups.append(set(group))
    return groups


def _visit(starts: object, graph: dict[str, set[str]], order: list[str], done: set[str] | None = None) -> None:
    """Append names to `order` as the search leaves them, each once."""
    done = set() if done is None else done
    for start in list(starts):  # type: ignore[call-overload]
        stack = [(start, iter(graph.get(start, ())))] if start not in done else []
        done.add(start)
        while stack:
            name, ends = stack[-1]
            following = next((end for end in ends if end not in done), None)
            if following is None:
                order.append(name)
                stack.pop()
            else:
                done.add(following)
                stack.append((following, iter(graph.get(following, ()))))


def main() -> None:
    """Print every figure; `--static` leaves out what takes a database."""
    figures = static_figures() + ([] if "--static" in sys.argv else traced_figures())
    width = max(len(figure.what) for figure in figures)
    for figure in figures:
        verdict = "" if figure.value <= figure.at_most else "  too many"
        print(f"{figure.what:<{width}}  {figure.value:>7,}  at most {figure.at_most:>6,}{verdict}")
        if figure.where and (verdict or "--where" in sys.argv):
            print(f"{'':<{width}}  {figure.where}")


if __name__ == "__main__":
    main()
