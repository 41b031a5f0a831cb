"""How `flux-assets status` looks on terminals of several widths."""

import re

import pytest

from flux_assets.cli.status import drawn_statuses
from flux_assets.ledger.status import TableStatus
from flux_assets.tables import declarations
from flux_assets.words import brief_span

LONG = "3 minutes ago: vegetation_risk.csv.gz, line 17, column geom: the value 'xyz' is no geometry (nothing was here)"
DAY = 86400.0


def statuses() -> list[TableStatus]:
    """All declared tables, with the longest words that each column can have."""
    found = [
        TableStatus(
            table=table.name, kind="static", state="live", trusted=True, rows=2_670_000, version="a1b2c3d4e5f6" * 5,
            release_tag="v1.0.0", source_age_seconds=400 * DAY, checked_age_seconds=59 * 60, published_age_seconds=0,
            lag_seconds=59 * 60,
        )
        for table in declarations()
    ]  # fmt: skip
    found[0] = TableStatus(
        table=found[0].table, kind="static", state="live", trusted=True, last_attempt="failed", last_attempt_detail=LONG
    )
    found[1] = TableStatus(table=found[1].table, kind="static", state="never loaded")
    return found


def drawn(monkeypatch, columns: int) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(columns))
    return re.sub(r"\x1b\[[0-9;]*m", "", drawn_statuses(statuses(), terminal=True)).splitlines()


@pytest.mark.parametrize("columns", [80, 100, 140, 200])
def test_every_line_fits_and_nothing_is_left_out(columns, monkeypatch):
    lines = drawn(monkeypatch, columns)
    assert max(map(len, lines)) <= columns
    names = [table.name for table in declarations()]
    assert [line.split()[0] for line in lines if line.split() and line.split()[0] in names] == names
    assert set(LONG.split()) <= set(" ".join(lines).split())
    assert lines[-2:] == [
        f"{len(names)} tables: {len(names) - 1} live, 1 never loaded",
        "1 last attempt failed: see `flux-assets status --attempts`",
    ]


def test_a_wider_terminal_says_more(monkeypatch):
    headings = [drawn(monkeypatch, columns)[0].split() for columns in (80, 100, 200)]
    assert headings[0] == ["table", "state", "rows", "checked"]
    assert headings[1] == ["table", "state", "rows", "source", "checked", "published", "lag"]
    assert headings[2][:4] == ["table", "state", "last", "attempt"]
    assert headings[2][4:] == (
        ["version", "release", "rows", "source", "changed", "checked", "published", "lag", "remarks"]
    )


def test_in_a_file_each_table_is_one_line_without_colours():
    heading, *lines = drawn_statuses(statuses(), terminal=False).splitlines()
    assert len(lines) == len(declarations())
    assert lines[0].endswith(LONG)
    assert "\x1b" not in "".join(lines)
    assert heading.split()[-1] == "remarks"


@pytest.mark.parametrize(("state", "colour"), [("live", "32"), ("failed", "1;31"), ("late", "1;31"), ("still", "33")])
def test_a_state_has_its_colour(state, colour, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    shown = drawn_statuses([TableStatus(table="poles", kind="static", state=state)], terminal=True)
    assert f"\x1b[{colour}m{state}" in shown


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, None), (-1, "0 s"), (0.4, "0 s"), (59.9, "59 s"), (60, "1 min"), (7199, "1 h"), (172800, "2 d")],
)
def test_spans_in_few_letters(seconds, said):
    assert brief_span(seconds) == said


def test_how_attempts_ended_is_shown_apart_with_the_whole_reason_and_the_run():
    late = TableStatus(
        table="poles", kind="dynamic", state="late", trusted=False, last_attempt="succeeded", run_id="r-1"
    )
    lines = drawn_statuses([statuses()[0], late], terminal=False, attempts=True).splitlines()
    assert LONG in lines[1]
    assert lines[1].split()[1] == "failed"
    assert lines[2].split()[:2] == ["poles", "succeeded"]
    assert "r-1" in lines[2]
    shown = re.sub(
        r"\x1b\[[0-9;]*m", "", drawn_statuses([statuses()[0], late], terminal=True, attempts=True)
    ).splitlines()
    assert shown[-1] == "Last attempts of 2 tables: 1 failed, 1 succeeded. Published state: `flux-assets status`."
