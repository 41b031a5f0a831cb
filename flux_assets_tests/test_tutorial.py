"""docs/tutorial.md, followed as it is written: files made, commands run, and what they should print looked for."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from flux_assets.settings import REPOSITORY
from flux_assets_tests.test_wheel import Elsewhere, elsewhere, wheel

__all__ = ["elsewhere", "wheel"]
# A block, with the last name of a file that stands before it.
_BLOCK = re.compile(r"^```(\w+)(?: (\w+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"`([\w/]+\.(?:py|toml))`")
# The fixture does that: with the wheel, and what it depends on from this environment.
_INSTALLED = ("python3 -m venv ", ". venv/bin/activate", "pip install ")


def test_every_step_does_what_the_page_says(elsewhere: Elsewhere) -> None:
    text = (REPOSITORY / "docs" / "tutorial.md").read_text()
    folder, exported, said, at = elsewhere.folder, "", "", 0
    for block in _BLOCK.finditer(text):
        kind, fails, body = block.groups()
        if kind == "console":
            lines = [line for line in body.splitlines() if not line.startswith(_INSTALLED)]
            if exports := [line for line in lines if line.startswith("export ")]:
                exported = "\n".join(exports)
            script = "\n".join(["set -e", exported, f"cd {shlex.quote(str(folder))}", *lines, "pwd"])
            said = elsewhere.run_script(script, ends=(1,) if fails else (0,))
            if not fails:
                folder = Path(said.splitlines()[-1])
        elif kind == "text":
            missing = [line for line in body.splitlines() if " ".join(line.split()) not in " ".join(said.split())]
            assert missing == [], said
        else:
            name = _FILE.findall(text[at : block.start()])[-1]
            (folder / name).write_text(body)
        at = block.end()
