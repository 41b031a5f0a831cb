"""Stores that are read over a network: what they have in common, and those that fsspec knows (s3, gs, abfs, …)."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

import fsspec

from flux_assets.errors import FluxError, ReleaseError
from flux_assets.release.files import Address
from flux_assets.release.stopping import within

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_PART = 4 << 20
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "abfs": "abfs", "abfss": "abfs", "az": "abfs"}
_MARKS = ("ETag", "etag", "md5", "content_md5", "LastModified", "last_modified", "updated", "mtime", "created")
_SIGN_IN = "Check the credentials that this process finds (environment, profile, or the host's role)."


class TooLargeError(ReleaseError):
    """A file exceeds the download limit; nothing of it is kept."""


class TemporaryError(ReleaseError):
    """Something that another attempt may fix: a dropped connection, a server that is busy."""

    retryable = True
    KEPT = "Try again later; what has been fetched is kept, and the next attempt resumes there."

    def __init__(self, problem: str, remedy: str = KEPT) -> None:
        super().__init__(problem, remedy)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of one download, in bytes and seconds.

    `largest` holds for any file, and `spare` stays free on the disk. `silence` ends a connection, and a request for a
    file's state; `total` ends a download with all its attempts, and so does a `window` in which fewer than
    `least_speed` bytes a second came. `queue` is the longest wait for another process that fetches the same file.
    """

    largest: int = 20 * 10**9
    spare: int = 256 << 20
    silence: float = 30
    window: float = 60
    least_speed: int = 1000
    total: float = 6 * 3600
    queue: float = 6 * 3600
    redirects: int = 5


@dataclass(frozen=True, slots=True)
class Stamp:
    """What distinguishes states of a file: its size, and a mark such as an ETag; None is unknown."""

    size: int | None
    mark: str | None


class FsspecStore:
    """Any store that fsspec has a file system for.

    As HttpStore, it raises MissingError, TemporaryError, or else a plain ReleaseError.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def stamp(self, address: Address) -> Stamp:
        """Return the file's state, without reading it."""
        with _explained(address):
            return within(self._limits.silence, lambda: _stamp(*_found(address)))

    def names(self, address: Address) -> list[str]:
        """Return the names of what is directly below an address, in order; none where nothing is."""
        with _explained(address):
            try:
                return within(self._limits.silence, lambda: _below(*_found(address)))
            except FileNotFoundError:
                return []

    def open(self, address: Address, start: int, mark: str | None) -> tuple[Stamp, int, Generator[bytes, None, None]]:
        """Read from byte `start` on if the file still has `mark`, else from its beginning.

        Returns the file's state, the byte at which the chunks begin, and the chunks.
        """
        with _explained(address):
            system, path = within(self._limits.silence, lambda: _found(address))
            stamp = within(self._limits.silence, lambda: _stamp(system, path))
        same = stamp.mark is not None and stamp.mark == mark
        begin = start if same and start <= (stamp.size or 0) else 0
        return stamp, begin, self._parts(address, system, path, begin, stamp)

    def _parts(
        self, address: Address, system: AbstractFileSystem, path: str, start: int, stamp: Stamp
    ) -> Generator[bytes, None, None]:
        """Yield part after part until the size is reached or, where the store does not tell it, nothing more comes."""
        with _explained(address):
            begin = start
            while stamp.size is None or begin < stamp.size:
                end = begin + _PART if stamp.size is None else min(begin + _PART, stamp.size)
                # A whole part has to arrive within the window of a slow download.
                part = within(self._limits.window, partial(system.cat_file, path, start=begin, end=end))
                if stamp.size is None and not part:
                    break
                if len(part) > end - begin or (stamp.size is not None and len(part) < end - begin):
                    raise TemporaryError(f"{address.shown}: {len(part)} bytes came, {end - begin} were requested.")
                yield part
                begin += len(part)
            if within(self._limits.silence, lambda: _stamp(system, path)) != stamp:
                raise TemporaryError(f"{address.shown} changed while it was fetched.")


def _found(address: Address) -> tuple[AbstractFileSystem, str]:
    return cast("tuple[AbstractFileSystem, str]", fsspec.core.url_to_fs(address.text))


def _below(system: AbstractFileSystem, path: str) -> list[str]:
    system.invalidate_cache()
    return sorted(str(each).rstrip("/").rpartition("/")[2] for each in system.ls(path, detail=False))


def _stamp(system: AbstractFileSystem, path: str) -> Stamp:
    system.invalidate_cache()
    info = system.info(path)
    if info.get("type") == "directory":
        raise FileNotFoundError(path)
    mark = next((str(info[key]) for key in _MARKS if info.get(key)), None)
    return Stamp(None if info.get("size") is None else int(info["size"]), mark)


@contextmanager
def _explained(address: Address) -> Iterator[None]:
    """Turn what fsspec and its clients raise into errors that the user can act on."""
    try:
        yield
    except FluxError:
        raise
    except FileNotFoundError as error:
        raise address.missing() from error
    except ImportError as error:
        extra = _EXTRAS.get(address.scheme)
        remedy = f"Run `make setup`, or `pip install 'flux_assets[{extra}]'`."
        raise ReleaseError(
            f"{address.scheme}:// cannot be read here: {error}.",
            remedy if extra else "Install the fsspec plug-in it names.",
        ) from error
    except PermissionError as error:
        raise ReleaseError(f"{address.shown}: access is denied ({address.describe(error)}).", _SIGN_IN) from error
    except Exception as error:
        raise _of_client(address, error) from error


def _of_client(address: Address, error: Exception) -> ReleaseError:
    names = " ".join(kind.__name__ for kind in type(error).__mro__)
    if "Credential" in names or "Auth" in names or "credential" in str(error).lower():
        return ReleaseError(f"{address.shown}: cannot sign in ({address.describe(error)}).", _SIGN_IN)
    if isinstance(error, ValueError) and "rotocol" in str(error):
        return ReleaseError(
            f"{address.shown}: {address.scheme}:// addresses are not supported.",
            "Set FLUX_RELEASE to a folder, or an https://, s3://, gs:// or abfs:// prefix.",
        )
    problem = f"{address.shown} cannot be read ({address.describe(error)})."
    if isinstance(error, OSError) or any(
        sign in names for sign in ("Timeout", "Connection", "Client", "Server", "Http")
    ):
        return TemporaryError(problem)
    return ReleaseError(problem, "Check FLUX_RELEASE.")
