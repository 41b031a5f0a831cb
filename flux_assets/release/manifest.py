"""manifest.json of a release: which files it has, and what each must be."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from flux_assets.errors import ManifestError, abbreviated

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


def mismatch(file: str, what: str, promised: object, found: object) -> ManifestError:
    """Return the error of a file that is not as the manifest says."""
    return ManifestError(
        f"{file}: {what} is {found}, the manifest says {promised}.",
        "Fetch or copy the file again; if the file is right, rewrite the manifest.",
    )


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
