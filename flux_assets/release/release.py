"""A release: where it is, what its manifest says, and its files, fetched and verified."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from flux_assets.errors import ManifestError, ReleaseError, abbreviated
from flux_assets.release.download import Download, remembered_digest
from flux_assets.release.files import Address, MissingError, opened
from flux_assets.release.formats.mapping import LayerMapping
from flux_assets.release.http import HttpStore
from flux_assets.release.stores import FsspecStore, Limits, TooLargeError

MANIFEST = "manifest.json"
_PART = re.compile(r"part-(?P<number>\d{1,9})[^/]*?(?P<suffix>\.csv\.gz|\.parquet|\.csv|\.fgb|\.geojsonl)")
_FETCHED_AT_ONCE = 4
_SUFFIXES = (".csv.gz", ".parquet", ".gpkg", ".fgb", ".shp.zip", ".gdb.zip", ".geojson", ".geojsonl", ".csv")
_GZIP, *_OTHERS = _SUFFIXES
_S = TypeVar("_S")
_T = TypeVar("_T")
_LARGEST = 4 << 20  # bytes of a manifest: a few hundred for each file
_LARGEST_COUNT = 2**63 - 1
_REMEDY = "Rewrite it (`flux-assets manifest` does), or remove it: it is not required."


@dataclass(frozen=True, kw_only=True, slots=True)
class FileEntry:
    """One file as the manifest lists it; `file` is its name within the release, None is not given.

    `rows` counts records without the header, `bytes` and `sha256` (hex) are of the compressed file. Of a layer in
    `parts` it is their folder, and what is said of all of them.
    """

    table: str
    file: str
    rows: int | None = None
    bytes: int | None = None
    sha256: str | None = None
    parts: tuple[FileEntry, ...] = ()

    @classmethod
    def together(cls, table: str, parts: Sequence[FileEntry]) -> FileEntry:
        """Return the parts of a layer as its one file."""
        return cls(
            table=table,
            file=f"{table}/",
            rows=_sum(part.rows for part in parts),
            bytes=_sum(part.bytes for part in parts),
            sha256=_of_all(part.sha256 for part in parts),
            parts=tuple(parts),
        )


def _sum(counts: Iterable[int | None]) -> int | None:
    known = [*counts]
    return None if None in known else sum(count or 0 for count in known)


def _of_all(digests: Iterable[str | None]) -> str | None:
    """Return the digest of parts: SHA-256 (hex) of theirs in their order; None while one is unknown."""
    known = [*digests]
    return None if None in known else hashlib.sha256("\n".join(map(str, known)).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseFile:
    """One layer's file, identified by its digest. `bytes` and `rows` are None while they are unknown.

    `address` is for people: it lacks user, password and query. A layer in `parts` has their folder's name and address.
    """

    table: str
    file: str
    address: str
    sha256: str
    bytes: int | None = None
    rows: int | None = None
    mapping: LayerMapping | None = None
    parts: tuple[ReleaseFile, ...] = ()

    @property
    def files(self) -> tuple[ReleaseFile, ...]:
        """Its parts in their order, or itself."""
        return self.parts or (self,)

    @property
    def identity(self) -> str:
        """What tells it from every other state of the layer's file: its digest, with what is mapped of it."""
        return f"{self.sha256}\n{self.mapping.digest}" if self.mapping else self.sha256


@dataclass(frozen=True, slots=True)
class Glance:
    """The state of a file, without reading it: `stamp` changes when the file does, or what is mapped of it.

    `sha256` is what the manifest promises, or that of the same remote file when it was fetched; else None. `size` is
    None where the store does not tell it. `files` are the names of the file, or of its parts. `mapping` is the digest
    of what is mapped, empty where nothing is.
    """

    sha256: str | None
    stamp: str
    size: int | None
    files: tuple[str, ...] = ()
    mapping: str = ""


class Release:
    """A versioned set of files under one folder or prefix. Fetched files are kept below the folder `cache`.

    `pause` is the first wait, in seconds, before another attempt. `mappings` say, by table, how files are read that
    differ from the declaration.
    """

    def __init__(
        self,
        address: str,
        tag: str | None,
        cache: Path,
        *,
        limits: Limits | None = None,
        pause: float = 0.5,
        mappings: Mapping[str, LayerMapping] | None = None,
    ) -> None:
        self._address = Address(address)
        self._address.check()
        self._cache, self._pause, self._limits = cache.resolve(), pause, limits or Limits()
        self._store = (HttpStore if self._address.is_http else FsspecStore)(self._limits)
        self._mappings = mappings or {}
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
        return self._of_any_format(file_name, table, self._resolved, every=True)

    def _resolved(self, entry: FileEntry) -> ReleaseFile:
        if entry.parts:
            parts = [self._of_part(part, self._resolved) for part in entry.parts]
            return ReleaseFile(
                table=entry.table,
                file=entry.file,
                address=self._address.file(entry.file).shown,
                sha256=str(_of_all(part.sha256 for part in parts)),
                bytes=_sum(part.bytes for part in parts),
                rows=entry.rows,
                mapping=self._mappings.get(entry.table),
                parts=tuple(parts),
            )
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
            table=entry.table,
            file=entry.file,
            address=address,
            sha256=sha256,
            bytes=size,
            rows=entry.rows,
            mapping=self._mappings.get(entry.table),
        )

    def undeclared(self, tables: Collection[str]) -> list[str]:
        """Return the names of tables that the release has a file of, and that are not among these.

        The manifest tells them, and a local folder. Raises ManifestError when the manifest is malformed.
        """
        named = set(self.manifest() or ())
        if self._folder is not None:
            named |= {path.name.removesuffix(end) for end in _SUFFIXES for path in self._folder.glob(f"*{end}")}
            named |= {path.parent.name for path in self._folder.glob("*/part-*")}
        return sorted(named - set(tables))

    def fetch(self, file: ReleaseFile) -> Path:
        """Return a local path of the file with its digest: in place in a folder, else fetched to the cache.

        Of a file in parts all are fetched, and the path is that of the first. Raises ReleaseError when it is
        unavailable, ManifestError when it is not as the manifest says; it is then not kept.
        """
        if file.parts:
            return self._side_by_side(self.fetch, file.parts)[0]
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

    def at_hand(self, file: ReleaseFile) -> list[Path]:
        """Return what `fetch` does of a file or its parts, for a reader that compares digests, as LayerStream does.

        Of a file in a folder only the size is compared: reading all of it twice would prove no more.
        """
        if self._folder is None:
            return self._side_by_side(self.fetch, file.files)
        return [self._local(self._entry(each.file, each.table)) for each in file.files]

    def _side_by_side(self, work: Callable[[_S], _T], given: Sequence[_S]) -> list[_T]:
        if len(given) == 1:
            return [work(given[0])]
        with ThreadPoolExecutor(_FETCHED_AT_ONCE, "fetch") as pool:
            waiting = [pool.submit(copy_context().run, work, each) for each in given]
            try:
                return [each.result() for each in waiting]
            finally:
                for each in waiting:
                    each.cancel()

    def glance(self, file_name: str, table: str) -> Glance:
        """Return the file's state: a few bytes are read, however large it is.

        Raises ReleaseError when the file does not exist or is unavailable, ManifestError when it does not have the
        size in the manifest.
        """
        found, mapping = self._of_any_format(file_name, table, self._glanced), self._mappings.get(table)
        return replace(found, stamp=f"{found.stamp} {mapping.digest}", mapping=mapping.digest) if mapping else found

    def _glanced(self, entry: FileEntry) -> Glance:
        if entry.parts:
            found = [self._of_part(part, self._glanced) for part in entry.parts]
            sha256, size = _of_all(each.sha256 for each in found), _sum(each.size for each in found)
            names = tuple(part.file for part in entry.parts)
            return Glance(sha256, "\n".join(each.stamp for each in found), size, names)
        if self._folder is not None:
            state = self._local(entry).stat()
            shape = f"{state.st_size} {state.st_mtime_ns} {state.st_ino}"
            return Glance(entry.sha256, shape, state.st_size, (entry.file,))
        stamp, kept = self._store.stamp(self._address.file(entry.file)), self._download(entry).kept()
        self._check(entry, stamp.size)
        fetched = kept.sha256 if kept is not None and stamp.mark is not None and kept.stamp == stamp else None
        return Glance(entry.sha256 or fetched, f"{stamp.size} {stamp.mark}", stamp.size, (entry.file,))

    def _of_part(self, part: FileEntry, of: Callable[[FileEntry], _T]) -> _T:
        try:
            return of(part)
        except MissingError as error:  # a layer of which a part is missing is there, and broken
            problem = f"{error.problem.removesuffix('.')}, a part of {part.table}."
            raise ManifestError(problem, "Deliver the part, or correct the manifest.") from error

    @cached_property
    def _manifest(self) -> Mapping[str, FileEntry] | None:
        where = self._address.file(MANIFEST)
        limits = replace(self._limits, largest=_LARGEST)
        try:
            if self._folder is not None:
                path = where.local_file(self._folder, MANIFEST)
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

    def _of_any_format(self, file_name: str, table: str, of: Callable[[FileEntry], _T], *, every: bool = False) -> _T:
        """Return `of` the layer's file: the one of the manifest, else `file_name`, or the same of another format.

        Raises ReleaseError where there are two. Without a manifest a store is asked for `every` one only if that is
        said, and else for others only where there is no `file_name`: each takes a request.
        """
        entry = self._entry(file_name, table)
        if table in (self.manifest() or {}) or not file_name.endswith(_GZIP):
            if entry.parts and self._folder is not None:
                self._refuse_foreign(table, {part.file for part in entry.parts})
            return of(entry)
        stem = file_name.removesuffix(_GZIP)
        if self._folder is None and not every:
            with suppress(MissingError):
                return of(entry)
        others = [stem + end for end in _OTHERS]
        found = [name for name, there in zip(others, self._side_by_side(self._has, others), strict=True) if there]
        in_parts = self._parts(stem)
        if not found and not in_parts:
            return of(entry)
        found = [*([file_name] if self._has(file_name) else []), *found, *([f"{stem}/"] if in_parts else [])]
        if len(found) > 1:
            raise ReleaseError(
                f"{self.address} has more than one file of {table}: {', '.join(found)}.",
                "Keep one of them, or name it in manifest.json.",
            )
        if in_parts:
            return of(FileEntry.together(table, [FileEntry(table=table, file=file) for file in in_parts]))
        return of(replace(entry, file=found[0]))

    def _parts(self, stem: str) -> list[str]:
        """Return the names of a layer's parts in their order, where the store tells them; none where there are none.

        Raises ReleaseError for a gap, a part that is there twice, parts of several formats, and other files.
        """
        where, names = f"{self._address.file(stem).shown}/", self._listed(stem)
        found = [(match, name) for name in names if (match := _PART.fullmatch(name))]
        if not found:
            return []
        self._refuse_foreign(stem, {f"{stem}/{name}" for _, name in found})
        numbers = Counter(int(match["number"]) for match, _ in found)
        missing = sorted({*range(min(*numbers, 1), max(numbers) + 1)} - {*numbers})
        doubled = sorted(number for number, count in numbers.items() if count > 1)
        kinds = sorted({match["suffix"] for match, _ in found})
        for faults, problem in (
            (doubled, "has a part of the same number twice"),
            (missing, "lacks parts between those it has"),
            (kinds[1:], "has parts of several formats"),
        ):
            if faults:
                listed = ", ".join(map(str, kinds if faults == kinds[1:] else faults))
                raise ReleaseError(f"{where} {problem}: {listed}.", "Deliver it anew, with a manifest.json.")
        return [f"{stem}/{name}" for _, name in sorted(found, key=lambda each: int(each[0]["number"]))]

    def _listed(self, stem: str) -> list[str]:
        """Return the names in a folder of the release, where there is one and its store lists it."""
        if self._folder is None:
            return [] if isinstance(self._store, HttpStore) else self._store.names(self._address.file(stem))
        folder = self._folder / stem
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    def _refuse_foreign(self, stem: str, known: Collection[str]) -> None:
        """Raise ReleaseError where a layer's folder has other files than hidden ones and marks such as _SUCCESS."""
        others = [name for name in self._listed(stem) if name[0] not in "._" and f"{stem}/{name}" not in known]
        if others:
            where = f"{self._address.file(stem).shown}/"
            raise ReleaseError(f"{where} has files that are not its parts: {', '.join(others)}.", "Remove them.")

    def _has(self, name: str) -> bool:
        if self._folder is not None:
            return (self._folder / name).exists()
        try:
            self._store.stamp(self._address.file(name))
        except MissingError:
            return False
        return True

    def _entry(self, file_name: str, table: str) -> FileEntry:
        found = (self.manifest() or {}).get(table) or FileEntry(table=table, file=file_name)
        return next((part for part in found.parts if part.file == file_name), found)

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
    parts: dict[str, list[FileEntry]] = {}
    files: set[str] = set()
    for index, item in enumerate(listed):
        entry = _entry(item, f"{where}: files[{index}]")
        if entry.file.startswith(f"{entry.table}/") and _PART.fullmatch(entry.file.removeprefix(f"{entry.table}/")):
            if entry.file in files:
                raise ManifestError(f"{where}: file {abbreviated(entry.file)} is listed twice.", _REMEDY)
            parts.setdefault(entry.table, []).append(entry)
            files.add(entry.file)
            continue
        for key, name, seen in (("table", entry.table, entries), ("file", entry.file, files)):
            if name in seen:
                raise ManifestError(f"{where}: {key} {abbreviated(name)} is listed twice.", _REMEDY)
        entries[entry.table] = entry
        files.add(entry.file)
    if both := sorted(entries.keys() & parts):
        raise ManifestError(f"{where}: table {abbreviated(both[0])} is listed as one file and in parts.", _REMEDY)
    for table, listed in parts.items():
        ordered = sorted(listed, key=lambda part: int(re.sub(r".*/part-(\d+).*", r"\1", part.file)))
        entries[table] = FileEntry.together(table, ordered)
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
