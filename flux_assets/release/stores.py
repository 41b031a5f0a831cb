"""What a download may cost in bytes, disk and time, and the watch over one that is under way."""

from __future__ import annotations

import shutil
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

import fsspec

from flux_assets.errors import FluxError, ReleaseError
from flux_assets.release.files import Address
from flux_assets.release.stopping import within
from flux_assets.words import megabytes

KEPT = "Try again later; what has been fetched is kept, and the next attempt resumes there."


class TooLargeError(ReleaseError):
    """A file exceeds the download limit; nothing of it is kept."""


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


class Watch:
    """One download under way. Every method raises ReleaseError when a limit is passed."""

    def __init__(self, limits: Limits, shown: str, folder: Path) -> None:
        self._limits, self._shown, self._folder = limits, shown, folder
        self._began = self._since = time.monotonic()
        self._came = 0

    def needs(self, count: int) -> None:
        """Require room for `count` more bytes."""
        free = shutil.disk_usage(self._folder).free
        if free - count < self._limits.spare:
            raise ReleaseError(
                f"{self._shown}: {megabytes(free, 1)} are free under {self._folder}, and"
                f" {megabytes(count + self._limits.spare, 1)} are needed to fetch it and keep some free.",
                "Make room, or set FLUX_HOME to another disk.",
            )

    def reached(self, size: int) -> None:
        """Note that the file has at least `size` bytes."""
        if size > self._limits.largest:
            raise TooLargeError(
                f"{self._shown} is larger than {megabytes(self._limits.largest, 1)}, the most that is fetched.",
                "Check the file; raise FLUX_DOWNLOAD_LIMIT if it really is that large.",
            )

    def came(self, count: int) -> None:
        """Note that `count` more bytes came; 0 means that the download is still waiting."""
        self._came += count
        if count:
            self.needs(0)
        now = time.monotonic()
        if now - self._began > self._limits.total:
            raise ReleaseError(f"{self._shown} has not come within {self._limits.total:,.0f} seconds.", KEPT)
        elapsed = now - self._since
        if elapsed < self._limits.window:
            return
        if self._came < elapsed * self._limits.least_speed:
            raise ReleaseError(
                f"{self._shown} comes too slowly: {self._came:,} bytes in {elapsed:,.0f} seconds, where"
                f" {self._limits.least_speed:,} a second are the least.",
                KEPT,
            )
        self._since, self._came = now, 0


_PART = 4 << 20
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "abfs": "abfs", "abfss": "abfs", "az": "abfs"}
_MARKS = ("ETag", "etag", "md5", "content_md5", "LastModified", "last_modified", "updated", "mtime", "created")
_SIGN_IN = "Check the credentials that this process finds (environment, profile, or the host's role)."


class MissingError(ReleaseError):
    """The store answers, and has no such file."""


class TemporaryError(ReleaseError):
    """Something that another attempt may fix: a dropped connection, a server that is busy."""

    retryable = True


@dataclass(frozen=True, slots=True)
class Stamp:
    """What distinguishes states of a file: its size, and a mark such as an ETag; None is unknown."""

    size: int | None
    mark: str | None


@dataclass(frozen=True, slots=True)
class Opened:
    """A file being read: its state, the byte at which `chunks` begin, and the chunks."""

    stamp: Stamp
    start: int
    chunks: Generator[bytes, None, None]


class FileStore(Protocol):
    """A place to read files from. Everything raises MissingError, TemporaryError, or else a plain ReleaseError."""

    def stamp(self, address: Address) -> Stamp:
        """Return the file's state, without reading it."""
        ...

    def open(self, address: Address, start: int, mark: str | None) -> Opened:
        """Read from byte `start` on if the file still has `mark`, else from its beginning."""
        ...


class FsspecStore:
    """Any store that fsspec has a file system for."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def stamp(self, address: Address) -> Stamp:
        with _explained(address):
            return within(self._limits.silence, lambda: _stamp(*_found(address)))

    def open(self, address: Address, start: int, mark: str | None) -> Opened:
        with _explained(address):
            system, path = within(self._limits.silence, lambda: _found(address))
            stamp = within(self._limits.silence, lambda: _stamp(system, path))
        same = stamp.mark is not None and stamp.mark == mark
        begin = start if same and start <= (stamp.size or 0) else 0
        return Opened(stamp, begin, self._parts(address, system, path, begin, stamp))

    def _parts(
        self,
        address: Address,
        system: Any,  # noqa: ANN401 - fsspec has no types
        path: str,
        start: int,
        stamp: Stamp,
    ) -> Generator[bytes, None, None]:
        """Yield part after part until the size is reached or, where the store does not tell it, nothing more comes."""
        with _explained(address):
            begin = start
            while stamp.size is None or begin < stamp.size:
                end = begin + _PART if stamp.size is None else min(begin + _PART, stamp.size)
                # A whole part has to arrive within the window of a slow download.
                part = within(self._limits.window, partial(_part, system, path, begin, end))
                if stamp.size is None and not part:
                    break
                if len(part) > end - begin or (stamp.size is not None and len(part) < end - begin):
                    raise TemporaryError(
                        f"{address.shown}: {len(part)} bytes came, {end - begin} were requested.", KEPT
                    )
                yield part
                begin += len(part)
            if within(self._limits.silence, lambda: _stamp(system, path)) != stamp:
                raise TemporaryError(f"{address.shown} changed while it was fetched.", KEPT)


def _found(address: Address) -> tuple[Any, str]:
    system, path = fsspec.core.url_to_fs(address.text)
    return system, path


def _stamp(system: Any, path: str) -> Stamp:  # noqa: ANN401 - fsspec has no types
    system.invalidate_cache()
    info = system.info(path)
    if info.get("type") == "directory":
        raise FileNotFoundError(path)
    mark = next((str(info[key]) for key in _MARKS if info.get(key)), None)
    return Stamp(None if info.get("size") is None else int(info["size"]), mark)


def _part(system: Any, path: str, begin: int, end: int) -> bytes:  # noqa: ANN401
    return cast("bytes", system.cat_file(path, start=begin, end=end))


@contextmanager
def _explained(address: Address) -> Iterator[None]:
    """Turn what fsspec and its clients raise into errors that the user can act on."""
    try:
        yield
    except FluxError:
        raise
    except FileNotFoundError as error:
        raise missing(address) from error
    except ImportError as error:
        extra = _EXTRAS.get(address.scheme)
        install = (
            f"Run `make setup`, or `pip install 'flux_assets[{extra}]'`"
            if extra
            else "Install the fsspec plug-in it names"
        )
        raise ReleaseError(f"{address.scheme}:// cannot be read here: {error}.", f"{install}.") from error
    except PermissionError as error:
        raise ReleaseError(f"{address.shown}: access is denied ({address.describe(error)}).", _SIGN_IN) from error
    except Exception as error:
        raise _of_client(address, error) from error


def missing(address: Address) -> MissingError:
    """Return the error of a file that does not exist."""
    return MissingError(
        f"There is no {address.shown}.", "Check FLUX_RELEASE: it is the folder or prefix that holds the files."
    )


def _of_client(address: Address, error: Exception) -> ReleaseError:
    names = " ".join(kind.__name__ for kind in type(error).__mro__)
    if "Credential" in names or "Auth" in names or "credential" in str(error).lower():
        return ReleaseError(f"{address.shown}: cannot sign in ({address.describe(error)}).", _SIGN_IN)
    if isinstance(error, ValueError) and "rotocol" in str(error):
        return ReleaseError(
            f"{address.shown}: {address.scheme}:// addresses are not supported.",
            "Set FLUX_RELEASE to a folder, or an https://, s3://, gs:// or abfs:// prefix.",
        )
    if isinstance(error, OSError) or any(
        sign in names for sign in ("Timeout", "Connection", "Client", "Server", "Http")
    ):
        return TemporaryError(f"{address.shown} cannot be read ({address.describe(error)}).", KEPT)
    return ReleaseError(f"{address.shown} cannot be read ({address.describe(error)}).", "Check FLUX_RELEASE.")
