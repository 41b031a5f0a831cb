"""`flux-assets status --watch`, as a user sees it: on a terminal, in a pipe, and while the database is away."""

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest

from flux_assets.tables import declarations

pytestmark = pytest.mark.bare

PATIENCE = 60
PROGRAM = str(Path(sys.executable).with_name("flux-assets"))


@pytest.fixture
def environment(cluster, database) -> dict[str, str]:
    return os.environ | {"FLUX_POSTGRES_URL": cluster.tcp_url(database), "TERM": "xterm"}


@contextmanager
def watching(environment, *arguments: str, **streams) -> Iterator[subprocess.Popen]:
    command = [PROGRAM, "status", "--watch", "0.1", *arguments]
    with subprocess.Popen(command, env=environment, text=True, **streams) as process:
        try:
            yield process
        finally:
            process.kill()


def test_each_look_is_a_line_of_json_also_while_the_database_is_away(environment, database, cluster):
    with watching(environment, "--json", stdout=subprocess.PIPE) as process, cluster.admin_session() as admin:
        looks = map(json.loads, process.stdout)
        assert len(next(looks)["tables"]) == len(declarations())
        admin.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
        away = next(look for look in looks if "problem" in look)
        assert "not currently accepting connections" in away["problem"]
        admin.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS true")
        assert len(next(look for look in looks if "tables" in look)["tables"]) == len(declarations())
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(PATIENCE) == 130


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_pages_follow_each_other_where_there_is_no_terminal(environment, stop, code):
    with watching(environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        pages = [line for line in (process.stdout.readline() for _ in range(60)) if line.startswith("Schema public")]
        assert len(pages) > 1
        process.send_signal(stop)
        _, complaint = process.communicate(timeout=PATIENCE)
    assert (process.returncode, complaint) == (code, "")


def test_a_screen_is_drawn_anew_and_given_back_at_ctrl_c(environment):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    with watching({**environment, "COLUMNS": ""}, **streams) as process:
        os.close(theirs)
        seen = _until(ours, lambda seen: seen.count("Schema public") > 2)
        process.send_signal(signal.SIGINT)
        seen += _until(ours, lambda _: False)
        assert process.wait(PATIENCE) == 130
    entered, left, shown = (seen.rfind(f"\x1b[?{mode}") for mode in ("1049h", "1049l", "25h"))
    assert 0 <= entered < left
    assert shown > entered, "the cursor is there again"
    assert "Traceback" not in seen
    os.close(ours)


def _until(terminal: int, enough) -> str:
    """What comes until it is enough, or the other side is closed."""
    seen, until = b"", monotonic() + PATIENCE
    while not enough(seen.decode(errors="replace")):
        assert monotonic() < until
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            seen += os.read(terminal, 65536)
        except OSError:  # how Linux says that the other side is closed
            break
    return seen.decode(errors="replace")
