"""How `flux-assets status` looks, once or refreshed until Ctrl-C, on a terminal of any width and in a file."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from flux_assets.cli.terminal import Cell, drawn_table, style_of
from flux_assets.errors import LONGEST_MESSAGE, FluxError, counted, reported
from flux_assets.words import brief_span, in_words

if TYPE_CHECKING:
    from flux_assets.ledger.status import TableStatus

_Column = tuple[str, Callable[["TableStatus"], Cell]]
_REMARKS = "remarks"
_ATTEMPT = "last attempt"


def show_statuses(found: Sequence[TableStatus], *, attempts: bool = False) -> None:
    """Print one row a table, with the remarks below where there is no room beside it.

    With `attempts`, print how each table's last load or sync ended instead of its published state.
    """
    terminal = sys.stdout.isatty()
    drawn = drawn_attempts(found, terminal=terminal) if attempts else drawn_statuses(found, terminal=terminal)
    click.echo(drawn, color=terminal or None)


def drawn_attempts(found: Sequence[TableStatus], *, terminal: bool) -> str:
    """Return the table of the last attempts, each with its whole reason and its run."""
    columns: list[_Column] = [
        ("table", lambda status: status.table),
        (_ATTEMPT, lambda status: status.last_attempt),
        ("when", lambda status: _ago(status.last_attempt_age_seconds)),
        ("failed in the last hour", lambda status: status.failures_last_hour),
        ("run", lambda status: status.run_id),
        (_REMARKS, lambda status: status.last_attempt_detail),
    ]
    drawn = _drawn(columns, found, terminal=terminal)
    return f"{drawn}\n\n{_summary_of_attempts(found)}" if terminal else drawn


def drawn_statuses(found: Sequence[TableStatus], *, terminal: bool) -> str:
    """Return the table of the published state, with as many columns as fit."""
    if not terminal:
        return _drawn(_everything(), found, terminal=False)
    width = shutil.get_terminal_size().columns
    for columns in (_everything(), _clocks(), _essence()):
        drawn = _drawn(columns, found, terminal=True)
        if _width(drawn) <= width:
            break
    if _REMARKS not in (heading for heading, _ in columns):
        drawn = "\n".join([drawn, *_remarks(found, width)])
    return f"{drawn}\n\n{_summary(found)}"


def _drawn(columns: Sequence[_Column], found: Sequence[TableStatus], *, terminal: bool) -> str:
    headings = [heading for heading, _ in columns]
    rows = [[cell(status) for _, cell in columns] for status in found]
    return drawn_table(headings, rows, folded=(_REMARKS,), terminal=terminal)


def _everything() -> list[_Column]:
    return [
        ("table", lambda status: status.table),
        ("state", lambda status: status.state),
        (_ATTEMPT, lambda status: status.last_attempt),
        ("version", lambda status: status.version[:12] if status.version else None),
        ("release", lambda status: status.release_tag),
        ("rows", lambda status: status.rows),
        ("source changed", lambda status: _ago(status.source_age_seconds)),
        ("checked", lambda status: _ago(status.checked_age_seconds)),
        ("published", lambda status: _ago(status.published_age_seconds)),
        ("lag", lambda status: brief_span(status.lag_seconds)),
        (_REMARKS, _remark),
    ]


def _clocks() -> list[_Column]:
    return [
        ("table", lambda status: status.table),
        ("state", lambda status: status.state),
        ("rows", lambda status: status.rows),
        ("source", lambda status: brief_span(status.source_age_seconds, " ago")),
        ("checked", lambda status: brief_span(status.checked_age_seconds, " ago")),
        ("published", lambda status: brief_span(status.published_age_seconds, " ago")),
        ("lag", lambda status: brief_span(status.lag_seconds)),
    ]


def _essence() -> list[_Column]:
    return [column for column in _clocks() if column[0] not in {"source", "published", "lag"}]


def _ago(seconds: float | None) -> str | None:
    return None if seconds is None else in_words(seconds)


def _remark(status: TableStatus) -> str:
    count = status.rows_quarantined
    aside = f"{counted(count, 'record')} of its file in quarantine" if count else ""
    attempt = status.last_attempt_detail
    if attempt and status.attempt_failed:
        attempt = f"last attempt {status.last_attempt}: {attempt}"
    return "; ".join(filter(None, [status.detail, attempt, aside]))


def _remarks(found: Sequence[TableStatus], width: int) -> Iterator[str]:
    remarked = [status for status in found if _remark(status)]
    if remarked:
        yield ""
    for status in remarked:
        remark = f"{status.table}: {_remark(status)}"
        first, *others = textwrap.wrap(
            remark, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        )
        yield _coloured(status.table, _worse(status)) + first.removeprefix(status.table)
        yield from others


def _coloured(text: str, state: str) -> str:
    *weight, colour = style_of(state).split() or [""]
    if colour == "dim" or not colour:
        return text
    return click.style(text, fg=colour, bold=bool(weight))


def _worse(status: TableStatus) -> str:
    """Return the word that colours a remark: the failed attempt, or the state where that is wrong."""
    return str(status.last_attempt) if status.attempt_failed and not status.wrong else status.state


def _summary(found: Sequence[TableStatus]) -> str:
    """Return how many tables are in which state, and how many last attempts failed."""
    states = Counter(status.state for status in found)
    wrong = sum(status.wrong for status in found)
    failed = sum(status.attempt_failed for status in found)
    counts = ", ".join(f"{count} {_coloured(state, state)}" for state, count in states.most_common())
    tables = f"{len(found)} tables: {counts}" + (f"; {wrong} not to be trusted" if wrong else "")
    attempts = f"{counted(failed, 'last attempt')} failed: see `flux-assets status --attempts`" if failed else ""
    return "\n".join(filter(None, [tables, attempts]))


def _summary_of_attempts(found: Sequence[TableStatus]) -> str:
    ends = Counter(status.last_attempt or "none yet" for status in found)
    counts = ", ".join(f"{count} {_coloured(end, end)}" for end, count in ends.most_common())
    return f"Last attempts of {len(found)} tables: {counts}. Published state: `flux-assets status`."


def _width(drawn: str) -> int:
    return max(len(click.unstyle(line)) for line in drawn.splitlines())


_Read = Callable[[], Sequence["TableStatus"]]


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
    import psycopg

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
