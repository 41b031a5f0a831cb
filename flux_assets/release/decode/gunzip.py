"""A gzip file as pieces of plain bytes, in flat memory whatever the file holds.

isal's reader does the work, in a quarter of gzip's time, over a file that counts and digests what is read of it.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Iterator
from contextlib import suppress
from gzip import BadGzipFile
from pathlib import Path
from typing import Any, BinaryIO, cast

from isal import isal_zlib

from flux_assets.errors import ManifestError, ReleaseError
from flux_assets.release.fetch.files import opened
from flux_assets.release.stopping import check_stop

_DamageError = cast("type[Exception]", isal_zlib.error)
_READ = 1 << 18
_MEMBER_READ = 1 << 14
_SAMPLE = 4 << 20
_MAGIC = b"\x1f\x8b"
_AGAIN = "Fetch or write the file again; `gzip -t` tells whether a copy is whole."


class GunzippedFile:
    """One pass over the plain bytes of a gzip file, with all its members; their checksums are compared.

    `gz_bytes` and `csv_bytes` count what has been read and given so far. With `sha256`, the compressed bytes that were
    read must have that digest, so that a file that is swapped meanwhile is refused. With `most`, the file is taken to
    end after that many compressed bytes.
    """

    def __init__(
        self, path: Path, name: str, *, piece: int = 1 << 20, sha256: str | None = None, most: int | None = None
    ) -> None:
        self._path, self._name, self._piece, self._sha256, self._most = path, name, piece, sha256, most
        self.gz_bytes = 0
        self.csv_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        """Yield pieces of about `piece` bytes, never more than twice that.

        Raises ReleaseError, naming the file and the byte, when it cannot be opened, is empty, is not gzip, is
        truncated or damaged, or has something else after its end; ManifestError when it is not the file of `sha256`.
        """
        try:
            with opened(self._path, self._name) as file:
                packed = _PackedFile(file, digested=self._sha256 is not None, most=self._most)
                yield from self._pieces(file, packed)
        except OSError as error:
            raise ReleaseError(f"{self._name}: cannot be read: {error.strerror or error}.", _AGAIN) from error

    def _pieces(self, file: BinaryIO, packed: _PackedFile) -> Iterator[bytes]:
        self._check_magic(file)
        # The buffer joins the plain bytes of small members into whole pieces.
        with io.BufferedReader(
            cast("io.RawIOBase", isal_zlib._GzipReader(cast("BinaryIO", packed), _READ)), self._piece
        ) as reader:
            while plain := self._read(reader, file, packed):
                check_stop()
                self.gz_bytes = packed.total
                self.csv_bytes += len(plain)
                yield plain
        self.gz_bytes = packed.total
        if self._sha256 not in {None, packed.sha256}:
            raise ManifestError(
                f"{self._name}: sha256 is {packed.sha256}, expected {self._sha256}.",
                "The file changed while it was read, or is another one; run again.",
            )

    def _read(self, reader: io.BufferedReader[Any], file: BinaryIO, packed: _PackedFile) -> bytes:
        try:
            return reader.read(self._piece)
        except (EOFError, BadGzipFile, zlib.error, _DamageError) as error:
            raise self._fault(error, file, packed) from error

    def _fault(self, error: Exception, file: BinaryIO, packed: _PackedFile) -> ReleaseError:
        ended = isinstance(error, EOFError)
        if (ended or str(error).startswith("Not a gzipped file")) and self._most is None:
            end = _end_of_members(file)
            if file.read(len(_MAGIC)) != _MAGIC:
                return self._broken(f"ends at byte {end} and something else follows")
        if ended:
            return self._broken(f"is truncated: it stops at byte {packed.total}, before its end")
        return self._broken(f"is damaged, somewhere after byte {packed.total - packed.newest} ({error})")

    def _check_magic(self, file: BinaryIO) -> None:
        start = file.read(8)
        file.seek(0)
        if not start:
            raise ReleaseError(f"{self._name}: the file is empty, not even a gzip header.", _AGAIN)
        if not start.startswith(_MAGIC):
            raise ReleaseError(
                f"{self._name}: this is not a gzip file; it begins with {start!r}.",
                "A release holds gzip CSV: compress the file with gzip.",
            )

    def _broken(self, how: str) -> ReleaseError:
        return ReleaseError(f"{self._name}: the gzip data {how}.", _AGAIN)


def expanded_bytes(path: Path) -> int:
    """Return about how many plain bytes the file holds, judged by its first megabytes; 0 when that is unknown.

    For estimates only: the size that gzip itself notes counts modulo 4 GB, and for the last member alone.
    """
    sample = GunzippedFile(path, path.name, most=_SAMPLE)
    with suppress(ReleaseError):  # the end of the sample, where the file is larger
        for _ in sample:
            check_stop()
    return int(sample.csv_bytes / sample.gz_bytes * path.stat().st_size) if sample.gz_bytes else 0


class _PackedFile(io.RawIOBase):
    """The compressed bytes of a file, up to `most` of them, counted and digested as they are read.

    `total` counts the bytes read so far, `newest` those of the last read.
    """

    def __init__(self, file: BinaryIO, *, digested: bool, most: int | None) -> None:
        self._file, self._most = file, most
        self._digest = hashlib.sha256() if digested else None
        self.total = self.newest = 0

    @property
    def sha256(self) -> str | None:
        """The digest (hex) of all that was read, where it was asked for."""
        return self._digest.hexdigest() if self._digest else None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - whatever takes bytes
        check_stop()
        view = memoryview(buffer)[: None if self._most is None else self._most - self.total]
        size = cast("io.FileIO", self._file).readinto(view)
        if size:
            self.total += size
            self.newest = size
            if self._digest is not None:
                self._digest.update(view[:size])
        return size


def _end_of_members(file: BinaryIO) -> int:
    """Return the byte at which the whole members of `file` end, and leave it there.

    Reads it again, since isal's reader does not tell its place.
    """
    file.seek(0)
    while True:
        while (data := file.read(_MEMBER_READ)) and not data.strip(b"\0"):  # padding between members
            check_stop()
        start = file.seek(-len(data.lstrip(b"\0")), io.SEEK_CUR)
        member = isal_zlib.decompressobj(wbits=31)
        with suppress(_DamageError):
            while not member.eof and (data := file.read(_MEMBER_READ)):
                check_stop()
                member.decompress(data)
        if not member.eof:
            return file.seek(start)
        file.seek(-len(member.unused_data), io.SEEK_CUR)
