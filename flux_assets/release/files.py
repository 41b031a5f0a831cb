"""Where the files of a release are: addresses that show no secrets, and files of a folder, opened and nothing else."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO
from urllib.parse import SplitResult, quote, unquote, urlsplit

from flux_assets.errors import ManifestError, ReleaseError
from flux_assets.locality import Host


class MissingError(ReleaseError):
    """The folder or store answers, and has no such file."""


@dataclass(frozen=True)
class Address:
    """A folder or URL prefix as configured. Its user, password and query are secrets: nothing shows them."""

    text: str

    def __repr__(self) -> str:
        return f"Address({self.shown!r})"

    @cached_property
    def _parts(self) -> SplitResult:
        return urlsplit(self.text)

    @cached_property
    def scheme(self) -> str:
        """`file` for a folder, otherwise the URL's scheme in lower case."""
        return self._parts.scheme.lower() if "://" in self.text else "file"

    @property
    def is_http(self) -> bool:
        return self.scheme in {"http", "https"}

    @property
    def folder(self) -> Path | None:
        """The folder, when the release is in one."""
        if self.scheme != "file":
            return None
        return Path(unquote(self._parts.path) if "://" in self.text else self.text).expanduser()

    @property
    def shown(self) -> str:
        """The address without user, password, query and fragment."""
        if self.folder is not None:
            return str(self.folder)
        host = self._parts.netloc.rpartition("@")[2]
        return f"{self._parts.scheme}://{host}{self._parts.path}"

    @property
    def last_segment(self) -> str:
        """The last segment of the path: a release's version label, unless one is configured."""
        path = str(self.folder.absolute()) if self.folder is not None else unquote(self._parts.path)
        named = [segment for segment in path.split("/") if segment not in {"", "."}]
        return named[-1] if named else self._parts.netloc.rpartition("@")[2]

    def file(self, name: str) -> Address:
        """Return the address of a file below this one; a query, which may hold a signature, stays at the end."""
        if self.folder is not None:
            return Address(str(self.folder / name))
        below = quote(name) if self.is_http else name
        return Address(self._parts._replace(path=f"{self._parts.path.rstrip('/')}/{below}", fragment="").geturl())

    def check(self) -> None:
        """Raise ReleaseError for an address that would be read over a network in the clear, or names no host."""
        if "::" in self.text.partition("://")[0]:
            raise ReleaseError(f"{self.shown} is a chain of addresses.", "Set FLUX_RELEASE to the last of them alone.")
        if self.is_http and not self._parts.hostname:
            raise ReleaseError(f"{self.shown} names no host.", "Set FLUX_RELEASE to https://host/path.")
        if self.scheme in {"http", "ftp"} and not Host(self._parts.hostname or "").is_local:
            raise ReleaseError(f"{self.shown} would be read unencrypted.", "Set FLUX_RELEASE to the https:// address.")

    def local_file(self, folder: Path, name: str) -> Path:
        """Return the path of this file, which is `name` in `folder`, without any link in it.

        Raises MissingError when there is none; ReleaseError when a link, whose target is not named, leads out of the
        folder, for what is not a regular file, and when it is inaccessible.
        """
        shown, found = self.shown, Path(os.path.realpath(folder / name))
        if not found.is_relative_to(os.path.realpath(folder)):
            raise _outside(shown)
        try:
            if stat.S_ISREG(found.stat().st_mode):
                return found
        except (FileNotFoundError, NotADirectoryError):
            raise self.missing() from None
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise ReleaseError(f"{shown} is a symbolic link that leads to itself.", _BELOW) from None
            raise self.unreadable(error) from error
        raise _irregular(shown)

    def describe(self, error: BaseException) -> str:
        """Return kind and first line of another library's error, bounded and without this address's secrets."""
        text = str(error)
        user, at, _ = self._parts.netloc.rpartition("@")
        secrets = [self._parts.query, *((user, self._parts.password or "") if at else ())]
        for secret in sorted({*secrets, *map(unquote, secrets)} - {""}, key=len, reverse=True):
            text = text.replace(secret, "***")
        lines = text.strip().splitlines()
        return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__

    def missing(self) -> MissingError:
        """Return the error of a file that does not exist."""
        return MissingError(
            f"There is no {self.shown}.", "Check FLUX_RELEASE: it is the folder or prefix that holds the files."
        )

    def unreadable(self, error: OSError) -> ReleaseError:
        """Return the error of a file that is there and cannot be read."""
        problem = f"{self.shown} cannot be read: {error.strerror or error}."
        return ReleaseError(problem, "Let the user of this process read it.")

    def mismatch(self, what: str, promised: object, found: object) -> ManifestError:
        """Return the error of a file that is not as the manifest says."""
        return ManifestError(
            f"{self.shown}: {what} is {found}, the manifest says {promised}.",
            "Fetch or copy the file again; if the file is right, rewrite the manifest (`flux-assets manifest`).",
        )


def opened(path: Path, shown: str) -> BinaryIO:
    """Open a regular file for reading, unbuffered. `path` has no link in it; one put there since is not followed.

    Raises ReleaseError when there is one, OSError when the file cannot be opened.
    """
    # Non-blocking, so as not to wait for the other end of a pipe that was put in the file's place.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check_same(descriptor, path, shown)
    except BaseException:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb", buffering=0)


def _check_same(descriptor: int, path: Path, shown: str) -> None:
    """Raise ReleaseError unless the path leads, without links, to what was opened: a folder may have been replaced."""
    state = os.fstat(descriptor)
    if not stat.S_ISREG(state.st_mode):
        raise _irregular(shown)
    if os.path.realpath(path) != str(path.absolute()):
        raise _outside(shown)
    if not os.path.samestat(state, os.lstat(path)):
        raise ReleaseError(f"{shown} was replaced while it was opened.", "Run again.")


_BELOW = "Put the file itself there, or a link to a file within the folder."


def _outside(shown: str) -> ReleaseError:
    return ReleaseError(f"{shown} is a symbolic link that leads out of the release folder.", _BELOW)


def _irregular(shown: str) -> ReleaseError:
    return ReleaseError(f"{shown} is not a regular file.", "Put the file itself there.")
