"""Decompression: every member, nothing but gzip, flat memory, and where the damage is."""

import gzip
import hashlib
import os
import tracemalloc
import zlib

import pytest

from flux_assets.errors import ManifestError, ReleaseError
from flux_assets.release.decode.stream import GunzippedFile

TEXT = b"".join(b"%d,%d\n" % (i, i * i) for i in range(200_000))


def write(folder, content):
    path = folder / "t.csv.gz"
    path.write_bytes(content)
    return path


def gunzip(folder, content, **how):
    return b"".join(GunzippedFile(write(folder, content), "t.csv.gz", **how))


def members(size):
    return b"".join(gzip.compress(TEXT[i : i + size]) for i in range(0, len(TEXT), size))


@pytest.mark.parametrize("size", [len(TEXT), 1_000_000, 65_536, 1_000])
def test_every_member_is_read(tmp_path, size):
    assert gunzip(tmp_path, members(size)) == TEXT


def test_small_members_come_in_large_pieces(tmp_path):
    pieces = list(GunzippedFile(write(tmp_path, members(10_000)), "t.csv.gz", piece=500_000))
    assert max(map(len, pieces)) <= 1_000_000
    assert min(map(len, pieces[:-1])) >= 250_000


def test_counts_both_sides(tmp_path):
    packed = gzip.compress(TEXT)
    file = GunzippedFile(write(tmp_path, packed), "t.csv.gz")
    assert sum(map(len, file)) == file.csv_bytes == len(TEXT)
    assert file.gz_bytes == len(packed)


def test_empty_members_and_zero_padding_are_nothing(tmp_path):
    nothing = gzip.compress(b"")
    assert gunzip(tmp_path, nothing + gzip.compress(b"a\n") + b"\0" * 9 + nothing + b"\0" * 300_000) == b"a\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"\x1f", "not a gzip file"),
        (b"site_id,code\nS1,A\n", "not a gzip file; it begins with b'site_id,'"),
        (b"PK\x03\x04" + bytes(50), "not a gzip file"),
        (zlib.compress(TEXT), "not a gzip file"),
        (b"\x1f\x8b\x07" + bytes(50), "damaged, somewhere after byte 0"),
        (gzip.compress(TEXT) + b"more", f"ends at byte {len(gzip.compress(TEXT))} and something else follows"),
        (gzip.compress(TEXT) + b"\0\0\0x", f"ends at byte {len(gzip.compress(TEXT)) + 3} and something else follows"),
    ],
    ids=["empty", "one byte", "text", "zip", "zlib", "method", "garbage", "garbage after zeros"],
)
def test_refuses_what_is_not_gzip(tmp_path, content, said):
    with pytest.raises(ReleaseError) as caught:
        gunzip(tmp_path, content)
    assert str(caught.value).startswith("t.csv.gz: ")
    assert said in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize("kept", [11, 5_000, -1, -8])
def test_says_where_a_truncated_file_stops(tmp_path, kept):
    packed = gzip.compress(TEXT)[:kept]
    with pytest.raises(ReleaseError, match=f"truncated: it stops at byte {len(packed)}"):
        gunzip(tmp_path, packed)


@pytest.mark.parametrize("at", [-2, -6], ids=["length", "checksum"])
def test_compares_checksum_and_length(tmp_path, at):
    packed = bytearray(gzip.compress(TEXT))
    packed[at] ^= 1
    with pytest.raises(ReleaseError, match="damaged, somewhere after byte"):
        gunzip(tmp_path, bytes(packed))


def test_damage_in_the_middle_is_placed_near_it(tmp_path):
    packed = bytearray(gzip.compress(os.urandom(3 << 20)))
    packed[2 << 20 : (2 << 20) + 50] = bytes(50)
    with pytest.raises(ReleaseError, match=r"damaged, somewhere after byte (\d+)") as caught:
        gunzip(tmp_path, bytes(packed))
    place = int(str(caught.value).split("after byte ")[1].split()[0])
    assert place <= len(packed)


def test_a_missing_file_is_a_release_error(tmp_path):
    with pytest.raises(ReleaseError, match=r"t\.csv\.gz: cannot be read: No such file"):
        list(GunzippedFile(tmp_path / "none", "t.csv.gz"))


def test_the_bytes_read_must_have_the_digest(tmp_path):
    packed = gzip.compress(TEXT)
    right = hashlib.sha256(packed).hexdigest()
    assert gunzip(tmp_path, packed, sha256=right) == TEXT
    with pytest.raises(ManifestError, match=f"sha256 is {right}, expected {'0' * 64}"):
        gunzip(tmp_path, packed, sha256="0" * 64)


def test_hostile_compression_keeps_memory_flat(tmp_path):
    """A thousandfold: 200 kB become 200 MB, in pieces."""
    packer = zlib.compressobj(9, wbits=31)
    path = write(tmp_path, b"".join(packer.compress(bytes(1 << 20)) for _ in range(200)) + packer.flush())
    assert path.stat().st_size < 300_000
    tracemalloc.start()
    total = sum(len(piece) for piece in GunzippedFile(path, "t.csv.gz"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 200 << 20
    assert peak < 16 << 20


@pytest.mark.parametrize("size", [len(TEXT), 20_000])
def test_expanded_bytes_is_about_right(tmp_path, size):
    assert GunzippedFile.expanded_bytes(write(tmp_path, members(size))) == pytest.approx(len(TEXT), rel=0.05)


def test_expanded_bytes_of_what_is_no_gzip_is_unknown(tmp_path):
    assert GunzippedFile.expanded_bytes(write(tmp_path, b"nothing")) == 0
