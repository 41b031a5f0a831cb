"""The state of all tables on the screen, looked at again and again.

Here: the loop, the screen, and a database that goes away and comes back. Not here: what is shown (shown_status.py).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import click
import psycopg

from flux_assets.cli.shown_status import drawn_statuses
from flux_assets.errors import LONGEST_MESSAGE, FluxError, reported
from flux_assets.ledger.status import TableStatus

Look = Callable[[], Sequence[TableStatus]]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The last answer, when it came, and what is wrong since then."""

    found: Sequence[TableStatus] = ()
    at: datetime | None = None
    problem: str | None = None


def watch(look: Look, every: float, title: str) -> None:
    """Show what `look` finds every so many seconds until Ctrl-C; a database that is away is waited for."""
    with _screen() as show:
        for seen in _looks(look, every):
            show(_page(seen, f"{title}, every {every:g} s until Ctrl-C"))


def watch_as_json(look: Look, every: float, document: Callable[[Sequence[TableStatus]], object]) -> None:
    """Print a line of JSON for every look; an object with `problem` when there is no answer."""
    for seen in _looks(look, every):
        said = {"problem": seen.problem} if seen.problem else document(seen.found)
        click.echo(json.dumps(said, default=lambda instant: instant.isoformat()))


def _looks(look: Look, every: float) -> Iterator[Seen]:
    seen = Seen()
    while True:
        try:
            seen = Seen(found=look(), at=datetime.now(UTC))
        except (FluxError, psycopg.Error) as error:
            seen = replace(seen, problem=reported(error, LONGEST_MESSAGE))
        yield seen
        time.sleep(every)


def _page(seen: Seen, title: str) -> str:
    at = f"{seen.at:%H:%M:%S} UTC" if seen.at else "no answer yet"
    lines = [click.style(f"{title}: {at}", bold=True), ""]
    if seen.problem:
        lines += [click.style(seen.problem, fg="red"), ""]
    if seen.at:
        lines.append(drawn_statuses(seen.found, terminal=sys.stdout.isatty()))
    return "\n".join(lines)


@contextmanager
def _screen() -> Iterator[Callable[[str], None]]:
    """A screen of its own on a terminal, given back at the end; elsewhere one page after the other."""
    if not sys.stdout.isatty():
        yield lambda page: click.echo(f"{page}\n")
        return
    from rich.console import Console
    from rich.text import Text

    with Console(highlight=False).screen() as screen:
        yield lambda page: screen.update(Text.from_ansi(page))
