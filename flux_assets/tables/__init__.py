"""What exists: one module per table, each exporting TABLE, and one per view, exporting VIEW.

A new one is a new module here, or in the folder that FLUX_TABLES names, with a file of SQL beside it where it is
computed, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

from flux_assets.errors import FluxError, SettingError
from flux_assets.settings import load_settings
from flux_assets.spec import Declaration, DynamicTable, StaticTable, View, type_ddl
from flux_assets.spec.assignments import with_assignments


@cache
def declarations() -> tuple[StaticTable | DynamicTable, ...]:
    """Every declared table: layers of a release, computed layers, each after its inputs, and synced tables."""
    found: list[StaticTable | DynamicTable] = [module.TABLE for module in _modules() if hasattr(module, "TABLE")]
    named: dict[str, StaticTable | DynamicTable] = {table.name: table for table in with_assignments(found)}
    inputs = {name: _inputs(table) for name, table in named.items()}
    _refuse_wrong(inputs, (name for name, table in named.items() if isinstance(table, StaticTable)))
    ordered = [named[name] for name in TopologicalSorter(inputs).static_order() if name in named]
    return tuple(sorted(ordered, key=lambda table: (_kind(table), "" if _inputs(table) else table.name)))


def layers() -> tuple[StaticTable, ...]:
    """Every declared layer, also the computed ones."""
    return tuple(table for table in declarations() if isinstance(table, StaticTable))


def static_tables() -> tuple[StaticTable, ...]:
    """The layers that a release has a file of."""
    return tuple(table for table in layers() if not table.computed)


def computed_tables() -> tuple[StaticTable, ...]:
    """The layers that are computed from others, each after its inputs."""
    return tuple(table for table in layers() if table.computed)


@cache
def views() -> tuple[View, ...]:
    """The declared views, each after those that it reads."""
    named = {module.VIEW.name: module.VIEW for module in _modules() if hasattr(module, "VIEW")}
    inputs = {name: view.inputs for name, view in named.items()}
    _refuse_wrong(inputs, [*named, *(table.name for table in declarations())])
    order = TopologicalSorter(inputs).static_order()
    return tuple(named[name] for name in order if name in named)


def following(names: Iterable[str]) -> list[str]:
    """Return what is computed from these tables, or reads them, each after its inputs."""
    reached = set(names)
    found = []
    declared: list[StaticTable | View] = [*computed_tables(), *views()]
    for each in declared:
        inputs = each.inputs if isinstance(each, View) else _inputs(each)
        if each.name not in reached and reached & set(inputs):
            reached.add(each.name)
            found.append(each.name)
    return found


def dynamic_tables() -> tuple[DynamicTable, ...]:
    """The declared synced tables."""
    return tuple(table for table in declarations() if isinstance(table, DynamicTable))


def grounds() -> tuple[StaticTable, ...]:
    """The layers that lie behind the previews of others, the first lowest: areas below lines."""
    return tuple(sorted((table for table in static_tables() if table.ground), key=_is_linear))


def declared_in(table: Declaration | View) -> Path | None:
    """The file that declares a table; None for one that is not declared here."""
    for module in _modules():
        declared = module.VIEW if hasattr(module, "VIEW") else module.TABLE
        if declared is table or getattr(declared, "table", None) is getattr(table, "table", table):
            return Path(str(module.__file__))
    return None


def _modules() -> tuple[ModuleType, ...]:
    with suppress(SettingError):  # which the command and doctor report
        folder = load_settings().flux_tables
        if folder and str(folder) not in __path__:
            ours, theirs = ({module.name for module in iter_modules(path)} for path in (__path__, [str(folder)]))
            if taken := ", ".join(sorted(ours & theirs)):
                raise FluxError(f"{folder} declares {taken}, as flux_assets does.", "Rename its files.")
            __path__.append(str(folder))
    return _imported(tuple(__path__))


@cache
def _imported(folders: Sequence[str]) -> tuple[ModuleType, ...]:
    return tuple(_declaring(module.name) for module in iter_modules(folders))


def _declaring(name: str) -> ModuleType:
    """Import a module. Raises FluxError, which names its folder, when it declares nothing or fails."""
    file = next(path for path in (Path(folder, f"{name}.py") for folder in __path__) if path.exists())
    remedy = "Fix the file, or remove it: a declaration exports TABLE or VIEW."
    try:
        module = import_module(f"{__name__}.{name}")
    except Exception as error:
        raise FluxError(f"{file} declares no table: {type(error).__name__}: {error}.", remedy) from error
    if not (hasattr(module, "TABLE") or hasattr(module, "VIEW")):
        raise FluxError(f"{file} declares no table and no view.", remedy)
    return module


def _refuse_wrong(inputs: Mapping[str, Sequence[str]], known: Iterable[str]) -> None:
    there = set(known)
    for name, needed in inputs.items():
        if unknown := sorted(set(needed) - there):
            raise FluxError(
                f"{name} is made from {', '.join(unknown)}, which no file declares.",
                "Correct `inputs` in its declaration: names of layers, and for a view of other views.",
            )
    try:
        TopologicalSorter(inputs).prepare()
    except CycleError as error:
        raise FluxError(
            f"{' is made from '.join(reversed(error.args[1]))}.", "Correct `inputs` in one of the declarations."
        ) from None


def _inputs(table: Declaration) -> tuple[str, ...]:
    return table.computed.inputs if isinstance(table, StaticTable) and table.computed else ()


def _kind(table: Declaration) -> int:
    return 2 if isinstance(table, DynamicTable) else int(bool(_inputs(table)))


def _is_linear(table: StaticTable) -> bool:
    return any("line" in type_ddl(column) for column in table.spatial_columns)
