"""What exists: one module per table, each exporting TABLE. A new table is a new module here and nothing else.

Here: declarations, and the finding of them. Not here: how a table is loaded, synced or checked.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from flux_assets.spec import Declaration, DynamicTable, StaticTable, type_ddl
from flux_assets.spec.assignments import with_assignments


@cache
def declarations() -> tuple[StaticTable | DynamicTable, ...]:
    """Every declared table, static ones first, each kind in alphabetical order."""
    found = [import_module(f"{__name__}.{module.name}").TABLE for module in iter_modules(__path__)]
    return tuple(sorted(with_assignments(found), key=lambda table: (isinstance(table, DynamicTable), table.name)))


def static_tables() -> tuple[StaticTable, ...]:
    """The declared layers."""
    return tuple(table for table in declarations() if isinstance(table, StaticTable))


def dynamic_tables() -> tuple[DynamicTable, ...]:
    """The declared synced tables."""
    return tuple(table for table in declarations() if isinstance(table, DynamicTable))


def grounds() -> tuple[StaticTable, ...]:
    """The layers that lie behind the previews of others, the first lowest: areas below lines."""
    return tuple(sorted((table for table in static_tables() if table.ground), key=_is_linear))


def declared_in(table: Declaration) -> Path | None:
    """The file that declares a table; None for one that is not declared here."""
    modules = (import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__))
    found = next((module for module in modules if module.TABLE.table is table.table), None)
    return Path(str(found.__file__)) if found else None


def _is_linear(table: StaticTable) -> bool:
    return any("line" in type_ddl(column) for column in table.spatial_columns)
