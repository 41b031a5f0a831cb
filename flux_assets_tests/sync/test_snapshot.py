"""What was read of a source waits as it came: in memory, and beyond its share of that in a file."""

import errno
from contextlib import closing, nullcontext
from itertools import pairwise

import pyarrow as pa
import pytest

from flux_assets.errors import SyncError
from flux_assets.snowflake.rows import Rows
from flux_assets.sync import reader as snapshot
from flux_assets.sync.reader import Snapshot
from flux_assets_tests.snowflake.test_warehouse_rows import arrived
from flux_assets_tests.synced import FAULTS
from scripts.write_source_queries import declared_mapping


def taken(*pieces: pa.Table) -> Snapshot:
    return Snapshot.take(Rows(declared_mapping(FAULTS), lambda: nullcontext(pieces)))


@pytest.mark.parametrize("rows", [0, 1, 5, 1000])
def test_how_it_is_cut_does_not_show(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for at_once, in_memory in ((10**9, 10**9), (7, 10**9), (7, 1000), (7, 0)):
        monkeypatch.setattr(snapshot, "_ROWS_AT_ONCE", at_once)
        monkeypatch.setattr(snapshot, "_IN_MEMORY_BYTES", in_memory)
        one = taken(arrived(rows // 2), arrived(rows - rows // 2, rows // 2))
        with closing(one):
            found.append((one.rows, one.fingerprint, b"".join(one.chunks())))
            assert b"".join(one.chunks()) == found[-1][2], "it can be read more than once"
    assert all(one == other for one, other in pairwise(found))
    assert found[0][0] == rows


def test_another_order_or_value_is_another_fingerprint() -> None:
    plain, turned, other = arrived(10), arrived(10).take(list(range(10))[::-1]), arrived(10, 1)
    assert len({taken(one).fingerprint for one in (plain, turned, other, plain)}) == 3


def test_what_is_beyond_its_share_of_memory_lies_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "_ROWS_AT_ONCE", 100)
    monkeypatch.setattr(snapshot, "_IN_MEMORY_BYTES", 10_000)
    with closing(taken(arrived(10_000))) as one:
        held = sum(map(len, one.spool._kept))
        assert 0 < held <= 10_000
        assert sum(map(len, one.chunks())) > 10 * held


def test_a_full_disk_names_the_folder_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> object:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(snapshot, "TemporaryFile", full)
    monkeypatch.setattr(snapshot, "_IN_MEMORY_BYTES", 0)
    with pytest.raises(SyncError, match=r"cannot be kept in .*: No space left on device.*TMPDIR"):
        taken(arrived(10))
