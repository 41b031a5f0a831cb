"""What all commands share: tables, messages, errors and exit codes."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import click

from flux_assets.errors import BusyError, FluxError, reported

if TYPE_CHECKING:
    from datetime import datetime

    from rich.progress import TaskID
    from rich.table import Table

WRONG, BUSY, INTERRUPTED = 1, 3, 130
_NO_LIMIT = 10_000
_FOLDED_WIDTH = 30
Cell = str | int | None


class Commands(click.Group):
    """A group that prints an error as a sentence and a remedy on stderr, never as a traceback.

    Exit code 1; 3 where another process is loading or syncing; 130 for Ctrl-C.
    """

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own signature
        try:
            return super().invoke(ctx)
        except FluxError as error:
            _print_error(error.problem, error.remedy)
            raise click.exceptions.Exit(BUSY if isinstance(error, BusyError) else WRONG) from None
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None
        except Exception as error:
            if not _is_database_error(error):
                raise
            _print_error(f"The database refused: {reported(error)}.", "`flux-assets doctor` tests what a load needs.")
            raise click.exceptions.Exit(WRONG) from None


def _print_error(problem: str, remedy: str = "") -> None:
    """Print a problem to stderr, in red on a terminal, and the remedy below it."""
    click.secho(f"Error: {problem}", fg="red", err=True)
    if remedy:
        click.echo(remedy, err=True)


def print_warning(problem: str) -> None:
    """Print to stderr what did not work although the command succeeds."""
    click.secho(f"Warning: {problem}", fg="yellow", err=True)


def show_table(headings: Sequence[str], rows: Sequence[Sequence[Cell]], *, folded: Sequence[str] = ()) -> None:
    """Print a table, numbers to the right. Only `folded` columns are wrapped, and only on a terminal."""
    terminal = sys.stdout.isatty()
    click.echo(drawn_table(headings, rows, folded=folded, terminal=terminal), color=terminal or None)


def drawn_table(
    headings: Sequence[str], rows: Sequence[Sequence[Cell]], *, folded: Sequence[str] = (), terminal: bool = False
) -> str:
    """Return the table that show_table prints, with colours for a terminal."""
    from rich import box
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD if terminal else None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    for place, heading in enumerate(headings):
        cells = [row[place] for row in rows]
        side: Literal["left", "right"] = "right" if any(isinstance(cell, int) for cell in cells) else "left"
        whole = heading not in folded
        width = max(map(cell_len, [heading, *map(_shown, cells)])) if whole else _FOLDED_WIDTH
        table.add_column(Text(heading), justify=side, no_wrap=whole, min_width=width, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_shown(cell), style=style_of(cell)) for cell in row))
    return _drawn(table, terminal=terminal)


def _drawn(table: Table, *, terminal: bool) -> str:
    from rich.console import Console
    from rich.measure import Measurement

    drawn = io.StringIO()
    console = Console(file=drawn, force_terminal=terminal, width=_NO_LIMIT, highlight=False)
    if terminal:
        # A terminal that is too narrow wraps the lines itself; Rich would cut identifiers.
        narrowest = Measurement.get(console, console.options, table).minimum
        console.width = max(shutil.get_terminal_size().columns, narrowest)
    console.print(table)
    return "\n".join(line.rstrip() for line in drawn.getvalue().rstrip("\n").split("\n"))


def _shown(cell: Cell) -> str:
    if cell is None:
        return "-"
    return f"{cell:,}" if isinstance(cell, int) else cell


def style_of(cell: Cell) -> str:
    """Return the Rich style of a state's name, an empty one for any other word."""
    return _STYLES.get(cell, "") if isinstance(cell, str) else ""


_STYLES = {
    "live": "green",
    "loading": "cyan",
    "under way": "cyan",
    "never loaded": "dim",
    "not synced": "dim",
    "failed": "bold red",
    "interrupted": "bold red",
    "broken": "bold red",
    "late": "bold red",
    "still": "yellow",
}


def exit_if(wrong: bool) -> None:
    """End the command with exit code 1 if something is wrong."""
    if wrong:
        click.get_current_context().exit(WRONG)


def moment(instant: datetime | None) -> str | None:
    """Return an instant in UTC, to the second."""
    return instant.strftime("%Y-%m-%d %H:%M:%SZ") if instant else None


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """Yield `report(name, done, of)`, which moves the bar of that name on stderr where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def report(name: str, done: int, of: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=of)
            bars.update(tasks[name], completed=done, total=of)

        yield report


def _is_database_error(error: Exception) -> bool:
    """Return whether the driver raised the error, without importing it: then it is loaded."""
    psycopg = sys.modules.get("psycopg")
    return psycopg is not None and isinstance(error, psycopg.Error)
