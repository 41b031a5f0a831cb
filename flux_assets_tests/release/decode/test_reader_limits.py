"""The reader's memory and work are bounded for any file, and a request to stop is heard while it reads."""

import gzip
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import Column, Text

from flux_assets.errors import LayerError, Place, RecordError
from flux_assets.postgis.liveness import Stop
from flux_assets.release.decode.blocks import LONGEST_RECORD
from flux_assets.release.decode.stream import GunzippedFile, LayerStream
from flux_assets.release.download import remembered_digest
from flux_assets.release.stopping import stoppable
from flux_assets_tests.hostile_files import FILES, HEADER, ROW, of_members, write
from flux_assets_tests.release_files import FILE, SITES, compressed, narrow, read

# What docs/publishing.md promises.
MOST_MB = 500
# Far above what any of it takes; the faults that were found took longer, or had no end.
SECONDS = 240
HUGE = 1 << 40
LATE = Place(file=FILE, record=10**9 - 1)
WORD = narrow(Column("word", Text, comment="Text."))


def in_a_process(path: Path) -> tuple[int, str]:
    """By how many MB a process grows that reads the file, and what it says."""
    command = [sys.executable, "-m", "flux_assets_tests.hostile_files", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    growth, said = done.stdout.split(" ", 1)
    return int(growth), said


SAID = {
    "quotes in one record": "line 2, column site_id, value",
    "quotes in every record": "6 rows",
    "commas in one record": "the record has 15728641 values, the header names 15 columns",
    "commas without end": "the record is longer than 16 MB",
    "newlines in one value": "1 rows",
    "commas in the header": "line 1, value ',,,",
    "quotes in the header": "the header is longer than 1 MB",
    "long lines": "6 rows",
    "many points": "2 rows",
    "many points, big-endian": "2 rows",
    "digits of an integer": "line 2, column number, value '1111",
    "digits of no number": "line 2, column ratio, value '1111",
    "decimals": "it has more decimals than numeric(8, 2) keeps",
    "blanks of a time": "line 2, column seen, value '    ",
    "a fault behind a long record": "line 20003, column number, value 'x': it is not a whole number",
    "millions of rows": "900000 rows",
}


@pytest.mark.parametrize("name", FILES)
def test_memory_is_bounded(tmp_path, name):
    growth, said = in_a_process(write(name, tmp_path))
    assert SAID[name] in said
    assert len(said) < 1000
    assert growth < MOST_MB


def test_members_of_one_byte_and_of_none(tmp_path):
    parts = [HEADER, *(bytes([byte]) for byte in ROW * 500), *[b""] * 100_000]
    growth, said = in_a_process(of_members(parts, tmp_path))
    assert said == "500 rows\n"
    assert growth < MOST_MB


@pytest.mark.parametrize(("columns", "said"), [(1_600, "and 1,589 more"), (100_000, "more than 1,600 columns")])
def test_a_wide_header_is_refused_at_once(tmp_path, columns, said):
    """In a process of its own, which a loop of quadratic work would hold up beyond its time."""
    path = compressed(tmp_path, ",".join(["site_id", *map(str, range(1, columns))]) + "\n")
    growth, message = in_a_process(path)
    assert said in message
    assert len(message) < 1000
    assert growth < MOST_MB


@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize("block", [1 << 16, 1 << 20])
def test_the_longest_record_does_not_depend_on_where_the_file_is_cut(tmp_path, block, ended):
    end = "\n" if ended else ""
    fits = compressed(tmp_path, "word\n" + "x" * LONGEST_RECORD + end)
    assert read(fits, WORD, block_bytes=block)[1].rows == 1
    longer = compressed(tmp_path, "word\n" + "x" * (LONGEST_RECORD + 1) + end)
    with pytest.raises(RecordError, match=rf"{FILE}, line 2, column word, .*the record is longer than 16 MB"):
        read(longer, WORD, block_bytes=block)


def padded(folder: Path) -> Path:
    """A layer's file with a terabyte of zeros behind it, which are padding, and take no room on the disk."""
    path = compressed(folder, HEADER + ROW)
    os.truncate(path, HUGE)
    return path


def long_text(folder: Path) -> Path:
    """A file of which every pass takes minutes."""
    path = folder / FILE
    with path.open("wb") as file:
        file.write(gzip.compress(HEADER))
        part = gzip.compress(ROW * 500_000, 9)
        for _ in range(2_000):
            file.write(part)
    return path


LOOPS = {
    "a stream's padding": (padded, lambda path: list(LayerStream(path, FILE, SITES))),
    "a stream's rows": (long_text, lambda path: sum(len(batch) for batch in LayerStream(path, FILE, SITES))),
    "a digest": (padded, lambda path: remembered_digest(path, path.parent)),
    "the line of a record": (
        padded,
        lambda path: LayerStream(path, FILE, SITES).describe_record(Place(file=FILE, record=2), "", ""),
    ),
    "the line of a late record": (
        long_text,
        lambda path: LayerStream(path, FILE, SITES).describe_record(Place(file=FILE, record=10**9 - 1), "", ""),
    ),
}


@pytest.mark.parametrize("name", LOOPS)
def test_a_stop_is_heard_in_every_loop(tmp_path, name):
    """As a load on a thread of the executor hears it: none of these would end within the hour."""
    made, loop = LOOPS[name]
    path, stop, begun = made(tmp_path), Stop(), threading.Event()

    def check():
        begun.set()
        stop.check()

    asking = threading.Thread(target=lambda: begun.wait() and stop.request())
    asking.start()
    with pytest.raises(LayerError, match="Stopped on request"), stoppable(check):
        loop(path)
    asking.join()
    assert [thread.name for thread in threading.enumerate() if FILE in thread.name] == []


PROGRAM = """
import signal, sys
from pathlib import Path
from flux_assets.release.decode.stream import LayerStream
from flux_assets_tests.release_files import FILE, SITES
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
print("reading", flush=True)
list(LayerStream(Path(sys.argv[1]), FILE, SITES))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_heard(tmp_path, number):
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(padded(tmp_path))], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        try:
            assert child.stdout.readline() == b"reading\n"
            child.send_signal(number)
            assert child.wait(60) in {143, -signal.SIGINT}
        finally:
            child.kill()


def test_an_estimate_reads_a_sample_of_any_file(tmp_path):
    assert GunzippedFile.expanded_bytes(padded(tmp_path)) > 0
