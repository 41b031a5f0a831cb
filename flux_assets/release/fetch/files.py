"""Files of a release folder: which of its links are followed, and opening what was found, and nothing else."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from flux_assets.errors import ReleaseError

_OUTSIDE = "Put the file itself there, or a link to a file within the folder."


class OutsideError(ReleaseError):
    """A link in a release folder leads out of it, or did while the file was opened."""

    def __init__(self, shown: str) -> None:
        super().__init__(f"{shown} is a symbolic link that leads out of the release folder.", _OUTSIDE)


def canonical(folder: Path, path: Path, shown: str) -> Path | None:
    """Return the file at `path` below `folder` without any link in its path; None when it does not exist.

    Raises OutsideError, which does not name the target, when a link leads out of `folder`; ReleaseError for what is not
    a regular file; OSError when the path is inaccessible.
    """
    found = Path(os.path.realpath(path))
    if not found.is_relative_to(os.path.realpath(folder)):
        raise OutsideError(shown)
    try:
        mode = found.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ReleaseError(f"{shown} is a symbolic link that leads to itself.", _OUTSIDE) from None
        raise
    if not stat.S_ISREG(mode):
        raise _irregular(shown)
    return found


def opened(path: Path, shown: str) -> BinaryIO:
    """Open a regular file for reading, unbuffered. `path` has no link in it; one put there since is not followed.

    Raises OutsideError when there is one, OSError when the file cannot be opened.
    """
    # Non-blocking, so as not to wait for the other end of a pipe that was put in the file's place.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check_same(descriptor, path, shown)
    except BaseException:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb", buffering=0)


def _irregular(shown: str) -> ReleaseError:
    return ReleaseError(f"{shown} is not a regular file.", "Put the file itself there.")


def _check_same(descriptor: int, path: Path, shown: str) -> None:
    """Raise ReleaseError unless the path leads, without links, to what was opened: a folder may have been replaced."""
    state = os.fstat(descriptor)
    if not stat.S_ISREG(state.st_mode):
        raise _irregular(shown)
    if os.path.realpath(path) != str(path.absolute()):
        raise OutsideError(shown)
    if not os.path.samestat(state, os.lstat(path)):
        raise ReleaseError(f"{shown} was replaced while it was opened.", "Run again.")
