"""`flux-assets status`, once or refreshed until Ctrl-C, on a terminal of any width and in a file."""

from __future__ import annotations

import shutil
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from flux_assets.cli.terminal import Commands, drawn_table, exit_if, print_json, style_of, the_target
from flux_assets.errors import LONGEST_MESSAGE, counted, reported
from flux_assets.words import brief_span, in_words

if TYPE_CHECKING:
    from flux_assets.ledger.status import TableStatus

_Column = tuple[str, Callable[["TableStatus"], object]]
_Read = Callable[[], list["TableStatus"]]
_REMARKS = "remarks"
COMMANDS = click.Group()


@COMMANDS.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with identifiers in full.")
@click.option(
    "--watch",
    "every",
    is_flag=False,
    flag_value=5.0,
    type=click.FloatRange(min=0.1),
    metavar="[SECONDS]",
    help="Refresh every 5 seconds, or every SECONDS, until Ctrl-C (exit code 130).",
)
@click.option("--attempts", is_flag=True, help="Show how each table's last load or sync ended, with the whole reason.")
def _status(as_json: bool, every: float | None, attempts: bool) -> None:
    """Show the state of every table and how its last run ended.

    Shown are rows and version; when the source last changed, when it was last checked, when the published rows last
    changed; how old the rows of a synced table are (lag). A load or sync that failed has changed no published row.
    The view postgres_sync.v_table_status shows the same: state and trusted, and last_attempt.

    Exit code 1 when the published rows of a table cannot be trusted: it is late or broken. With --attempts also when
    a last attempt failed.

    \b
    Examples:
      flux-assets status
      flux-assets status --attempts
      flux-assets status --watch
      flux-assets status --watch 60 --json
    """
    from flux_assets.layers.status import table_statuses
    from flux_assets.settings import load_settings
    from flux_assets.tables import declarations

    target, terminal = the_target(), sys.stdout.isatty()
    utility = load_settings().flux_utility
    where = f"{f'Utility {utility}, schema' if utility else 'Schema'} {target.schema}"

    def read() -> list[TableStatus]:
        return table_statuses(target, declarations())

    def document(found: Sequence[TableStatus]) -> dict[str, object]:
        tables = [asdict(table) | {"wrong": table.wrong, "attempt_failed": table.attempt_failed} for table in found]
        return {**({"utility": utility} if utility else {}), "schema": target.schema, "tables": tables}

    if every is not None:
        if attempts:
            raise click.UsageError("--watch shows the published state and not the attempts; leave out --attempts.")
        if as_json:
            for found, problem in _readings(read, every):
                print_json({"problem": problem} if problem else document(found), indent=None)
        _watch(read, every, f"{where}, every {every:g} s until Ctrl-C")
    found = read()
    if as_json:
        print_json(document(found))
    else:
        if utility:
            click.secho(where, bold=True)
        click.echo(drawn_statuses(found, terminal=terminal, attempts=attempts), color=terminal or None)
    exit_if(any(table.wrong or (attempts and table.attempt_failed) for table in found))


def _readings(read: _Read, every: float) -> Iterator[tuple[list[TableStatus], str | None]]:
    """Yield the last answer every so many seconds without end, and the problem since then; the database may be away."""
    found: list[TableStatus] = []
    while True:
        problem = None
        try:
            found = read()
        except Exception as error:
            if not Commands.is_expected(error):
                raise
            problem = reported(error, LONGEST_MESSAGE)
        yield found, problem
        time.sleep(every)


def _watch(read: _Read, every: float, title: str) -> None:
    """Show the statuses without end: on the alternate screen of a terminal, elsewhere one page after the other."""
    at: datetime | None = None
    with _screen() as show:
        for found, problem in _readings(read, every):
            at = at if problem else datetime.now(UTC)
            lines = [click.style(f"{title}: {f'{at:%H:%M:%S} UTC' if at else 'no answer yet'}", bold=True), ""]
            if problem:
                lines += [click.style(problem, fg="red"), ""]
            if at:
                lines.append(drawn_statuses(found, terminal=sys.stdout.isatty()))
            show("\n".join(lines))


@contextmanager
def _screen() -> Iterator[Callable[[str], None]]:
    if not sys.stdout.isatty():
        yield lambda page: click.echo(f"{page}\n")
        return
    from rich.console import Console
    from rich.text import Text

    with Console(highlight=False).screen() as screen:
        yield lambda page: screen.update(Text.from_ansi(page))


def drawn_statuses(found: Sequence[TableStatus], *, terminal: bool, attempts: bool = False) -> str:
    """Return one row a table: its published state, in as many columns as fit, with remarks below where none is beside.

    With `attempts`, how each table's last load or sync ended instead, with the whole reason and its run.
    """
    if attempts or not terminal:
        drawn = _drawn(_ATTEMPTS if attempts else _EVERYTHING, found, terminal=terminal)
        return f"{drawn}\n\n{_summary_of_attempts(found)}" if terminal else drawn
    width = shutil.get_terminal_size().columns
    for columns in (_EVERYTHING, _CLOCKS, _ESSENCE):
        drawn = _drawn(columns, found, terminal=True)
        if max(len(click.unstyle(line)) for line in drawn.splitlines()) <= width:
            break
    remarks = () if columns is _EVERYTHING else _remarks(found, width)
    return "\n".join([drawn, *remarks, "", *_summary(found)])


def _drawn(columns: Sequence[_Column], found: Sequence[TableStatus], *, terminal: bool) -> str:
    rows = [[cell(status) for _, cell in columns] for status in found]
    return drawn_table([heading for heading, _ in columns], rows, folded=_REMARKS, terminal=terminal)


def _ago(seconds: float | None) -> str | None:
    return None if seconds is None else in_words(seconds)


def _remark(status: TableStatus) -> str:
    count = status.rows_quarantined
    aside = f"{counted(count, 'record')} of its file in quarantine" if count else ""
    attempt = status.last_attempt_detail
    if attempt and status.attempt_failed:
        attempt = f"last attempt {status.last_attempt}: {attempt}"
    return "; ".join(filter(None, [status.detail, status.others_wrote, attempt, aside]))


_EVERYTHING: list[_Column] = [
    ("table", lambda status: status.table),
    ("state", lambda status: status.state),
    ("last attempt", lambda status: status.last_attempt),
    ("version", lambda status: status.version[:12] if status.version else None),
    ("release", lambda status: status.release_tag),
    ("rows", lambda status: status.rows),
    ("source changed", lambda status: _ago(status.source_age_seconds)),
    ("checked", lambda status: _ago(status.checked_age_seconds)),
    ("published", lambda status: _ago(status.published_age_seconds)),
    ("lag", lambda status: brief_span(status.lag_seconds)),
    (_REMARKS, _remark),
]
_CLOCKS: list[_Column] = [
    ("table", lambda status: status.table),
    ("state", lambda status: status.state),
    ("rows", lambda status: status.rows),
    ("source", lambda status: brief_span(status.source_age_seconds, " ago")),
    ("checked", lambda status: brief_span(status.checked_age_seconds, " ago")),
    ("published", lambda status: brief_span(status.published_age_seconds, " ago")),
    ("lag", lambda status: brief_span(status.lag_seconds)),
]
_ESSENCE = [column for column in _CLOCKS if column[0] in {"table", "state", "rows", "checked"}]
_ATTEMPTS: list[_Column] = [
    ("table", lambda status: status.table),
    ("last attempt", lambda status: status.last_attempt),
    ("when", lambda status: _ago(status.last_attempt_age_seconds)),
    ("failed in the last hour", lambda status: status.failures_last_hour),
    ("run", lambda status: status.run_id),
    (_REMARKS, lambda status: status.last_attempt_detail),
]


def _remarks(found: Sequence[TableStatus], width: int) -> Iterator[str]:
    """Yield a paragraph a remark, in the colour of the failed attempt, or of the state where that is wrong."""
    remarked = [status for status in found if _remark(status)]
    if remarked:
        yield ""
    for status in remarked:
        first, *others = textwrap.wrap(
            f"{status.table}: {_remark(status)}",
            width,
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        state = str(status.last_attempt) if status.attempt_failed and not status.wrong else status.state
        yield _coloured(status.table, state) + first.removeprefix(status.table)
        yield from others


def _coloured(text: str, state: str) -> str:
    *weight, colour = style_of(state).split() or [""]
    if colour == "dim" or not colour:
        return text
    return click.style(text, fg=colour, bold=bool(weight))


def _counts(words: Sequence[str]) -> str:
    return ", ".join(f"{count} {_coloured(word, word)}" for word, count in Counter(words).most_common())


def _summary(found: Sequence[TableStatus]) -> Iterator[str]:
    """Yield how many tables are in which state, and how many last attempts failed."""
    wrong, failed = sum(status.wrong for status in found), sum(status.attempt_failed for status in found)
    tables = f"{len(found)} tables: {_counts([status.state for status in found])}"
    yield tables + (f"; {wrong} not to be trusted" if wrong else "")
    if failed:
        yield f"{counted(failed, 'last attempt')} failed: see `flux-assets status --attempts`"


def _summary_of_attempts(found: Sequence[TableStatus]) -> str:
    counts = _counts([status.last_attempt or "none yet" for status in found])
    return f"Last attempts of {len(found)} tables: {counts}. Published state: `flux-assets status`."
