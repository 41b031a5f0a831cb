"""The checks of the declared tables: each was seen to fail, each table has those that its facts allow, and the sample
city and the simulated utility know no other words than those declared."""

from __future__ import annotations

import pytest

from flux_assets.checks.live_audits import all_audits_of
from flux_assets.checks.sync_audits import sync_audits
from flux_assets.sample.simulation.tables import circuit_row, order_row, outage_row
from flux_assets.spec import DynamicTable, StaticTable
from flux_assets.tables import declarations, dynamic_tables, static_tables
from flux_assets_tests import sample_cities
from flux_assets_tests.checks.test_layer_checks import LAYER_BREAKS
from flux_assets_tests.checks.test_synced_checks import SYNC_BREAKS
from flux_assets_tests.sample.test_simulation import beginning, days

every = pytest.mark.parametrize("table", declarations(), ids=lambda table: table.name)


@every
def test_every_check_of_a_declared_table_was_seen_to_fail(table: StaticTable | DynamicTable) -> None:
    if isinstance(table, DynamicTable):
        assert {audit.name for audit in sync_audits(table)} <= {broken.name for broken in SYNC_BREAKS}
    else:
        seen = {broken.name for broken in LAYER_BREAKS} | {"inputs_current"}  # the last in layers/test_computing.py
        assert {audit.name for audit in all_audits_of(table)} <= seen


@every
def test_a_table_has_the_checks_that_its_facts_allow(table: StaticTable | DynamicTable) -> None:
    names = {audit.name for audit in (sync_audits(table) if isinstance(table, DynamicTable) else all_audits_of(table))}
    assert names >= {"columns", "row_count", "volume", "recent_failures"}
    spatial = {"geometry_type", "valid_geometry", "within", "map_ready"}
    assert not table.spatial_columns or names >= spatial
    assert not table.key or names >= {"unique", "not_null"}
    assert ("accepted_values" in names, "accepted_range" in names) == (bool(table.accepted), bool(table.ranges))
    assert ("relationships" in names) == bool(table.references)
    assert ("lag" in names) == isinstance(table, DynamicTable)


@every
def test_how_many_rows_a_utility_has_is_not_declared(table: StaticTable | DynamicTable) -> None:
    """A state has a hundred times the buildings of a city: the most is told by its own past, or by FLUX_CONFIG."""
    assert table.volume.maximum is None
    if isinstance(table, StaticTable):
        assert (table.volume.minimum or 0) <= max(1, round(table.release_rows * 0.005))


@pytest.mark.parametrize("table", [t for t in static_tables() if t.accepted], ids=lambda table: table.name)
def test_the_sample_city_has_no_other_words(table: StaticTable) -> None:
    for judged in table.accepted:
        assert {text for text in sample_cities.column(table.name, judged.column) if text} <= set(judged.values)


@pytest.mark.parametrize("shape", ["a", "b"])
def test_the_simulated_utility_has_no_other_words_in_either_shape(shape: str) -> None:
    """As the tables' columns are filled from the shape's; a day with a storm in it."""
    state, outages, orders = beginning()
    for _, changes in days(state, 60, storm_at=10):
        outages += [*changes.begun, *changes.changed]
        orders += [*changes.ordered, *changes.worked]
    made = {
        "outage_restoration_tracker": [outage_row(outage, shape, outage.start_time) for outage in outages],
        "work_orders": [order_row(order, shape, order.scheduled_start) for order in orders],
        "circuit_status_realtime": [circuit_row(circuit, n) for n, circuit in enumerate(state.grid.circuits)],
    }
    for table in dynamic_tables():
        filled = {column.target: column.names for column in table.source_columns}
        for judged in table.accepted:
            found = {row.get(name) for row in made[table.name] for name in filled[judged.column]} - {None}
            assert found <= set(judged.values), judged.column
