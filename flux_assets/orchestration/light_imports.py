"""dagster-snowflake without Snowpark and snowflake.core, which it imports for methods that no sync calls.

They took half of the processor time of an unchanged sync. Who does call such a method imports them then.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from threading import Lock
from types import ModuleType

_HEAVY = ("snowflake.snowpark", "snowflake.core")
_importing = Lock()


class _Later:
    """Stands for a class of a heavy module: good for annotations at once, and imported when it is called."""

    def __init__(self, module: str, name: str) -> None:
        self._place = module, name

    def __call__(self, *arguments: object, **named: object) -> object:
        module, name = self._place
        return getattr(importlib.import_module(module), name)(*arguments, **named)


class _LaterModule(ModuleType):
    """Stands for a heavy module: has every name while others import it, and then those of the real one."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            return _Later(self.__name__, name)
        return getattr(importlib.import_module(self.__name__), name)


class _Finder(MetaPathFinder, Loader):
    """Finds for the import system what stands for the heavy modules and those below them, and is their loader."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        if not f"{name}.".startswith(tuple(f"{heavy}." for heavy in _HEAVY)):
            return None
        self.found.append(name)
        return ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _LaterModule(spec.name)

    def exec_module(self, _: ModuleType) -> None:
        """There is nothing to run."""


@contextmanager
def light_imports() -> Iterator[None]:
    """Have what the block imports be content with stand-ins of the heavy modules; afterwards nobody finds them.

    Where one of the heavy modules or the connector is imported already, nothing is put in its place.
    """
    with _importing:
        if any(name in sys.modules for name in (*_HEAVY, "snowflake.connector")):
            yield
            return
        finder = _Finder()
        sys.meta_path.insert(0, finder)
        try:
            yield
        finally:
            sys.meta_path.remove(finder)
            for name in finder.found:
                sys.modules.pop(name, None)
                package, _, last = name.rpartition(".")
                if package in sys.modules:
                    vars(sys.modules[package]).pop(last, None)
