"""A database 20 ms away: a proxy in a process of its own, whose threads do not wait for the client's.

`python -m bench.distance PORT DOORS` prints the ports of as many ways to the server, and for each line of input how
many round trips each has seen.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from bench.ground import Ground
from flux_assets.postgis.session import Target
from flux_assets.settings import REPOSITORY
from flux_assets_tests.faults.wire import wire_to

EACH_WAY = 0.010


@dataclass(frozen=True)
class Distance:
    """A running proxy, and the database behind each of its doors."""

    process: subprocess.Popen[str]
    targets: list[Target]

    def trips(self) -> list[int]:
        """How often, through each door, a client sent something and had to wait."""
        assert self.process.stdin is not None
        print(file=self.process.stdin, flush=True)
        return _numbers(self.process)


@contextmanager
def distant(ground: Ground, target: Target, doors: int = 1) -> Iterator[Distance]:
    """The same database far away, while the block runs; the proxy's CPU seconds count as the servers'."""
    command = [sys.executable, "-m", "bench.distance", str(conninfo_to_dict(target.conninfo)["port"]), str(doors)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=REPOSITORY, text=True, stdin=pipe, stdout=pipe) as process:
        ground.pids.append(process.pid)
        conninfos = [make_conninfo(target.conninfo, host="127.0.0.1", port=port) for port in _numbers(process)]
        try:
            yield Distance(process, [Target(conninfo=conninfo) for conninfo in conninfos])
        finally:
            ground.pids.remove(process.pid)
            process.terminate()


def _numbers(process: subprocess.Popen[str]) -> list[int]:
    assert process.stdout is not None
    return [int(each) for each in json.loads(process.stdout.readline())]


def main() -> None:
    with ExitStack() as stack:
        wires = [stack.enter_context(wire_to(int(sys.argv[1]), EACH_WAY)) for _ in range(int(sys.argv[2]))]
        print(json.dumps([wire.port for wire in wires]), flush=True)
        for _ in sys.stdin:
            print(json.dumps([wire.trips for wire in wires]), flush=True)


if __name__ == "__main__":
    main()
