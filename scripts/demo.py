"""The work of `make demo`: load every layer, sync once, show what is there, draw it.

Two processes, because imports are most of what a second demo costs: while one loads, the other makes ready to sync.
"""

from __future__ import annotations

import importlib
import io
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from flux_assets.cli.main import main as flux_assets
from flux_assets.settings import load_settings
from flux_assets.wiring.source import snowflake_account
from flux_assets.wiring.target import postgis_target

# A line of Dagster's: when, level, job, run, step, what.
_LOGGED = re.compile(r"\S+ \S+ \S+ - dagster - (?P<level>[A-Z]+) - \S+ - \S+ - \S+ - (?P<said>.*)")
_OF_NOTE = re.compile(r"rows in|unchanged|inserted|as they were|Making the sample")


class _Told(io.TextIOBase):
    """Passes on what is written, of Dagster's log only what happened to each table, and every warning and error."""

    def __init__(self, to: io.TextIOBase) -> None:
        self._to, self._begun = to, ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            logged = _LOGGED.fullmatch(line)
            if logged is None or logged["level"] != "INFO":
                self._to.write(f"{line}\n")
            elif _OF_NOTE.search(logged["said"]):
                self._to.write(f"  {logged['said'].removeprefix('public.')}\n")
        self._to.flush()
        return len(text)


def prepare() -> None:
    """Make the sample release, and start and fill the Snowflake stand-in: what can be done before PostGIS is there."""
    snowflake_account(load_settings())


def sync_when_told() -> None:
    """Import what a sync needs, and sync once a line arrives on standard input; end without it when none does."""
    importlib.import_module("flux_assets.definitions")
    importlib.import_module("dagster_snowflake")
    if sys.stdin.readline():
        _run("sync")


def demo() -> None:
    """Run the demo; exit with the code of the command that fails."""
    command = [sys.executable, __file__, "sync"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as sync:
        _say("loading the layers of the release (dagster asset materialize --select group:static_layers)")
        _run("load")
        _say("syncing the dynamic tables (dagster asset materialize --select group:dynamic_operations)")
        sync.stdin.write("now\n")
        sync.stdin.close()
        picture = _draw()
    if sync.returncode:
        sys.exit(sync.returncode)
    click.echo()
    _run("status")
    click.echo(
        f"\nThe map, drawn from the tables just shown: {_short(picture)}\n"
        "The assets in Dagster's UI, synced every five minutes: make ui, then http://127.0.0.1:3000\n"
        "The tables themselves: .venv/bin/flux-assets psql, or the address that .venv/bin/flux-assets up tells, in QGIS"
    )


def _say(what: str) -> None:
    click.echo(f"demo: {what}")


def _run(command: str) -> None:
    if code := flux_assets([command], standalone_mode=False):
        sys.exit(code)


def _draw() -> Path:
    """Draw the map where there is none that is younger than the layers."""
    settings = load_settings()
    picture, target = settings.flux_home / "map.png", postgis_target(settings)
    with target.session("demo") as session:
        query = "SELECT max(published_at) FROM postgres_sync.v_table_status WHERE kind = 'static'"
        ((published,),) = session.execute(query)
        if not picture.exists() or datetime.fromtimestamp(picture.stat().st_mtime, UTC) < published:
            from draw_map import draw_map

            draw_map(session, target.schema, picture)
    return picture


def _short(path: Path) -> Path:
    """The path from the folder that `make demo` was called in, if it lies there."""
    called = Path(os.environ.get("OLDPWD", "/nowhere"))
    return path.relative_to(called) if path.is_relative_to(called) else path


if __name__ == "__main__":
    sys.stderr = _Told(sys.stderr)  # type: ignore[assignment]
    try:
        {"prepare": prepare, "sync": sync_when_told}.get("".join(sys.argv[1:]), demo)()
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
