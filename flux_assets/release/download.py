"""Files of a remote release, kept in a cache: fetched once, gone on with after a break, whole or not there.

Here: the cache's files, resuming, retrying, and two processes that want the same file. Not here: how a store is read
(stores.py, http.py), and whether a file is the one that the manifest promises (source.py).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random

from flux_assets.errors import ReleaseError
from flux_assets.release.address import Address
from flux_assets.release.stores import AGAIN_LATER, Stamp, Store, TemporaryError

Progress = Callable[[int, int | None], object]
"""Called with the bytes that are there and the bytes there will be, None when nobody knows."""

_FRUITLESS = 5  # attempts in a row that bring no byte


@dataclass(frozen=True, slots=True)
class Kept:
    """A whole file in the cache, with the stamp it had where it came from, and its digest."""

    path: Path
    stamp: Stamp
    sha256: str

    @property
    def bytes(self) -> int:
        return self.path.stat().st_size


class Download:
    """One remote file and its place in the cache. `pause` is the first wait between attempts, in seconds."""

    def __init__(self, store: Store, address: Address, cache: Path, *, pause: float = 0.5) -> None:
        self._store, self._address, self._pause = store, address, pause
        folder = cache / hashlib.sha256(address.text.encode()).hexdigest()[:20]
        self._path = folder / (address.last_segment or "file")
        self._part = self._path.with_name(f"{self._path.name}.part")
        self._notes = self._path.with_name(f"{self._path.name}.json")
        self._lock = self._path.with_name(f"{self._path.name}.lock")

    def kept(self) -> Kept | None:
        """The file as it lies in the cache, whatever the store has by now."""
        try:
            notes = json.loads(self._notes.read_text())
            kept = Kept(self._path, Stamp(**notes["stamp"]), notes["sha256"])
            return kept if kept.bytes == notes["bytes"] else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def current(self, progress: Progress | None = None) -> Kept:
        """The file as the store has it now, from the cache when that is the same.

        Raises ReleaseError when it cannot be had.
        """
        with self._alone():
            kept = self.kept()
            if kept is not None and kept.stamp.mark is not None and self._patiently(self._stamp) == kept.stamp:
                return kept
            return self._fetched(progress)

    def having(self, sha256: str, progress: Progress | None = None) -> Kept:
        """The file, from the cache when that has the digest `sha256`, else fetched, whatever digest it then has."""
        with self._alone():
            kept = self.kept()
            if kept is not None and kept.sha256 == sha256 and digest(kept.path) == sha256:
                return kept
            return self._fetched(progress)

    def drop(self) -> None:
        """Keep nothing of the file."""
        for path in (self._notes, self._path, self._part):
            path.unlink(missing_ok=True)

    def _stamp(self) -> Stamp:
        return self._store.stamp(self._address)

    def _fetched(self, progress: Progress | None) -> Kept:
        self._notes.unlink(missing_ok=True)
        stamp = self._patiently(lambda: self._attempt(progress))
        kept = Kept(self._path, stamp, digest(self._part))
        notes = {"from": self._address.shown, "stamp": asdict(stamp), "bytes": self._part.stat().st_size}
        self._part.replace(self._path)
        self._notes.write_text(json.dumps(notes | {"sha256": kept.sha256}))
        self._marker.unlink(missing_ok=True)
        return kept

    @property
    def _marker(self) -> Path:
        """Holds the mark of the file that the part is a part of."""
        return self._part.with_name(f"{self._part.name}.mark")

    def _attempt(self, progress: Progress | None) -> Stamp:
        """Fetch what is still missing, from the first byte on when the file is another one by now."""
        have = self._part.stat().st_size if self._part.is_file() and self._marker.is_file() else 0
        opened = self._store.open(self._address, have, self._marker.read_text() if have else None)
        if not opened.start:
            self._marker.unlink(missing_ok=True)
        with self._part.open("r+b" if opened.start else "wb") as file:
            file.seek(opened.start)
            if opened.stamp.mark is not None:
                self._marker.write_text(opened.stamp.mark)
            for chunk in opened.chunks:
                file.write(chunk)
                if progress is not None:
                    progress(file.tell(), opened.stamp.size)
            file.truncate()
            size = file.tell()
        if opened.stamp.size is not None and size != opened.stamp.size:
            raise TemporaryError(
                f"{self._address.shown}: the connection broke off after {size} of {opened.stamp.size} bytes.",
                AGAIN_LATER,
            )
        return opened.stamp

    def _patiently(self, work: Callable[[], Stamp]) -> Stamp:
        """Try again what another attempt may cure, for as long as every few attempts bring some bytes."""
        patience = _Patience(self._part, self._pause)
        attempts = Retrying(
            retry=retry_if_exception_type(TemporaryError),
            after=patience.count,
            wait=patience.wait,
            stop=patience.is_over,
            reraise=True,
        )
        return attempts(work)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time; the second one then finds what the first one fetched."""
        try:
            self._lock.parent.mkdir(parents=True, exist_ok=True)
            with self._lock.open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise ReleaseError(
                f"{self._path.parent}: fetched files cannot be kept there: {error.strerror or error}.",
                "Make room or give rights to the folder, or set FLUX_HOME to another one.",
            ) from error


class _Patience:
    """How long to wait, and when to give up: both go by the attempts in a row in which the part has not grown."""

    def __init__(self, part: Path, pause: float) -> None:
        self._part, self._pause = part, pause
        self._size, self._fruitless = 0, 0

    def count(self, _state: RetryCallState) -> None:
        size = self._part.stat().st_size if self._part.exists() else 0
        self._fruitless = 1 if size > self._size else self._fruitless + 1
        self._size = size

    def wait(self, state: RetryCallState) -> float:
        longer: float = self._pause * 2 ** (self._fruitless - 1)
        return min(20.0, longer) + wait_random(0, self._pause)(state)

    def is_over(self, _state: RetryCallState) -> bool:
        return self._fruitless >= _FRUITLESS


def digest(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remembered_digest(path: Path, cache: Path) -> str:
    """`digest`, looked up in `cache` while the file's size, times and inode are what they were.

    A file that was written in the last seconds is not remembered: its next change might not show in its times.
    """
    state = path.stat()
    shape = [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino, state.st_dev]
    note = cache / "digests" / f"{hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:20]}.json"
    try:
        known = json.loads(note.read_text())
        if known["shape"] == shape:
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    found = digest(path)
    if time.time() - max(state.st_mtime, state.st_ctime) > 3:
        _write(note, json.dumps({"file": str(path), "shape": shape, "sha256": found}))
    return found


def _write(path: Path, text: str) -> None:
    """Write a note that the next process reads whole or not at all; without rights there, it is not remembered."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(text)
        unfinished.replace(path)
    except OSError:
        unfinished.unlink(missing_ok=True)
