"""A release: where it is, what its manifest says, and its files, fetched and verified."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from flux_assets.errors import ManifestError, ReleaseError, abbreviated
from flux_assets.release.download import Download, Progress, remembered_digest
from flux_assets.release.files import Address, canonical, mismatch, opened
from flux_assets.release.http import HttpStore
from flux_assets.release.stores import FileStore, FsspecStore, Limits, MissingError, TooLargeError, missing

NAME = "manifest.json"
LARGEST = 4 << 20  # bytes of a manifest: a few hundred for each file
_LARGEST_COUNT = 2**63 - 1
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REMEDY = "Rewrite it (`flux-assets sample` writes an example), or remove it: it is not required."


@dataclass(frozen=True, kw_only=True, slots=True)
class FileEntry:
    """One file as the manifest lists it; `file` is its name within the release, None is not given.

    `rows` counts records without the header, `bytes` and `sha256` (hex) are of the compressed file.
    """

    table: str
    file: str
    rows: int | None = None
    bytes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """The files of a release, at most one for each table."""

    files: tuple[FileEntry, ...]

    def entry(self, table: str) -> FileEntry | None:
        """Return the entry of a table's file, if there is one."""
        return next((entry for entry in self.files if entry.table == table), None)


def parse_manifest(content: bytes, where: str) -> Manifest:
    """Read a manifest; optional keys may be absent, unknown ones are ignored.

    Raises ManifestError, naming `where`, the entry and the key, for anything malformed.
    """
    if len(content) > LARGEST:
        raise too_large(where)
    try:
        whole = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{where}: this is not JSON: {error}.", _REMEDY) from None
    listed = whole.get("files") if isinstance(whole, dict) else None
    if not isinstance(listed, list):
        raise ManifestError(f'{where}: it is not an object with a list "files".', _REMEDY)
    files = tuple(_entry(item, f"{where}: files[{index}]") for index, item in enumerate(listed))
    for key in ("table", "file"):
        for name in _repeated(str(getattr(entry, key)) for entry in files):
            raise ManifestError(f"{where}: {key} {abbreviated(name)} is listed twice.", _REMEDY)
    return Manifest(files=files)


def too_large(where: str) -> ManifestError:
    """Return the error of a manifest beyond LARGEST."""
    return ManifestError(f"{where}: it is larger than {LARGEST >> 20} MB.", _REMEDY)


def _entry(item: object, where: str) -> FileEntry:
    if not isinstance(item, dict):
        raise ManifestError(f"{where} is not an object.", _REMEDY)
    sha256 = item.get("sha256")
    if sha256 is not None and not (isinstance(sha256, str) and _SHA256.fullmatch(sha256.lower())):
        raise ManifestError(f"{where}.sha256 is {_shown(sha256)}, not 64 hexadecimal digits.", _REMEDY)
    return FileEntry(
        table=_name(item, "table", where),
        file=_inside(_name(item, "file", where), where),
        rows=_count(item, "rows", where),
        bytes=_count(item, "bytes", where),
        sha256=sha256.lower() if sha256 else None,
    )


def _name(item: dict[str, object], key: str, where: str) -> str:
    value = item.get(key)
    if not isinstance(value, str) or not value:
        raise ManifestError(f"{where}.{key} is {_shown(value)}, not a name.", _REMEDY)
    return value


def _inside(file: str, where: str) -> str:
    """Return a file name that cannot lead out of the release: plain segments, no way up, root, drive or scheme."""
    segments = file.split("/")
    if any(segment in {"", ".", ".."} for segment in segments) or re.search(r"[\\:\x00-\x1f\x7f\ud800-\udfff]", file):
        raise ManifestError(
            f"{where}.file is {abbreviated(file)}, which does not name a file within the release.", _REMEDY
        )
    return file


def _count(item: dict[str, object], key: str, where: str) -> int | None:
    value = item.get(key)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST_COUNT):
        return value
    raise ManifestError(f"{where}.{key} is {_shown(value)}, not a count.", _REMEDY)


def _shown(value: object) -> str:
    return abbreviated(value) if isinstance(value, str) else f"{value!r:.80}"


def _repeated(names: Iterator[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            yield name
        seen.add(name)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseFile:
    """One layer's file, identified by its digest. `bytes` and `rows` are None while they are unknown.

    `address` is for people: it lacks user, password and query.
    """

    table: str
    file: str
    address: str
    sha256: str
    bytes: int | None = None
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class Glance:
    """The state of a file, without reading it: `stamp` changes when the file does.

    `sha256` is what the manifest promises, or that of the same remote file when it was fetched; else None.
    """

    sha256: str | None
    stamp: str


class Release:
    """A versioned set of files under one folder or prefix. Fetched files are kept below the folder `cache`.

    `pause` is the first wait, in seconds, before another attempt.
    """

    def __init__(
        self, address: str, tag: str | None, cache: Path, *, limits: Limits | None = None, pause: float = 0.5
    ) -> None:
        self._address = Address(address)
        self._address.check()
        self._cache, self._pause, self._limits = cache.resolve(), pause, limits or Limits()
        self._store: FileStore = (HttpStore if self._address.is_http else FsspecStore)(self._limits)
        self.tag = tag or self._address.last_segment

    def __repr__(self) -> str:
        return f"Release({self._address.shown!r}, {self.tag!r})"

    @property
    def address(self) -> str:
        """The address of the release without user, password and query."""
        return self._address.shown

    @property
    def is_local(self) -> bool:
        """Whether the files are in a folder, where reading them fetches nothing."""
        return self._address.folder is not None

    def manifest(self) -> Manifest | None:
        """Return manifest.json, read once; None when there is none.

        Raises ManifestError when it is malformed, ReleaseError when it cannot be read.
        """
        return self._manifest

    def resolve(self, file_name: str, table: str) -> ReleaseFile:
        """Identify a layer's file, as cheaply as possible: by the manifest's digest, else by that of the file itself.

        A remote file without a digest in a manifest is fetched. Raises ReleaseError when the file does not exist or is
        unavailable, ManifestError when a local one does not have the size in the manifest.
        """
        entry = self._entry(file_name, table)
        if entry.sha256 is not None:
            self._check_present(entry)
            return self._file(entry, entry.sha256, entry.bytes)
        if self._folder is None:
            kept = self._download(entry).current()
            self._check(entry, kept.sha256, kept.bytes)
            return self._file(entry, kept.sha256, kept.bytes)
        path = self._local(entry.file)
        self._check_present(entry)
        return self._file(entry, self._digest(path), path.stat().st_size)

    def fetch(self, file: ReleaseFile, progress: Progress | None = None) -> Path:
        """Return a local path of the file with its digest: in place in a folder, else fetched to the cache.

        Raises ReleaseError when it is unavailable, ManifestError when it is not as the manifest says; it is then not
        kept.
        """
        entry = self._entry(file.file, file.table)
        if self._folder is not None:
            path = self._local(file.file)
            self._check_same(entry, file, self._digest(path), path.stat().st_size)
            return path
        download = self._download(entry)
        kept = download.having(file.sha256, progress)
        try:
            self._check_same(entry, file, kept.sha256, kept.bytes)
        except ReleaseError:
            download.drop()
            raise
        return kept.path

    def at_hand(self, file: ReleaseFile, progress: Progress | None = None) -> Path:
        """Return what `fetch` does, for a reader that compares the digest of what it reads, as LayerStream does.

        Of a file in a folder only the size is compared: reading all of it twice would prove no more.
        """
        if self._folder is None:
            return self.fetch(file, progress)
        self._check_present(self._entry(file.file, file.table))
        return self._local(file.file)

    def glance(self, file_name: str, table: str) -> Glance:
        """Return the file's state, for sensors: a few bytes are read, however large it is.

        Raises as `size` does.
        """
        entry = self._entry(file_name, table)
        if self._folder is not None:
            state = self._local(entry.file).stat()
            self._check_size(entry, state.st_size)
            return Glance(entry.sha256, f"{state.st_size} {state.st_mtime_ns} {state.st_ino}")
        stamp, kept = self._store.stamp(self._address.file(entry.file)), self._download(entry).kept()
        if stamp.size is not None:
            self._check_size(entry, stamp.size)
        fetched = kept.sha256 if kept is not None and stamp.mark is not None and kept.stamp == stamp else None
        return Glance(entry.sha256 or fetched, f"{stamp.size} {stamp.mark}")

    def size(self, file_name: str, table: str) -> int | None:
        """Return the size of a layer's file as it is now, without fetching it; None where the store does not tell.

        Raises ReleaseError when the file does not exist or is unavailable, ManifestError when it does not have the
        size in the manifest.
        """
        entry = self._entry(file_name, table)
        if self._folder is not None:
            size: int | None = self._local(entry.file).stat().st_size
        else:
            size = self._store.stamp(self._address.file(entry.file)).size
        if size is not None:
            self._check_size(entry, size)
        return size

    @cached_property
    def _manifest(self) -> Manifest | None:
        where = self._address.file(NAME)
        try:
            path = self._local(NAME) if self._folder is not None else self._fetched_manifest(where)
            with opened(path, where.shown) as file:
                return parse_manifest(file.read(LARGEST + 1), where.shown)
        except MissingError:
            return None
        except OSError as error:
            raise _unreadable(where.shown, error) from error

    def _fetched_manifest(self, where: Address) -> Path:
        limits = replace(self._limits, largest=LARGEST)
        try:
            return Download(self._store, where, self._cache, limits, pause=self._pause).current().path
        except TooLargeError:
            raise too_large(where.shown) from None

    @cached_property
    def _folder(self) -> Path | None:
        folder = self._address.folder
        if folder is not None and not folder.is_dir():
            raise ReleaseError(
                f"There is no folder {folder}.", "Set FLUX_RELEASE to the folder or prefix that holds the files."
            )
        return None if folder is None else folder.resolve()

    def _entry(self, file_name: str, table: str) -> FileEntry:
        known = self.manifest()
        return (known and known.entry(table)) or FileEntry(table=table, file=file_name)

    def _file(self, entry: FileEntry, sha256: str, size: int | None) -> ReleaseFile:
        address = self._address.file(entry.file).shown
        return ReleaseFile(
            table=entry.table, file=entry.file, address=address, sha256=sha256, bytes=size, rows=entry.rows
        )

    def _local(self, file: str) -> Path:
        """Return the path of a file in the folder. Raises OutsideError when a link leads out of it."""
        address = self._address.file(file)
        shown, folder = address.folder, self._folder
        try:
            path = canonical(folder, folder / file, str(shown)) if folder is not None else None
        except OSError as error:
            raise _unreadable(str(shown), error) from error
        if path is None:
            raise missing(address)
        return path

    def _digest(self, path: Path) -> str:
        try:
            return remembered_digest(path, self._cache)
        except OSError as error:
            raise _unreadable(str(path), error) from error

    def _download(self, entry: FileEntry) -> Download:
        address = self._address.file(entry.file)
        return Download(self._store, address, self._cache, self._limits, promised=entry.bytes, pause=self._pause)

    def _check_present(self, entry: FileEntry) -> None:
        """Check at no cost that a local file exists and has the size in the manifest."""
        if self._folder is not None:
            self._check_size(entry, self._local(entry.file).stat().st_size)

    def _check_same(self, entry: FileEntry, file: ReleaseFile, sha256: str, size: int) -> None:
        self._check(entry, sha256, size)
        if sha256 != file.sha256:
            raise ReleaseError(
                f"{file.address} has changed since it was identified: sha256 was {file.sha256}, and is now {sha256}.",
                "Run again.",
            )

    def _check(self, entry: FileEntry, sha256: str, size: int) -> None:
        self._check_size(entry, size)
        if entry.sha256 is not None and entry.sha256 != sha256:
            raise self._mismatch(entry, "sha256", entry.sha256, sha256)

    def _check_size(self, entry: FileEntry, size: int) -> None:
        if entry.bytes is not None and entry.bytes != size:
            raise self._mismatch(entry, "bytes", entry.bytes, size)

    def _mismatch(self, entry: FileEntry, what: str, promised: object, found: object) -> ManifestError:
        return mismatch(self._address.file(entry.file).shown, what, promised, found)


def _unreadable(path: str, error: OSError) -> ReleaseError:
    return ReleaseError(f"{path} cannot be read: {error.strerror or error}.", "Let the user of this process read it.")
