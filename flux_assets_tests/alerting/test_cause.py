"""Taking errors apart: what stays the same from table to table and from tick to tick."""

from __future__ import annotations

import pytest

from flux_assets.alerting.cause import ErrorCause

TABLES = ("work_orders", "substations", "circuit_status_realtime")


def test_sentence_and_remedy():
    words = ErrorCause.of(
        "Snowflake at h:1 cannot be reached: 250001: None.  Run `flux-assets doctor`. Or wait.", TABLES
    )
    assert words.problem == "Snowflake at h:1 cannot be reached: 250001: None."
    assert words.remedy == "Run `flux-assets doctor`. Or wait."
    assert words.head == "Snowflake at h:# cannot be reached"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("work_orders: PostgreSQL refused it: x.", "substations: PostgreSQL refused it: y."),
        ("public.work_orders: no.", "public.substations: no."),
        ("The source of work_orders is empty.", "The source of circuit_status_realtime is empty."),
        ("12 of 300 rows have vanished.", "13 of 1,300 rows have vanished."),
        ("Column 'A' is missing.", "Column 'B' is missing."),
        ("Busy (query 01b2c3d4-0000-1111-2222-333344445555).", "Busy (query 01b2c3d4-9999-1111-2222-333344445555)."),
    ],
)
def test_one_cause_from_table_to_table_and_tick_to_tick(one, other):
    assert ErrorCause.of(one, TABLES).head == ErrorCause.of(other, TABLES).head


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Snowflake at h cannot be reached: x.", "Snowflake did not answer in time: x."),
        ("work_orders: many rows have vanished.", "work_orders: keys are double."),
    ],
)
def test_other_causes_differ(one, other):
    assert ErrorCause.of(one, TABLES).head != ErrorCause.of(other, TABLES).head


def test_files_of_a_release_that_cannot_be_had_have_one_cause():
    one, other = (
        ErrorCause.of(f"https://h/v1/{name}.csv.gz: the host cannot be reached (x).", TABLES) for name in TABLES[:2]
    )
    assert one.whole == other.whole
    assert one.whole != ErrorCause.of("https://h/v1/substations.csv.gz: the server denies access (x).", TABLES).whole


def test_a_table_within_another_ones_name_is_left_alone():
    assert "work_orders_old" in ErrorCause.of("The table work_orders_old is in the way.", TABLES).head


@pytest.mark.parametrize("nothing", ["", " ", "  \n "])
def test_no_reason(nothing):
    assert ErrorCause.of(nothing, TABLES).problem in {"No reason was given.", ""}
    assert ErrorCause.of("", TABLES).problem == "No reason was given."


def test_a_novel_is_cut():
    assert len(ErrorCause.of("x" * 5000, TABLES).problem) == 600
