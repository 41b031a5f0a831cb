"""A server's refusal of a record, as an error that names the record's line in the release file.

Here: reading what COPY says of where it failed. Not here: finding the line (release/locate.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import errors

from flux_assets.errors import reported
from flux_assets.layers.quarantine.probe import REFUSALS, WHERE
from flux_assets.postgis.names import Layer
from flux_assets.release.decode.locate import describe_record


@contextmanager
def described(layer: Layer, path: Path, name: str) -> Iterator[None]:
    """Raise what the server refuses of a record within the block as a RecordError for the file `name` at `path`."""
    try:
        yield
    except REFUSALS as error:
        where = WHERE.search(error.diag.context or "")
        if where is None:
            raise
        raise _record_error(layer, path, name, error, int(where[1]), where[2]) from error


def _record_error(
    layer: Layer, path: Path, name: str, error: psycopg.Error, record: int, column: str | None
) -> Exception:
    known = column if column in layer.table.column_names else None
    problem = f"PostgreSQL refuses it: {reported(error.diag.message_primary)}."
    remedy = "Fix the file and reload."
    if isinstance(error, errors.NotNullViolation):
        remedy = "Fix the file; or, if the declaration allows NULL now, load with accept_schema_change: true."
    return describe_record(path, name, layer.table, record, known, problem, remedy)
