"""The vocabulary of declarations: what a table is, never how it is filled.

Every name of it is imported from here.
"""

from flux_assets.spec.checks import AcceptedValues, Assignment, Drawable, Position, Range, Reference, Volume
from flux_assets.spec.columns import (
    CURVED_KINDS,
    SIMPLE_KINDS,
    geometry_kind,
    index_columns,
    index_method,
    is_spatial,
    type_ddl,
)
from flux_assets.spec.declaration import Declaration, DeclarationError, StaticTable
from flux_assets.spec.dynamic import DynamicTable, with_assignments
from flux_assets.spec.sources import Derived, Freshness, Picture, RowFilter, SourceColumn, Tokens, Vanished

__all__ = [
    "CURVED_KINDS",
    "SIMPLE_KINDS",
    "AcceptedValues",
    "Assignment",
    "Declaration",
    "DeclarationError",
    "Derived",
    "Drawable",
    "DynamicTable",
    "Freshness",
    "Picture",
    "Position",
    "Range",
    "Reference",
    "RowFilter",
    "SourceColumn",
    "StaticTable",
    "Tokens",
    "Vanished",
    "Volume",
    "geometry_kind",
    "index_columns",
    "index_method",
    "is_spatial",
    "type_ddl",
    "with_assignments",
]
