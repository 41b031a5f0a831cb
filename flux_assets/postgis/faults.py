"""Server errors as sentences: what PostgreSQL refused, and what to do about it.

Here: SQLSTATEs that a load can meet, translated to our errors. Not here: errors about a record (load.py finds its
line in the release file).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors

from flux_assets.errors import FluxError, LayerError, SyncError, TargetError
from flux_assets.postgis.connect import Stop
from flux_assets.postgis.layer import PublicTable


@contextmanager
def translated(layer: PublicTable, stop: Stop) -> Iterator[None]:
    """Raise what psycopg raises within the block as an error of ours; the block's own errors pass through."""
    try:
        yield
    except psycopg.Error as error:
        raise ours(layer.title, error, stop) from error


def ours(
    title: str, error: psycopg.Error, stop: Stop, kind: type[LayerError] | type[SyncError] = LayerError
) -> FluxError:
    """What the server said of `title` as an error of ours: TargetError for its own state, else one of `kind`."""
    said = " ".join((error.diag.message_primary or str(error)).split()).rstrip(".")
    if stop.asked and isinstance(error, errors.QueryCanceled):
        return kind(f"{title}: stopped on request; what was there before stays.")
    for kinds, problem, remedy in _TARGET_FAULTS:
        if isinstance(error, kinds):
            return TargetError(f"{title}: {problem}: {said}.", remedy)
    detail = f" {error.diag.message_detail}" if error.diag.message_detail else ""
    return kind(f"{title}: PostgreSQL refused with {error.sqlstate}: {said}.{detail}")


# The first that fits; OperationalError is the base of those above it.
_TARGET_FAULTS: tuple[tuple[tuple[type[psycopg.Error], ...], str, str], ...] = (
    (
        (errors.InsufficientPrivilege,),
        "the database user lacks a right",
        "Grant it, or run `flux-assets doctor` for the list of rights that a load needs.",
    ),
    (
        (errors.DiskFull,),
        "the database server's disk is full",
        "Make room on the server; the half-made version is gone already and what was published stays.",
    ),
    (
        (errors.AdminShutdown, errors.CrashShutdown, errors.CannotConnectNow),
        "the database server is shutting down",
        "Run again when it is up.",
    ),
    (
        (errors.LockNotAvailable,),
        "another session holds a lock that this had to wait for too long",
        "Run again when that session's transaction has ended.",
    ),
    (
        (errors.QueryCanceled, errors.DeadlockDetected),
        "the server ended a statement",
        "Run again: a time limit, an administrator or a deadlock ended it, and what was there before stays.",
    ),
    (
        (psycopg.OperationalError,),
        "the connection to the database was lost or refused",
        "Run again when the server answers; the next run clears up what this one left.",
    ),
)
