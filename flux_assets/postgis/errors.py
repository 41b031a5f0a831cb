"""Server errors as sentences: what PostgreSQL said, and what to do about it.

Here: any error of a statement translated to one of ours. Not here: a session that is refused (refusals.py), what is
said of which error (server_states.py, refused_statements.py), and errors about a record (loading/copy_faults.py finds
its line in the release file).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors

from flux_assets.errors import FluxError, LayerError, SyncError, TargetError, reported
from flux_assets.postgis.connect import Stop
from flux_assets.postgis.names import PublicTable
from flux_assets.postgis.refused_statements import further_words, remedy_of, within_function
from flux_assets.postgis.server_states import server_state_of


@contextmanager
def translated(layer: PublicTable, stop: Stop) -> Iterator[None]:
    """Raise what psycopg raises within the block as an error of ours; the block's own errors pass through."""
    try:
        yield
    except psycopg.Error as error:
        raise translate_error(layer.title, error, stop) from error


def translate_error(
    title: str, error: psycopg.Error, stop: Stop, kind: type[LayerError] | type[SyncError] = LayerError
) -> FluxError:
    """What the server said of `title` as an error of ours: TargetError for its own state, else one of `kind`."""
    if stop.asked and isinstance(error, errors.QueryCanceled):
        return kind(f"{title}: stopped on request; what was there before stays.")
    said = f"{reported(error.diag.message_primary or error)}.{further_words(error)}"
    of_a_function = within_function(error) and error.diag.severity_nonlocalized == "ERROR"
    if (state := server_state_of(error)) and not (state.ends_session and of_a_function):
        remedy = remedy_of(error, title) if state.state == "42501" and of_a_function else state.remedy
        return TargetError(f"{title}: {state.problem}: {said}", remedy)
    if error.sqlstate is None:  # psycopg's own, before anything was sent
        return kind(f"{title}: {said}", remedy_of(error, title))
    return kind(f"{title}: PostgreSQL refused with {error.sqlstate}: {said}", remedy_of(error, title))
