"""A made-up utility's days: what can never be, whatever is drawn; storms; and the same day twice."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache

import pytest

from flux_assets.errors import ReleaseError
from flux_assets.release.release import Release
from flux_assets.sample.city.frame import random_stream
from flux_assets.sample.simulation.chance import crews
from flux_assets.sample.simulation.day import advance
from flux_assets.sample.simulation.grid import Grid, grid_of
from flux_assets.sample.simulation.history import past_orders, past_outages
from flux_assets.sample.simulation.records import OPEN_ORDER, Outage, WorkOrder
from flux_assets.sample.simulation.state import Changes, Clock, State
from flux_assets.sample.simulation.storm import storm_size
from flux_assets_tests import sample_cities

NOON = datetime(2025, 6, 2, 18, 0)
STEP = timedelta(minutes=5)


@cache
def grid() -> Grid:
    folder = sample_cities.folder()
    return grid_of(Release(str(folder), None, folder.with_name(f"{folder.name}-cache")))


def beginning(seed: int = 7) -> tuple[State, list[Outage], list[WorkOrder]]:
    random = random_stream(seed, 0)
    outages, orders = past_outages(grid(), random, NOON), past_orders(grid(), random, NOON)
    state = State(
        grid=grid(),
        clock=Clock(now=NOON, seed=seed, outages=len(outages), orders=len(orders)),
        outages=tuple(row for row in outages if row.is_open),
        orders=tuple(row for row in orders if row.is_open),
    )
    return state, outages, orders


def days(state: State, steps: int, storm_at: int = -1, calm_at: int = -1) -> Iterator[tuple[State, Changes]]:
    """The state after each step, and what it changed."""
    for number in range(steps):
        random = random_stream(state.clock.seed, 1, state.clock.ticks)
        now = state.clock.now + STEP
        changes = advance(state, random, now, storm=number == storm_at, calm=number == calm_at)
        state = changes.applied_to(state)
        yield state, changes


def check_outage(row: Outage) -> None:
    places = {(d.circuit_id, d.substation_id, d.latitude, d.longitude) for d in grid().devices}
    assert (row.circuit_id, row.substation_id, row.latitude, row.longitude) in places
    assert 0 <= row.customers_restored <= row.customers_affected <= grid().customers[row.circuit_id]
    assert row.customers_affected > 0
    assert (row.actual_restoration is None) == row.is_open
    if not row.is_open:
        assert row.actual_restoration >= row.start_time
        assert row.customers_restored == row.customers_affected
    if row.status in {"ASSIGNED", "IN_PROGRESS"}:
        assert row.crew_assigned in crews(grid(), "Line")


def check_order(row: WorkOrder) -> None:
    places = {(d.circuit_id, d.transformer_id, d.latitude, d.longitude) for d in grid().devices}
    assert (row.circuit_id, row.transformer_id, row.latitude, row.longitude) in places
    assert row.scheduled_end > row.scheduled_start
    assert (row.actual_end is not None) == (row.status == "COMPLETED")
    assert (row.actual_start is not None) == (row.status in {"IN_PROGRESS", "COMPLETED"})
    if row.actual_end:
        assert row.actual_end >= row.actual_start


def test_the_grid_is_that_of_the_release() -> None:
    lines = {row["circuit_id"]: row["substation_id"] for row in sample_cities.rows("grid_power_lines")}
    meters = Counter(sample_cities.column("meter_locations_enhanced", "circuit_id"))
    assert {c.circuit_id: (c.substation_id, c.customers) for c in grid().circuits} == {
        circuit: (substation, meters[circuit]) for circuit, substation in lines.items()
    }
    placed = {
        row["transformer_id"]: (row["feeder_id"], float(row["latitude"]), float(row["longitude"]))
        for row in sample_cities.rows("transformers")
    }
    assert grid().devices
    for device in grid().devices:
        assert placed[device.transformer_id] == (device.circuit_id, device.latitude, device.longitude)


def test_a_release_whose_transformers_hang_on_no_circuit_is_refused(tmp_path) -> None:
    for table, text in {
        "substations": "substation_id,substation_name\nS,One\n",
        "meter_locations_enhanced": "transformer_id,circuit_id\n",
        "grid_power_lines": "circuit_id,substation_id,voltage_class,line_length_m\nC,S,12kV,1.5\n",
        "transformers": "transformer_id,latitude,longitude,feeder_id\nT,29.5,-95.5,OTHER\n",
    }.items():
        import gzip

        (tmp_path / f"{table}.csv.gz").write_bytes(gzip.compress(text.encode()))
    with pytest.raises(ReleaseError, match="hangs on a circuit of its power lines"):
        grid_of(Release(str(tmp_path), None, tmp_path / "cache"))


def test_the_past_is_plausible() -> None:
    state, outages, orders = beginning()
    for outage in outages:
        check_outage(outage)
        assert NOON - timedelta(days=8) <= outage.start_time <= NOON
        assert outage.is_open or outage.actual_restoration <= NOON
    for order in orders:
        check_order(order)
    assert 1 <= len(state.outages) < len(outages) / 5
    assert {row.status for row in orders} == {*OPEN_ORDER, "COMPLETED", "CANCELLED"}
    assert min(row.scheduled_start for row in orders) < NOON - timedelta(days=30)
    assert max(row.scheduled_start for row in orders) > NOON + timedelta(days=5)
    for rows in ([row.outage_id for row in outages], [row.work_order_id for row in orders]):
        assert len(set(rows)) == len(rows)


@pytest.mark.parametrize("seed", [1, 2])
def test_two_days_with_a_storm(seed: int) -> None:
    state, outages, orders = beginning(seed)
    seen = {row.outage_id for row in outages} | {row.work_order_id for row in orders}
    open_before = {row.outage_id: row for row in state.outages}
    happened: Counter[str] = Counter()
    for after, changes in days(state, 576, storm_at=100, calm_at=180):
        for row in (*changes.begun, *changes.changed):
            check_outage(row)
            assert row.start_time <= changes.clock.now
            assert (row.outage_id in open_before) == (row in changes.changed)
        for order in (*changes.ordered, *changes.worked):
            check_order(order)
        fresh = [row.outage_id for row in changes.begun] + [row.work_order_id for row in changes.ordered]
        assert not seen & set(fresh)
        seen |= set(fresh)
        for row in changes.changed:
            earlier = open_before[row.outage_id]
            assert row != earlier
            assert row.customers_restored >= earlier.customers_restored
            assert replace(row, status="", crew_assigned=None, customers_restored=0, actual_restoration=None,
                           estimated_restoration=None) == replace(
                earlier, status="", crew_assigned=None, customers_restored=0, actual_restoration=None,
                estimated_restoration=None)  # fmt: skip
        open_before = {row.outage_id: row for row in after.outages}
        out = Counter()
        for row in after.outages:
            out[row.circuit_id] += row.customers_out
        assert all(count <= grid().customers[circuit] for circuit, count in out.items())
        assert after.dead == {
            row.circuit_id for row in after.outages if row.customers_out >= grid().customers[row.circuit_id]
        }
        assert len({row.crew_assigned for row in after.outages}) <= len(crews(grid(), "Line")) + 1
        happened.update(row.status for row in changes.changed)
        happened.update(order.status for order in changes.worked)
    assert {"ASSIGNED", "IN_PROGRESS", "RESTORED", "SCHEDULED", "COMPLETED"} <= set(happened)


def test_a_storm_strikes_along_a_track_and_calms_at_once() -> None:
    state, *_ = beginning()
    before = len(state.outages)
    struck: tuple[Outage, ...] = ()
    for number, (after, changes) in enumerate(days(state, 20, storm_at=2, calm_at=12)):
        if number == 2:
            struck = changes.begun
            assert storm_size(grid()) * 0.8 <= len(struck) <= storm_size(grid()) + 5
        assert (after.clock.storm_began is not None) == (2 <= number < 12)
        if number == 12:
            closed = {row.outage_id for row in changes.changed if row.status == "RESTORED"}
            assert len(closed) >= 0.8 * len(struck)
            assert len(after.outages) <= before + 5
    assert len({row.circuit_id for row in struck}) > 1
    # A track is longer than it is wide: the shorter extent of what it struck, turned into its own axes, shows it.
    import numpy as np

    places = np.array([[row.longitude * 0.868, row.latitude] for row in struck])
    every = np.array([[d.longitude * 0.868, d.latitude] for d in grid().devices])
    narrow, wide = np.sqrt(np.linalg.eigvalsh(np.cov(places.T)))
    assert narrow < 0.5 * wide
    assert narrow < 0.5 * np.sqrt(np.linalg.eigvalsh(np.cov(every.T)))[1]


def test_a_storm_that_nobody_ends_is_over_after_twelve_hours() -> None:
    state, *_ = beginning()
    storms = [after.clock.storm_began is not None for after, _ in days(state, 150, storm_at=0)]
    assert storms[:140] == [True] * 140
    assert storms[-1] is False


def test_a_storm_within_a_storm_does_not_strike_twice() -> None:
    state, *_ = beginning()
    ((state, _),) = days(state, 1, storm_at=0)
    ((_, changes),) = days(state, 1, storm_at=0)
    assert len(changes.begun) < storm_size(grid()) / 4


def test_the_same_day_twice_is_the_same() -> None:
    def all_of(seed: int) -> list[Changes]:
        return [changes for _, changes in days(beginning(seed)[0], 60, storm_at=30)]

    assert all_of(3) == all_of(3)
    assert all_of(3) != all_of(4)


def test_a_long_gap_is_caught_up_and_time_never_runs_back() -> None:
    state, *_ = beginning()
    ahead = advance(state, random_stream(1), NOON + timedelta(days=30))
    assert ahead.clock.now == NOON + timedelta(days=30)
    assert len(ahead.begun) < 100
    assert all(ahead.clock.now - row.start_time <= timedelta(hours=6) for row in ahead.begun)
    back = advance(ahead.applied_to(state), random_stream(2), NOON)
    assert back.clock.now == ahead.clock.now
    assert back.begun == ()
