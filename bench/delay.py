"""A database 20 ms away: a loopback proxy that holds every byte back, in a process of its own.

Here: `python -m bench.delay PORT SECONDS`, which prints the port that it listens on, and starting and stopping it.
Bytes wait in a queue with the time at which they are due, so that throughput is what it was: only answers come later.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from dataclasses import dataclass

from flux_assets.settings import REPOSITORY

_PIECE = 1 << 18


@dataclass(frozen=True)
class Delay:
    """A running proxy."""

    process: subprocess.Popen[str]
    port: int

    @property
    def pid(self) -> int:
        return self.process.pid

    @classmethod
    def start(cls, port: int, each_way: float) -> Delay:
        """In front of a port of this machine."""
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.delay", str(port), str(each_way)], cwd=REPOSITORY, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        assert process.stdout is not None
        return cls(process, int(process.stdout.readline()))

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


async def _serve(port: int, each_way: float) -> None:
    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port, limit=_PIECE)
        await asyncio.gather(_carry(reader, there_writer, each_way), _carry(there_reader, writer, each_way))

    server = await asyncio.start_server(met, "127.0.0.1", 0, limit=_PIECE)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, each_way: float) -> None:
    """One direction: what arrives now leaves `each_way` seconds later, whatever is on its way already."""
    waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while True:
            due, piece = await waiting.get()
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if not piece:
                writer.close()
                return
            writer.write(piece)
            await writer.drain()

    delivery = asyncio.create_task(deliver())
    try:
        while piece := await reader.read(_PIECE):
            waiting.put_nowait((time.monotonic() + each_way, piece))
    except ConnectionError:
        pass
    waiting.put_nowait((time.monotonic() + each_way, b""))
    await asyncio.gather(delivery, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2])))
