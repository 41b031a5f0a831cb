"""A gzip file as pieces of plain bytes, in flat memory whatever the file holds.

Here: members, padding, checksums, and what a damaged or foreign file is told. Not here: what the bytes mean
(blocks.py cuts them into records). isal does the work: a quarter of gunzip's time, and its output can be bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import cast

from isal import igzip_lib

from flux_assets.errors import ManifestError, ReleaseError
from flux_assets.release.decode.packed import PackedBytes
from flux_assets.release.fetch.files import opened
from flux_assets.release.stopping import check_stop

_DamageError = cast("type[Exception]", igzip_lib.IsalError)
_SAMPLE = 1 << 22
_MAGIC = b"\x1f\x8b"
_AGAIN = "Fetch or write the file again; `gzip -t` tells whether a copy is whole."


class GunzippedFile:
    """One pass over the plain bytes of a gzip file; every member of it, checksums compared.

    `gz_bytes` and `csv_bytes` count what has been read and given so far. With `sha256`, the compressed bytes that
    were really read must have that digest: a file that is swapped while it is read is not taken for the other one.
    With `most`, the file is taken to end after so many compressed bytes.
    """

    def __init__(
        self, path: Path, name: str, *, piece: int = 1 << 20, sha256: str | None = None, most: int | None = None
    ) -> None:
        self._path, self._name, self._piece, self._sha256, self._most = path, name, piece, sha256, most
        self.gz_bytes = 0
        self.csv_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        """Pieces of about `piece` bytes, never more than twice that.

        Raises ReleaseError, naming the file and the byte, when it cannot be opened, is empty, is not gzip, is
        truncated or damaged, or goes on after its end; ManifestError when it is not the file of `sha256`.
        """
        try:
            with opened(self._path, self._name) as file:
                packed = PackedBytes(file.read, digested=self._sha256 is not None, most=self._most)
                yield from _gathered(self._members(packed), self._piece)
        except OSError as error:
            raise ReleaseError(f"{self._name}: cannot be read: {error.strerror or error}.", _AGAIN) from error

    def _members(self, packed: PackedBytes) -> Iterator[bytes]:
        if not packed.peek(1):
            raise ReleaseError(f"{self._name}: the file is empty, not even a gzip header.", _AGAIN)
        while packed.peek(1):
            yield from self._member(packed)
            while packed.skip_zeros():  # padding, as for gzip itself
                check_stop()
        if self._sha256 not in {None, packed.sha256}:
            raise ManifestError(
                f"{self._name}: sha256 is {packed.sha256}, expected {self._sha256}.",
                "The file changed while it was read, or is another one; run again.",
            )

    def _member(self, packed: PackedBytes) -> Iterator[bytes]:
        if packed.peek(len(_MAGIC)) != _MAGIC:
            raise self._foreign(packed)
        member = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        while not member.eof:
            check_stop()
            sound = packed.position
            given = packed.take() if member.needs_input else b""
            self.gz_bytes = packed.total
            if member.needs_input and not given:
                raise ReleaseError(
                    f"{self._name}: the gzip data is truncated: it stops at byte {sound}, before its end.", _AGAIN
                )
            try:
                plain = member.decompress(given, self._piece)
            except _DamageError as error:
                raise self._damaged(sound, str(error)) from error
            if plain:
                self.csv_bytes += len(plain)
                yield plain
        packed.give_back(member.unused_data)

    def _foreign(self, packed: PackedBytes) -> ReleaseError:
        start = packed.position
        if start == 0:
            return ReleaseError(
                f"{self._name}: this is not a gzip file; it begins with {packed.peek(8)!r}.",
                "A release holds gzip CSV: compress the file with gzip.",
            )
        return ReleaseError(f"{self._name}: the gzip data ends at byte {start} and something else follows.", _AGAIN)

    def _damaged(self, sound: int, reason: str) -> ReleaseError:
        return ReleaseError(f"{self._name}: the gzip data is damaged, somewhere after byte {sound} ({reason}).", _AGAIN)


def expanded_bytes(path: Path) -> int:
    """About how many plain bytes the file holds, judged by its first megabytes; 0 when that cannot be told.

    For estimates only: what gzip itself notes down counts modulo 4 GB, and for its last member alone.
    """
    sample = GunzippedFile(path, path.name, most=_SAMPLE)
    with suppress(ReleaseError):  # the end of the sample, where the file is larger
        for _ in sample:
            check_stop()
    return int(sample.csv_bytes / sample.gz_bytes * path.stat().st_size) if sample.gz_bytes else 0


def _gathered(pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Small pieces joined, so that a file of many small members costs no more than one of a single member."""
    waiting = bytearray()
    for piece in pieces:
        if not waiting and len(piece) >= size // 2:
            yield piece
            continue
        waiting += piece
        if len(waiting) >= size // 2:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)
