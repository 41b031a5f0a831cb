"""The state of all tables, refreshed on the screen until Ctrl-C, also while the database is away."""

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

from flux_assets.cli.status_table import drawn_statuses
from flux_assets.errors import LONGEST_MESSAGE, FluxError, reported
from flux_assets.ledger.status import TableStatus

_Read = Callable[[], Sequence[TableStatus]]


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """The last answer, when it came, and the problem since then."""

    found: Sequence[TableStatus] = ()
    at: datetime | None = None
    problem: str | None = None


def watch(read: _Read, every: float, title: str) -> None:
    """Show the statuses every so many seconds until Ctrl-C, waiting for a database that is away."""
    with _screen() as show:
        for reading in _readings(read, every):
            show(_page(reading, f"{title}, every {every:g} s until Ctrl-C"))


def watch_as_json(read: _Read, every: float, document: Callable[[Sequence[TableStatus]], object]) -> None:
    """Print a line of JSON every so many seconds, an object with `problem` where there is no answer."""
    for reading in _readings(read, every):
        line = {"problem": reading.problem} if reading.problem else document(reading.found)
        click.echo(json.dumps(line, default=lambda instant: instant.isoformat()))


def _readings(read: _Read, every: float) -> Iterator[_Reading]:
    reading = _Reading()
    while True:
        try:
            reading = _Reading(found=read(), at=datetime.now(UTC))
        except (FluxError, psycopg.Error) as error:
            reading = replace(reading, problem=reported(error, LONGEST_MESSAGE))
        yield reading
        time.sleep(every)


def _page(reading: _Reading, title: str) -> str:
    at = f"{reading.at:%H:%M:%S} UTC" if reading.at else "no answer yet"
    lines = [click.style(f"{title}: {at}", bold=True), ""]
    if reading.problem:
        lines += [click.style(reading.problem, fg="red"), ""]
    if reading.at:
        lines.append(drawn_statuses(reading.found, terminal=sys.stdout.isatty()))
    return "\n".join(lines)


@contextmanager
def _screen() -> Iterator[Callable[[str], None]]:
    """Yield what shows a page: on the alternate screen of a terminal, elsewhere one page after the other."""
    if not sys.stdout.isatty():
        yield lambda page: click.echo(f"{page}\n")
        return
    from rich.console import Console
    from rich.text import Text

    with Console(highlight=False).screen() as screen:
        yield lambda page: screen.update(Text.from_ansi(page))
