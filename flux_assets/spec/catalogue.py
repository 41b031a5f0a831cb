"""Which tables and views there are: declared in modules of folders and packages, less what is left out.

What is wrong with a declaration is said with its file and line.
"""

from __future__ import annotations

import ast
import hashlib
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

from flux_assets.errors import FluxError, SettingError
from flux_assets.spec import Declaration, DeclarationError, DynamicTable, StaticTable, View, type_ddl
from flux_assets.spec.assignments import with_assignments

_Table = StaticTable | DynamicTable
_KINDS = {"TABLE": (StaticTable, DynamicTable), "VIEW": (View,)}
_REMEDY = "Fix the file, or remove it: a declaration exports TABLE or VIEW. Files that begin with _ are passed over."


@dataclass(frozen=True)
class _Declared:
    """A table or view, and the file that declares it."""

    what: _Table | View
    file: Path

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of what it is computed from, or reads."""
        if isinstance(self.what, View):
            return self.what.inputs
        return self.what.computed.inputs if isinstance(self.what, StaticTable) and self.what.computed else ()

    def at(self, argument: str) -> str:
        """Return the file with the line of an argument, else of the declaration."""
        return _place(self.file, _line_of(self.file, argument))

    @staticmethod
    def of_place(place: str) -> Iterator[_Declared]:
        """Yield what a folder, a module, or a package with the packages below it declares.

        Raises FluxError, which names file and line, when one declares nothing or fails.
        """
        if not Path(place).is_absolute():
            yield from _within(_imported(place))
            return
        # A package of our own making, so that its modules may import one another, and none is taken for another's.
        name = f"_flux_tables_{hashlib.sha256(place.encode()).hexdigest()[:12]}"
        package = sys.modules.setdefault(name, ModuleType(name))
        package.__path__ = [place]
        yield from _within(package)


def _within(module: ModuleType) -> Iterator[_Declared]:
    exported = [name for name in _KINDS if hasattr(module, name)]
    if not (exported or hasattr(module, "__path__")):
        raise FluxError(f"{module.__file__} declares no table and no view.", _REMEDY)
    for name in exported:
        file, what = Path(str(module.__file__)), getattr(module, name)
        if not isinstance(what, _KINDS[name]):
            wanted = " or ".join(kind.__name__ for kind in _KINDS[name])
            problem = f"{name} is a {type(what).__name__}, and must be a {wanted}."
            raise FluxError(f"{_place(file, _line_of(file))}: {problem}", _REMEDY)
        yield _Declared(what, file)
    for found in sorted(iter_modules(getattr(module, "__path__", [])), key=lambda found: found.name):
        if not found.name.startswith("_"):
            yield from _within(_imported(f"{module.__name__}.{found.name}"))


def _imported(name: str) -> ModuleType:
    try:
        return import_module(name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            raise SettingError(
                f"Tables are to be declared in {name}, and there is no module {error.name}.",
                "Install its package into this environment, or correct FLUX_TABLES, in which a folder is written with"
                " a slash, such as ./tables.",
            ) from None
        reason = str(error) if isinstance(error, DeclarationError) else f"{type(error).__name__}: {_message(error)}"
        raise FluxError(f"{_failed_at(name, error)}: {reason.rstrip('.')}.", _REMEDY) from error


def _message(error: Exception) -> str:
    return error.msg if isinstance(error, SyntaxError) else str(error)


def _failed_at(name: str, error: Exception) -> str:
    """Return file and line of a module that cannot be imported: the last line that was run of it, or beside it."""
    if isinstance(error, SyntaxError) and error.filename:
        return _place(Path(error.filename), error.lineno)
    parent, _, stem = name.rpartition(".")
    around = {Path(folder).absolute() for folder in (sys.modules[parent].__path__ if parent else sys.path)}
    ours = around | {folder / stem for folder in around}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).parent in ours]
    return _place(Path(frames[-1].filename), frames[-1].lineno) if frames else name


def _place(file: Path, line: int | None) -> str:
    return f"{file}, line {line}" if line else str(file)


def _line_of(file: Path, argument: str = "") -> int | None:
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    arguments = [node.value.lineno for node in nodes if isinstance(node, ast.keyword) and node.arg == argument]
    assigned = [each.lineno for each in nodes if isinstance(each, ast.Name) and each.id in _KINDS]
    return min(arguments or assigned, default=None)


@dataclass(frozen=True)
class Catalogue:
    """The tables and views of a deployment."""

    tables: tuple[_Table, ...]
    """Layers of a release, computed layers, each after its inputs, and synced tables."""
    views: tuple[View, ...]
    """Each after those that it reads."""
    files: Mapping[str, Path]
    """The file that declares each, by name."""
    left_out: Mapping[str, str]
    """Why each that is left out is, by name: in words that follow the name."""

    @classmethod
    def read(cls, built_in: str, outside: Iterable[str] = (), without: Sequence[str] = ()) -> Catalogue:
        """Return the tables of the package `built_in` and of the places `outside`, folders and names of modules.

        These may have the names of what is left out.

        What is computed from a table that is left out, and a view of it, is left out too; `without` may be `all`.
        Raises SettingError for names that there are not, FluxError for declarations that do not fit together.
        """
        ours = _with({}, _Declared.of_place(built_in))
        if unknown := sorted(set(without) - {"all", *ours}):
            names = ", ".join(sorted(ours))
            remedy = f"Name tables and views of flux_assets itself, or all of them by `all`: {names}."
            problem = f"FLUX_WITHOUT names {', '.join(unknown)}: flux_assets has no table or view of that name."
            raise SettingError(problem, remedy)
        left_out = dict.fromkeys(ours if "all" in without else without, "is left out by FLUX_WITHOUT")
        named = {name: each for name, each in ours.items() if name not in left_out}
        named = _with(named, (each for place in dict.fromkeys(outside) for each in _Declared.of_place(place)))
        gone = {name: why for name, why in left_out.items() if name not in named}
        while more := {name: needed for name, each in named.items() if (needed := sorted({*each.inputs} & {*gone}))}:
            for name, needed in more.items():
                gone[name] = f"is made from {', '.join(needed)}, which {'is' if len(needed) == 1 else 'are'} left out"
                del named[name]
        return cls._checked(named, gone)

    @classmethod
    def _checked(cls, named: Mapping[str, _Declared], gone: Mapping[str, str]) -> Catalogue:
        layers = {name for name, each in named.items() if isinstance(each.what, StaticTable)}
        fed: dict[str, str] = {}
        for name, each in named.items():
            _refuse_unknown(each, named if isinstance(each.what, View) else layers, {*named, *gone})
            if isinstance(each.what, DynamicTable) and (other := fed.setdefault(each.what.source, name)) != name:
                raise FluxError(
                    f"{each.at('source')}: {other} and {name} are both made from the source {each.what.source}.",
                    "Give one of them a view in Snowflake as its source.",
                )
        inputs = {name: each.inputs for name, each in named.items()}
        try:
            order = [name for name in TopologicalSorter(inputs).static_order() if name in named]
        except CycleError as error:
            made = " is made from ".join(reversed(error.args[1]))
            place = named[error.args[1][0]].at("inputs")
            raise FluxError(f"{place}: {made}.", "Correct `inputs` in one of the declarations.") from None
        whats = [named[name].what for name in order]
        tables = [_without_references(what, gone) for what in whats if not isinstance(what, View)]
        return cls(
            tables=tuple(sorted(with_assignments(tables), key=_rank)),
            views=tuple(what for what in whats if isinstance(what, View)),
            files={name: each.file for name, each in named.items()},
            left_out=gone,
        )

    @cached_property
    def layers(self) -> tuple[StaticTable, ...]:
        """Every layer, also the computed ones."""
        return tuple(table for table in self.tables if isinstance(table, StaticTable))

    @cached_property
    def static(self) -> tuple[StaticTable, ...]:
        """The layers that are never computed."""
        return tuple(table for table in self.layers if not table.computed)

    @cached_property
    def with_file(self) -> tuple[StaticTable, ...]:
        """The layers that a release may have a file of."""
        return tuple(table for table in self.layers if table.file != "none")

    @cached_property
    def computed(self) -> tuple[StaticTable, ...]:
        """The layers that are computed from others, each after its inputs."""
        return tuple(table for table in self.layers if table.computed)

    @cached_property
    def dynamic(self) -> tuple[DynamicTable, ...]:
        """The synced tables."""
        return tuple(table for table in self.tables if isinstance(table, DynamicTable))

    @cached_property
    def grounds(self) -> tuple[StaticTable, ...]:
        """The layers that lie behind the previews of others, the first lowest: areas below lines."""
        return tuple(sorted((table for table in self.static if table.ground), key=_is_linear))

    def following(self, names: Iterable[str]) -> list[str]:
        """Return what is computed from these tables, or reads them, each after its inputs."""
        reached = set(names)
        found = []
        declared: list[StaticTable | View] = [*self.computed, *self.views]
        for each in declared:
            inputs = each.inputs if isinstance(each, View) else _inputs(each)
            if each.name not in reached and reached & set(inputs):
                reached.add(each.name)
                found.append(each.name)
        return found


def _with(named: Mapping[str, _Declared], more: Iterable[_Declared]) -> dict[str, _Declared]:
    """Return those named with `more`, of which none may have the name of another."""
    found = dict(named)
    for each in more:
        name = each.what.name
        if (other := found.setdefault(name, each)).what is not each.what:
            left_out = f"Leave the one of flux_assets out: FLUX_WITHOUT={name}."
            remedy = left_out if name in named else "Rename one of them."
            raise FluxError(f"{each.at('')}: {name} is declared by {other.file} already.", remedy)
    return found


def _refuse_unknown(each: _Declared, known: Iterable[str], spoken_of: Iterable[str]) -> None:
    """Refuse names of tables that no file declares; what is left out may be spoken of, and not be an input."""
    what = each.what
    origins = {derived.from_table for derived in what.derived} if isinstance(what, DynamicTable) else set()
    references = set() if isinstance(what, View) else {reference.to_table for reference in what.references}
    for argument, needed, there, remedy in (
        ("inputs", set(each.inputs), known, "names of layers, and for a view also of views and synced tables."),
        ("references", references, spoken_of, "to_table of a Reference is the name of a table."),
        ("derived", origins, spoken_of, "from_table of a Derived is the name of a table."),
    ):
        if unknown := ", ".join(sorted(needed - set(there))):
            what_for = {"inputs": "is made from", "references": "refers to", "derived": "is derived from"}[argument]
            problem = f"{each.at(argument)}: {what.name} {what_for} {unknown}, which no file declares."
            raise FluxError(problem, f"Correct `{argument}`: {remedy}")


def _without_references(table: _Table, gone: Mapping[str, str]) -> _Table:
    kept = tuple(reference for reference in table.references if reference.to_table not in gone)
    return table if kept == table.references else replace(table, references=kept)


def _inputs(table: Declaration) -> tuple[str, ...]:
    return table.computed.inputs if isinstance(table, StaticTable) and table.computed else ()


def _rank(table: Declaration) -> tuple[int, str]:
    if isinstance(table, DynamicTable):
        return 2, table.name
    return (1, "") if _inputs(table) else (0, table.name)


def _is_linear(table: StaticTable) -> bool:
    return any("line" in type_ddl(column) for column in table.spatial_columns)
