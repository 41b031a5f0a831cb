"""The files of the stand-in under FLUX_HOME: where it listens, its password, log and data. Not here: processes."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from flux_assets.sample.layout import replace_text


@dataclass(frozen=True, kw_only=True)
class Listening:
    """The process that listens, and its port on 127.0.0.1; pid 0 after one that ended in order."""

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
        """A DuckDB file a database."""
        return self.folder / "data"

    @property
    def temporary(self) -> Path:
        """What the server needs while it runs: files of stages."""
        return self.folder / "tmp"

    @property
    def secret(self) -> Path:
        """The password; only the user who made the stand-in can read it."""
        return self.folder / "password"

    @property
    def process_file(self) -> Path:
        return self.folder / "server.json"

    def password(self) -> str:
        return self.secret.read_text()

    def ensure_password(self) -> None:
        """Make a password if there is none."""
        if not self.secret.exists():
            replace_text(self.secret, secrets.token_hex(20), mode=0o600)

    def read_listening(self) -> Listening | None:
        """What the last start wrote; None before the first, and when the file is not whole."""
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
