"""Writing a release: files as gzip, and the manifest, whose JSON schema lies beside this module."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from geoalchemy2 import Geography, Geometry

from flux_assets.errors import ReleaseError
from flux_assets.release.files import MissingError
from flux_assets.release.formats.files import RowFile
from flux_assets.release.formats.mapping import LayerMapping
from flux_assets.release.release import MANIFEST, FileEntry, Release
from flux_assets.spec import StaticTable, type_ddl

UNFINISHED = ".unfinished"
# Hexadecimal geometry gains little from more effort.
_COMPRESSION = 4
_GZIP_WINDOW = zlib.MAX_WBITS | 16


class GzipWriter:
    """Bytes to gzip, with size and digest of what was written. The header holds no time: the same bytes again."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._packer = zlib.compressobj(_COMPRESSION, zlib.DEFLATED, _GZIP_WINDOW)
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, content: bytes | bytearray) -> None:
        self._put(self._packer.compress(content))

    def finish(self) -> None:
        self._put(self._packer.flush())

    def _put(self, packed: bytes) -> None:
        self._file.write(packed)
        self.digest.update(packed)
        self.size += len(packed)


class _Unlisted(Release):
    """The files of a folder, whatever its manifest says of them."""

    def manifest(self) -> None:
        return None


def entries_of(
    folder: Path,
    tables: Sequence[StaticTable],
    cache: Path,
    mappings: Mapping[str, LayerMapping],
    log: Callable[[str], None],
) -> list[FileEntry]:
    """Read the layer files of a folder, of any format, and return what a manifest says of them, part by part.

    A manifest that is there is left out of account. Raises ReleaseError where no table has a file there, and what
    reading a file raises; values are not judged.
    """
    release = _Unlisted(str(folder), None, cache, mappings=mappings)
    entries = []
    for table in tables:
        try:
            found = release.resolve(table.file_name, table.name)
        except MissingError:
            continue
        for path, file in zip(release.at_hand(found), found.files, strict=True):
            rows = RowFile.stream([path], file, table, None, None).count()
            log(f"{file.file}: {rows:,} rows")
            entries.append(
                FileEntry(table=table.name, file=file.file, rows=rows, bytes=path.stat().st_size, sha256=file.sha256)
            )
    if not entries:
        raise ReleaseError(
            f"{release.address} has no file of a declared layer.",
            "Name files as their tables, such as substations.csv.gz (docs/formats.md); the layers are"
            f" {', '.join(table.name for table in tables)}.",
        )
    return entries


def write_manifest(folder: Path, entries: Iterable[FileEntry], tables: Iterable[StaticTable], **about: object) -> None:
    """Write manifest.json into a folder: what it is `about`, its files, and the columns of the tables that it has.

    Whoever reads it meanwhile finds the former one or this one. Raises ReleaseError where the folder takes no file.
    """
    files = [{key: getattr(entry, key) for key in ("table", "file", "rows", "bytes", "sha256")} for entry in entries]
    there = {file["table"] for file in files}
    schema = {table.name: _schema(table) for table in tables if table.name in there}
    text = json.dumps({**about, "files": files, "schema": schema}, indent=2) + "\n"
    unfinished = folder / f"{MANIFEST}{UNFINISHED}"
    try:
        try:
            unfinished.write_text(text, encoding="utf-8")
            unfinished.replace(folder / MANIFEST)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        problem = f"{folder / MANIFEST} cannot be written: {error.strerror or error}."
        raise ReleaseError(problem, "Let the user of this process write there, and keep room.") from error


def _schema(table: StaticTable) -> dict[str, Any]:
    columns = []
    for column in table.columns:
        said: dict[str, Any] = {"name": column.name, "type": type_ddl(column), "nullable": bool(column.nullable)}
        if isinstance(column.type, (Geometry, Geography)):
            said |= {"geometry_type": str(column.type.geometry_type).upper(), "srid": column.type.srid}
        columns.append(said)
    return {"key": list(table.key), "columns": columns}
