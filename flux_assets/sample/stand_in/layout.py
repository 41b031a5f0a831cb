"""The files of the stand-in under FLUX_HOME: where it listens, its password, log and data."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from flux_assets.sample.layout import replace_text
from flux_assets.sample.processes import alone


@dataclass(frozen=True, kw_only=True)
class Listening:
    """The process that listens, and its port on 127.0.0.1; pid 0 after a clean end."""

    pid: int
    port: int


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The paths within the stand-in's folder, which is absolute."""

    folder: Path

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    @property
    def lock(self) -> Path:
        return self.folder / "lock"

    @property
    def data(self) -> Path:
        """The databases, a DuckDB file each."""
        return self.folder / "data"

    @property
    def temporary(self) -> Path:
        """Files of stages, while the server runs."""
        return self.folder / "tmp"

    @property
    def secret(self) -> Path:
        """The password, which only the user who created the stand-in can read."""
        return self.folder / "password"

    @property
    def process_file(self) -> Path:
        return self.folder / "server.json"

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep others from filling or simulating meanwhile, or their transactions would conflict."""
        with alone(self.folder / "writing"):
            yield

    def password(self) -> str:
        return self.secret.read_text()

    def ensure_password(self) -> None:
        """Write a password if there is none."""
        if not self.secret.exists():
            replace_text(self.secret, secrets.token_hex(20), mode=0o600)

    def read_listening(self) -> Listening | None:
        """Return what the last start wrote; None before the first start, and where the file is incomplete."""
        try:
            return Listening(**json.loads(self.process_file.read_text()))
        except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
            return None

    def write_listening(self, listening: Listening) -> None:
        replace_text(self.process_file, json.dumps(asdict(listening)), mode=0o644)

    def forget_listening(self, pid: int) -> None:
        """Keep only the port, unless a newer server has written the file since."""
        last = self.read_listening()
        if last is not None and last.pid == pid:
            self.write_listening(Listening(pid=0, port=last.port))
