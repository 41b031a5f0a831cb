"""Files that Dagster leaves beside its database: what steps printed, and artifacts of runs.

Here: removing those of runs that are gone, and old ones of no run. Not here: where they lie (instance.py).
"""

from __future__ import annotations

import shutil
from collections.abc import Container, Iterator
from datetime import datetime
from pathlib import Path
from uuid import UUID


def remove_files(folder: Path, runs: Container[str], before: datetime) -> int:
    """Remove what lies below `folder` and belongs to no run of `runs`, unless it was written after `before`.

    Returns how many folders of runs and other files went. What cannot be removed stays, for the next time.
    """
    removed = 0
    for path in list(_outermost(folder)):
        if path.name in runs or path.stat().st_mtime >= before.timestamp():
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        removed += not path.exists()
    return removed


def _outermost(folder: Path) -> Iterator[Path]:
    """Folders that are named as a run is, and files that lie in none of them; symbolic links are not followed."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink() and not _is_id(path.name):
            yield from _outermost(path)
        elif not path.is_symlink():
            yield path


def _is_id(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False
