"""Times as the stand-in sends them to the connector."""

from datetime import UTC, datetime

import pyarrow as pa
import pytest

from flux_assets.sample.stand_in.patches.times import times_as_structs

EARLY = datetime(1969, 12, 31, 23, 59, 58, 500_000)


@pytest.mark.parametrize(("unit", "fraction"), [("ms", 500_000_000), ("us", 500_000_000), ("ns", 500_000_000)])
def test_a_time_is_whole_seconds_and_what_follows_them_also_before_1970(unit: str, fraction: int) -> None:
    sent = times_as_structs(pa.array([EARLY, None], pa.timestamp(unit)))
    assert sent.to_pylist() == [{"epoch": -2, "fraction": fraction}, None]


def test_whole_seconds_have_no_fraction() -> None:
    assert times_as_structs(pa.array([7], pa.timestamp("s"))).to_pylist() == [{"epoch": 7, "fraction": 0}]


def test_times_with_a_zone_carry_it_and_come_in_any_number_of_pieces() -> None:
    pieces = pa.chunked_array([pa.array([EARLY.replace(tzinfo=UTC)], pa.timestamp("us", "UTC"))] * 2)
    assert times_as_structs(pieces).to_pylist() == [{"epoch": -2, "fraction": 500_000_000, "timezone": 1440}] * 2
