"""What the embedded servers share: commands of processes, ports, and a lock between processes."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, flock
from pathlib import Path


def command_line(process: int) -> str:
    """Return the command of a running process, its words joined by spaces; empty for one that has ended."""
    with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        if Path("/proc/self/cmdline").exists():
            return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        command = ["ps", "-ww", "-o", "args=", "-p", str(process)]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return ""


def accepts(port: int) -> bool:
    """Return whether something accepts connections at a port of this machine."""
    with socket.socket() as client:
        client.settimeout(5)
        return client.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Hold a lock that one process at a time can hold; it ends with the process."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        flock(file, LOCK_EX)
        yield
