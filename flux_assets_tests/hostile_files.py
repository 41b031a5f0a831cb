"""Release files that are small and cost much, by name; `python -m flux_assets_tests.hostile_files PATH` reads one and
prints by how many MB the process grew meanwhile, and what came of it.
"""

from __future__ import annotations

import gzip
import struct
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path

from flux_assets.errors import ReleaseError
from flux_assets.release.decode.stream import LayerStream
from flux_assets_tests.release_files import FILE, SITES

MB = 1 << 20
NAMES = SITES.column_names
HEADER = ",".join(NAMES).encode() + b"\n"
ROW = b"S1,A" + b"," * (len(NAMES) - 2) + b"\n"


def row(**values: bytes) -> bytes:
    return b",".join(({"site_id": b"S1", "code": b"A"} | values).get(name, b"") for name in NAMES) + b"\n"


def points(order: int) -> bytes:
    """A record as long as one may be, of geometries as small as they may be, in either byte order."""
    sign, count = "<>"[order == 0], 7 * MB // 21
    head = struct.pack(sign + "BIII", order, 0x20000004, 4326, count)
    return (head + (struct.pack(sign + "BI", order, 1) + struct.pack(sign + "dd", 1, 2)) * count).hex().encode()


def line() -> bytes:
    count = 7 * MB // 16
    return (struct.pack("<BIII", 1, 0x20000002, 4326, count) + struct.pack("<dd", 1, 2) * count).hex().encode()


FILES = {
    "quotes in one record": lambda: [HEADER, b'"', b'""' * (31 * MB), b'"\n'],
    "quotes in every record": lambda: [HEADER, *[row(label=b'"' + b'""' * (7 * MB) + b'"')] * 6],
    "commas in one record": lambda: [HEADER, b"," * (15 * MB), b"\n"],
    "commas without end": lambda: [HEADER, b"," * (62 * MB)],
    "newlines in one value": lambda: [HEADER, row(label=b'"' + b"\n" * (15 * MB) + b'"')],
    "commas in the header": lambda: [b"," * (62 * MB), b"\n"],
    "quotes in the header": lambda: [b'"', b'""' * (31 * MB), b'"\n'],
    "long lines": lambda: [HEADER, *[row(path=line())] * 6],
    "many points": lambda: [HEADER, *[row(shape=points(1))] * 2],
    "many points, big-endian": lambda: [HEADER, *[row(shape=points(0))] * 2],
    "digits of an integer": lambda: [HEADER, row(number=b"1" * (15 * MB))],
    "digits of no number": lambda: [HEADER, row(ratio=b"1" * (15 * MB) + b"x")],
    "decimals": lambda: [HEADER, row(amount=b"0." + b"1" * (15 * MB))],
    "blanks of a time": lambda: [HEADER, row(seen=b" " * (15 * MB))],
    "a fault behind a long record": lambda: [HEADER, row(path=line()), ROW * 20_000, row(number=b"x")],
    "millions of rows": lambda: [HEADER, *[ROW * 60_000] * 15],
}


def write(name: str, folder: Path) -> Path:
    packer, path = zlib.compressobj(1, wbits=31), folder / FILE
    with path.open("wb") as file:
        for part in FILES[name]():
            file.write(packer.compress(part))
        file.write(packer.flush())
    return path


def of_members(parts: Iterable[bytes], folder: Path) -> Path:
    path = folder / FILE
    path.write_bytes(b"".join(gzip.compress(part, 0) for part in parts))
    return path


def peak_mb() -> float:
    """The peak of this process alone: ru_maxrss counts what the process that started it had by then."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1000


if __name__ == "__main__":
    before = peak_mb()
    try:
        said = f"{sum(batch.num_rows for batch in LayerStream(Path(sys.argv[1]), FILE, SITES))} rows"
    except ReleaseError as error:
        said = str(error)
    sys.stdout.write(f"{peak_mb() - before:.0f} {said}\n")
