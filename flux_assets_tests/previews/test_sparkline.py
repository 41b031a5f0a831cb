"""The line of a table's last loads and syncs: what it counts, what it says, and that Dagster shows it in place."""

from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from flux_assets.ledger.status import Past
from flux_assets.postgis.session import prepare
from flux_assets.previews.sparkline import sparkline

ADD = (
    "INSERT INTO postgres_sync.sync_status"
    " (layer_name, sync_type, status, rows_synced, rows_inserted, rows_deleted, source_instant, duration_seconds)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s, 2.5)"
)


@pytest.fixture
def past(target):
    """Writes ledger rows, oldest first, and returns what is read of them."""

    def written(rows_now, *entries):
        with target.session("test") as session:
            prepare(session, "public")
            for entry in entries:
                session.execute(ADD, ["poles", *entry])
            return Past.recent(session, "public", "poles", rows_now)

    return written


def test_rows_of_syncs_are_counted_back_from_now(past):
    found = past(
        352,
        ("DELTA", "SUCCESS", 300, 300, 0, "2026-01-01"),
        ("DELTA", "FAILED", None, None, None, None),
        ("DELTA", "SUCCESS", 60, 56, 4, "2026-01-01"),
        ("UNCHANGED", "SUCCESS", 0, 0, 0, "2026-01-01"),
        ("DELTA", "RUNNING", None, None, None, None),
    )
    assert [each.rows for each in found] == [300, 300, 352, 352]
    assert [each.failed for each in found] == [False, True, False, False]
    assert found[0].seconds == 2.5


def test_loads_say_how_many_rows_they_published(past):
    found = past(
        14,
        ("FULL", "SUCCESS", 10, None, None, None),
        ("UNCHANGED", "SUCCESS", 0, None, None, None),
        ("FULL", "FAILED", None, None, None, None),
        ("FULL", "SUCCESS", 14, None, None, None),
    )
    assert [each.rows for each in found] == [10, 14, 14]


def test_the_newest_two_dozen_are_read(past):
    found = past(30, *[("DELTA", "SUCCESS", 1, 1, 0, "2026-01-01")] * 30)
    assert [each.rows for each in found] == list(range(7, 31))


def test_other_tables_and_schemas_are_left_out(past, sql):
    assert past(5, ("DELTA", "SUCCESS", 5, 5, 0, "2026-01-01"))
    sql("UPDATE postgres_sync.sync_status SET schema_name = 'elsewhere'")
    assert past(5) == []


def drawing(markdown):
    return ElementTree.fromstring(unquote(markdown.split("image/svg+xml,")[1].split(")")[0]))


def test_failures_are_red_and_all_is_said_in_words():
    markdown = sparkline([Past(100, 1.0, False), Past(100, 0.1, True), Past(1120, 4.0, False)])
    assert markdown.endswith("last 3: 100 to 1,120 rows, 0.1 to 4.0 s, 1 failed")
    line, good, failed = drawing(markdown)
    assert line.get("d").count("L") == 2
    assert (good.get("d").count("M"), failed.get("d").count("M")) == (2, 1)
    assert failed.get("stroke") == "#d62728"


def test_a_table_that_never_changes_has_a_level_line():
    (line, _) = drawing(sparkline([Past(5, 1.0, False)] * 3))
    assert len({place.split(",")[1] for place in line.get("d")[1:].split("L")}) == 1


def test_the_longest_is_shown_in_place():
    """Dagster puts Markdown from 1,000 characters on behind a click."""
    rows = [Past(2_670_707 + at * 1000 * (-1) ** at, 100.0 + at * 3.7, at % 2 == 0) for at in range(24)]
    assert len(sparkline(rows)) < 1000


def test_one_is_no_history():
    assert sparkline([Past(5, 1.0, False)]) is None
