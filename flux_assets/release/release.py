"""A release: where it is, what its manifest says, and its files, fetched and verified."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from flux_assets.errors import ManifestError, ReleaseError, abbreviated
from flux_assets.release.download import Download, remembered_digest
from flux_assets.release.files import Address, MissingError, opened
from flux_assets.release.http import HttpStore
from flux_assets.release.stores import FsspecStore, Limits, TooLargeError

_MANIFEST, _SUFFIX = "manifest.json", ".csv.gz"
_LARGEST = 4 << 20  # bytes of a manifest: a few hundred for each file
_LARGEST_COUNT = 2**63 - 1
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

    `sha256` is what the manifest promises, or that of the same remote file when it was fetched; else None. `size` is
    None where the store does not tell it.
    """

    sha256: str | None
    stamp: str
    size: int | None


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
        self._store = (HttpStore if self._address.is_http else FsspecStore)(self._limits)
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

    def manifest(self) -> Mapping[str, FileEntry] | None:
        """Return the entries of manifest.json by table, read once; None when there is none.

        Raises ManifestError when it is malformed, ReleaseError when it cannot be read.
        """
        return self._manifest

    def resolve(self, file_name: str, table: str) -> ReleaseFile:
        """Identify a layer's file, as cheaply as possible: by the manifest's digest, else by that of the file itself.

        A remote file without a digest in a manifest is fetched. Raises ReleaseError when the file does not exist or is
        unavailable, ManifestError when a local one does not have the size in the manifest.
        """
        entry = self._entry(file_name, table)
        path = self._local(entry) if self._folder is not None else None
        sha256, size = entry.sha256, entry.bytes
        if sha256 is None and path is not None:
            sha256, size = self._digest(path), path.stat().st_size
        elif sha256 is None:
            kept = self._download(entry).current()
            sha256, size = kept.sha256, kept.bytes
            self._check(entry, size)
        address = self._address.file(entry.file).shown
        return ReleaseFile(
            table=entry.table, file=entry.file, address=address, sha256=sha256, bytes=size, rows=entry.rows
        )

    def undeclared(self, tables: Collection[str]) -> list[str]:
        """Return the names of tables that the release has a file of, and that are not among these.

        The manifest tells them, and a local folder. Raises ManifestError when the manifest is malformed.
        """
        named = set(self.manifest() or ())
        if self._folder is not None:
            named |= {path.name.removesuffix(_SUFFIX) for path in self._folder.glob(f"*{_SUFFIX}")}
        return sorted(named - set(tables))

    def fetch(self, file: ReleaseFile) -> Path:
        """Return a local path of the file with its digest: in place in a folder, else fetched to the cache.

        Raises ReleaseError when it is unavailable, ManifestError when it is not as the manifest says; it is then not
        kept.
        """
        entry = self._entry(file.file, file.table)
        if self._folder is not None:
            path = self._local(entry)
            self._check_same(entry, file, self._digest(path), path.stat().st_size)
            return path
        download = self._download(entry)
        kept = download.having(file.sha256)
        try:
            self._check_same(entry, file, kept.sha256, kept.bytes)
        except ReleaseError:
            download.drop()
            raise
        return kept.path

    def at_hand(self, file: ReleaseFile) -> Path:
        """Return what `fetch` does, for a reader that compares the digest of what it reads, as LayerStream does.

        Of a file in a folder only the size is compared: reading all of it twice would prove no more.
        """
        if self._folder is None:
            return self.fetch(file)
        return self._local(self._entry(file.file, file.table))

    def glance(self, file_name: str, table: str) -> Glance:
        """Return the file's state: a few bytes are read, however large it is.

        Raises ReleaseError when the file does not exist or is unavailable, ManifestError when it does not have the
        size in the manifest.
        """
        entry = self._entry(file_name, table)
        if self._folder is not None:
            state = self._local(entry).stat()
            return Glance(entry.sha256, f"{state.st_size} {state.st_mtime_ns} {state.st_ino}", state.st_size)
        stamp, kept = self._store.stamp(self._address.file(entry.file)), self._download(entry).kept()
        self._check(entry, stamp.size)
        fetched = kept.sha256 if kept is not None and stamp.mark is not None and kept.stamp == stamp else None
        return Glance(entry.sha256 or fetched, f"{stamp.size} {stamp.mark}", stamp.size)

    @cached_property
    def _manifest(self) -> Mapping[str, FileEntry] | None:
        where = self._address.file(_MANIFEST)
        limits = replace(self._limits, largest=_LARGEST)
        try:
            if self._folder is not None:
                path = where.local_file(self._folder, _MANIFEST)
            else:
                path = Download(self._store, where, self._cache, limits, pause=self._pause).current().path
            with opened(path, where.shown) as file:
                return _parsed(file.read(_LARGEST + 1), where.shown)
        except MissingError:
            return None
        except TooLargeError:
            raise _too_large(where.shown) from None
        except OSError as error:
            raise where.unreadable(error) from error

    @cached_property
    def _folder(self) -> Path | None:
        folder = self._address.folder
        if folder is not None and not folder.is_dir():
            raise ReleaseError(
                f"There is no folder {folder}.", "Set FLUX_RELEASE to the folder or prefix that holds the files."
            )
        return None if folder is None else folder.resolve()

    def _entry(self, file_name: str, table: str) -> FileEntry:
        return (self.manifest() or {}).get(table) or FileEntry(table=table, file=file_name)

    def _local(self, entry: FileEntry) -> Path:
        """Return the path of a file in the folder. Raises ReleaseError when it is missing or has another size."""
        path = self._address.file(entry.file).local_file(self._folder or Path(), entry.file)
        self._check(entry, path.stat().st_size)
        return path

    def _digest(self, path: Path) -> str:
        try:
            return remembered_digest(path, self._cache)
        except OSError as error:
            raise Address(str(path)).unreadable(error) from error

    def _download(self, entry: FileEntry) -> Download:
        address = self._address.file(entry.file)
        return Download(self._store, address, self._cache, self._limits, promised=entry.bytes, pause=self._pause)

    def _check_same(self, entry: FileEntry, file: ReleaseFile, sha256: str, size: int) -> None:
        self._check(entry, size)
        if entry.sha256 not in {None, sha256}:
            raise self._address.file(entry.file).mismatch("sha256", entry.sha256, sha256)
        if sha256 != file.sha256:
            raise ReleaseError(
                f"{file.address} has changed since it was identified: sha256 was {file.sha256}, and is now {sha256}.",
                "Run again.",
            )

    def _check(self, entry: FileEntry, size: int | None) -> None:
        if None not in (size, entry.bytes) and size != entry.bytes:
            raise self._address.file(entry.file).mismatch("bytes", entry.bytes, size)


def _parsed(content: bytes, where: str) -> Mapping[str, FileEntry]:
    """Read a manifest by table; optional keys may be absent, unknown ones are ignored.

    Raises ManifestError, naming `where`, the entry and the key, for anything malformed.
    """
    if len(content) > _LARGEST:
        raise _too_large(where)
    try:
        whole = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{where}: this is not JSON: {error}.", _REMEDY) from None
    listed = whole.get("files") if isinstance(whole, dict) else None
    if not isinstance(listed, list):
        raise ManifestError(f'{where}: it is not an object with a list "files".', _REMEDY)
    entries: dict[str, FileEntry] = {}
    files: set[str] = set()
    for index, item in enumerate(listed):
        entry = _entry(item, f"{where}: files[{index}]")
        for key, name, seen in (("table", entry.table, entries), ("file", entry.file, files)):
            if name in seen:
                raise ManifestError(f"{where}: {key} {abbreviated(name)} is listed twice.", _REMEDY)
        entries[entry.table] = entry
        files.add(entry.file)
    return entries


def _too_large(where: str) -> ManifestError:
    return ManifestError(f"{where}: it is larger than {_LARGEST >> 20} MB.", _REMEDY)


def _entry(item: object, where: str) -> FileEntry:
    if not isinstance(item, dict):
        raise ManifestError(f"{where} is not an object.", _REMEDY)
    table, file = (_name(item, key, where) for key in ("table", "file"))
    # Nothing that could lead out of the release: plain segments, no way up, root, drive or scheme.
    if {"", ".", ".."} & {*file.split("/")} or re.search(r"[\\:\x00-\x1f\x7f\ud800-\udfff]", file):
        problem = f"{where}.file is {abbreviated(file)}, which does not name a file within the release."
        raise ManifestError(problem, _REMEDY)
    rows, size = (_count(item, key, where) for key in ("rows", "bytes"))
    sha256 = item.get("sha256")
    if sha256 is not None and not (isinstance(sha256, str) and re.fullmatch(r"[0-9a-f]{64}", sha256.lower())):
        raise ManifestError(f"{where}.sha256 is {_shown(sha256)}, not 64 hexadecimal digits.", _REMEDY)
    return FileEntry(table=table, file=file, rows=rows, bytes=size, sha256=sha256.lower() if sha256 else None)


def _name(item: dict[str, object], key: str, where: str) -> str:
    value = item.get(key)
    if not isinstance(value, str) or not value:
        raise ManifestError(f"{where}.{key} is {_shown(value)}, not a name.", _REMEDY)
    return value


def _count(item: dict[str, object], key: str, where: str) -> int | None:
    value = item.get(key)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST_COUNT):
        return value
    raise ManifestError(f"{where}.{key} is {_shown(value)}, not a count.", _REMEDY)


def _shown(value: object) -> str:
    return abbreviated(value) if isinstance(value, str) else f"{value!r:.80}"
