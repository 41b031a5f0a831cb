"""What all commands share: what their arguments mean, tables, messages, errors and exit codes."""

from __future__ import annotations

import difflib
import io
import json
import logging
import os
import shutil
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal, TypeVar

import click

from flux_assets.errors import BusyError, FluxError, LayerError, SettingError, reported

if TYPE_CHECKING:
    from flux_assets.postgis.session import Target
    from flux_assets.spec import Declaration, StaticTable

_WRONG, _BUSY, _INTERRUPTED = 1, 3, 130
_NO_LIMIT = 10_000
_FOLDED_WIDTH = 30
_STYLES = {
    "live": "green",
    "still": "yellow",
    "loading": "cyan",
    "under way": "cyan",
    **dict.fromkeys(("never loaded", "not synced"), "dim"),
    **dict.fromkeys(("failed", "interrupted", "broken", "late"), "bold red"),
}
_T = TypeVar("_T", bound="Declaration")


class Commands(click.Group):
    """A group that prints an error as a sentence and a remedy on stderr, never as a traceback.

    Exit code 1; 3 where another process is loading or syncing; 130 for Ctrl-C.
    """

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.exceptions.Exit(_INTERRUPTED) from None
        except Exception as raised:
            # Dagster wraps what an executor or a resource raises.
            wrapped = not isinstance(raised, FluxError) and isinstance(raised.__cause__, FluxError)
            error = raised.__cause__ if wrapped else raised
            if not self.is_expected(error):
                raise
            problem = f"The database refused: {reported(error)}."
            remedy = "`flux-assets doctor` tests what a load needs."
            if isinstance(error, FluxError):
                problem, remedy = error.problem, error.remedy
            if not self.logged("ERROR", problem, remedy):
                click.secho(f"Error: {problem}", fg="red", err=True)
                if remedy:
                    click.echo(remedy, err=True)
            raise click.exceptions.Exit(_BUSY if isinstance(error, BusyError) else _WRONG) from None

    @staticmethod
    def logged(level: str, message: str, remedy: str = "") -> bool:
        """Write the message to stderr as a line of JSON where that is what FLUX_LOG_FORMAT asks for; return whether."""
        from flux_assets.settings import load_settings
        from flux_assets.telemetry import JsonLines

        try:
            wanted = load_settings().flux_log_format
        except SettingError:
            wanted = "json" if os.environ.get("FLUX_LOG_FORMAT") == "json" else "text"
        if wanted == "json":
            said = f"{message} {remedy}".strip()
            record = logging.makeLogRecord({"name": "flux_assets", "levelname": level, "msg": said})
            click.echo(JsonLines().format(record), err=True)
        return wanted == "json"

    @classmethod
    def log(cls, message: str) -> None:
        """Write to stderr what goes on."""
        if not cls.logged("INFO", message):
            click.echo(message, err=True)

    @staticmethod
    def is_expected(error: BaseException | None) -> bool:
        """Return whether the error is ours or the database driver's, without importing that: then it is loaded."""
        psycopg = sys.modules.get("psycopg")
        return isinstance(error, FluxError) or (psycopg is not None and isinstance(error, psycopg.Error))

    @staticmethod
    def finish_run(command: str, doing: str, run_id: str, succeeded: bool, busy: bool) -> None:
        """Say how a run that failed, or did nothing, ended; end the command with its exit code."""
        if busy:
            done = f"Nothing was done: another process is {doing} it."
            Commands.log(f"{done} Run `flux-assets {command}` again when that has ended.")
        elif not succeeded:
            Commands.log(f"Run {run_id} failed; the messages above say what to do.")
        exit_if(not succeeded, busy=busy)


def exit_if(wrong: bool, *, busy: bool = False) -> None:
    """End the command if something is wrong, or if another process is at it."""
    if wrong or busy:
        click.get_current_context().exit(_BUSY if busy else _WRONG)


def the_target(*, judges: bool = False) -> Target:
    """Return the database of the published tables, with the volumes of FLUX_CONFIG for who `judges` them."""
    from flux_assets.settings import load_settings
    from flux_assets.wiring.target import postgis_target

    return postgis_target(load_settings(), judges=judges)


def the_layer(name: str) -> StaticTable:
    """Return the declared layer of that name. Raises LayerError, which names close matches and all layers."""
    from flux_assets.tables import dynamic_tables, layers

    synced = f"{name} is not a layer: it is synced from Snowflake, by `flux-assets sync {name}`."
    elsewhere = synced if name in {table.name for table in dynamic_tables()} else None
    return one_of(layers(), "layer", name, elsewhere)


def one_of(
    tables: Sequence[_T], what: str, name: str, problem: str | None = None, error: type[FluxError] = LayerError
) -> _T:
    """Return the table of that name. Raises `error` with the problem, or with close matches, and all of their names."""
    from flux_assets.tables import catalogue

    named, declared = {table.name: table for table in tables}, catalogue()
    if name in declared.left_out:
        problem = f"{name} {declared.left_out[name]}."
    for view in (view for view in declared.views if view.name == name):
        problem = f"{name} is a view: it is made, and kept as declared, when {' or '.join(view.inputs)} is loaded."
    if name not in named:
        plain = name.strip().lower().replace("-", "_").replace(" ", "_")
        close = difflib.get_close_matches(plain, list(named), n=3, cutoff=0.6)
        meant = f" Did you mean {' or '.join(close)}?" if close else ""
        raise error(problem or f"There is no {what} {name!r}.{meant}", f"The {what}s are {', '.join(named)}.")
    return named[name]


def print_json(value: object, indent: int | None = 2) -> None:
    """Print the value as JSON, times in ISO format."""
    click.echo(json.dumps(value, indent=indent, default=lambda instant: instant.isoformat()))


def style_of(cell: object) -> str:
    """Return the Rich style of a state's name, an empty one for any other word."""
    return _STYLES.get(cell, "") if isinstance(cell, str) else ""


def show_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table, numbers to the right, times in UTC to the second."""
    terminal = sys.stdout.isatty()
    click.echo(drawn_table(headings, rows, terminal=terminal), color=terminal or None)


def drawn_table(headings: Sequence[str], rows: Sequence[Sequence[object]], *, folded: str = "", terminal: bool) -> str:
    """Return a table, with colours for a terminal; there alone, and in the `folded` column alone, lines are wrapped."""
    from rich import box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD if terminal else None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    for place, heading in enumerate(headings):
        cells = [row[place] for row in rows]
        side: Literal["left", "right"] = "right" if any(isinstance(cell, int) for cell in cells) else "left"
        whole = heading != folded
        width = max(map(cell_len, [heading, *map(_shown, cells)])) if whole else _FOLDED_WIDTH
        table.add_column(Text(heading), justify=side, no_wrap=whole, min_width=width, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_shown(cell), style=style_of(cell)) for cell in row))
    drawn = io.StringIO()
    console = Console(file=drawn, force_terminal=terminal, width=_NO_LIMIT, highlight=False)
    if terminal:
        # A terminal that is too narrow wraps the lines itself; Rich would cut identifiers.
        narrowest = Measurement.get(console, console.options, table).minimum
        console.width = max(shutil.get_terminal_size().columns, narrowest)
    console.print(table)
    return "\n".join(line.rstrip() for line in drawn.getvalue().rstrip("\n").split("\n"))


def _shown(cell: object) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, datetime):
        return f"{cell:%Y-%m-%d %H:%M:%SZ}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)
