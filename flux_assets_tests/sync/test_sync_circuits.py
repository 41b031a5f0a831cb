"""Simulated days of the declared tables: after every tick each computed column of each circuit is what the rule says.

The oracle reads rows of the source and of the release's files one by one, and knows nothing of joins, means or SQL.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import snowflake.connector

from flux_assets.layers.context import LoadOptions
from flux_assets.layers.rollback import rollback
from flux_assets.postgis.session import Target
from flux_assets.sample.city.frame import random_stream
from flux_assets.sample.simulation.seeding import seed
from flux_assets.sample.simulation.tables import Shape
from flux_assets.sample.simulation.tick import tick
from flux_assets.snowflake.account import Account
from flux_assets.sync.result import TableResult
from flux_assets.tables import dynamic_tables, grid_assets_cache, meter_locations_enhanced, substations
from flux_assets_tests import sample_cities
from flux_assets_tests.conftest import Sql
from flux_assets_tests.made_layers import Loader, ReleaseFolder
from flux_assets_tests.sample.test_simulation import NOON, STEP, grid
from flux_assets_tests.synced import Utility

CIRCUITS = "circuit_status_realtime"
STATIC = {module.TABLE.name: module.TABLE for module in (grid_assets_cache, substations, meter_locations_enhanced)}
TICKS = 16
WEATHER = {5: {"storm": True}, 11: {"calm": True}}
COUNTED = {"ACTIVE", "ASSIGNED", "IN_PROGRESS"}
# By column: what it is the mean of.
MEANS = {
    "load_percent": "load_percent", "avg_load_percent": "load_percent", "avg_health_score": "health_score",
    "centroid_lat": "latitude", "centroid_lon": "longitude",
}  # fmt: skip
# Half of the last of six decimals, and what a double of this size cannot hold.
ROUNDING = Fraction(51, 10**8)
# Circuits that no asset and no meter names: with and without a substation, a count, a substation that is known.
STRANGERS = """
INSERT INTO CIRCUIT_METADATA (CIRCUIT_ID, CIRCUIT_NAME, SUBSTATION_ID, CUSTOMER_COUNT) VALUES
    ('LONE-1', 'Lone one', 'SUB-00001', NULL), ('LONE-2', 'Lone two', 'NOWHERE', 17), ('LONE-3', NULL, NULL, NULL)
"""
Row = dict[str, Any]


@dataclass
class City(Utility):
    """The declared tables over a simulated city: the static ones by what was last published of them."""

    loader: Loader = field(kw_only=True)
    simulator: snowflake.connector.SnowflakeConnection = field(kw_only=True)
    published: dict[str, list[Row]] = field(default_factory=dict)

    @contextmanager
    def connected(self) -> Iterator[snowflake.connector.SnowflakeConnection]:
        yield self.simulator

    def publish(self, name: str, rows: list[Row]) -> None:
        nulls = [{column: value if value != "" else None for column, value in row.items()} for row in rows]
        assert self.loader.load(STATIC[name], nulls, accept_fewer_rows=True).outcome == "published"
        self.published[name] = nulls

    def change(self, name: str, change: Callable[[Row], Row | None]) -> None:
        """Publish another version, of each row as it is changed; None leaves a row out."""
        self.publish(name, [new for row in self.published[name] if (new := change(dict(row))) is not None])


@pytest.fixture
def city(source: Account, target: Target, tmp_path: Path) -> Iterator[City]:
    loader = Loader(target, ReleaseFolder(tmp_path / "release"))
    with snowflake.connector.connect(**source.arguments()) as simulator:
        yield City(account=source, target=target, tables=dynamic_tables(), loader=loader, simulator=simulator)


@pytest.mark.parametrize("shape", ["a", "b"])
def test_what_is_computed_of_circuits_is_right_after_every_tick(city: City, sql: Sql, shape: Shape) -> None:
    seed(city.simulator, grid(), shape=shape, now=NOON)
    city.tell(STRANGERS)
    before: dict[str, Row] = {}
    counts: Counter[int] = Counter()
    for number in range(TICKS):
        tick(city.simulator, random_stream(11, number), NOON + (number + 1) * STEP, **WEATHER.get(number, {}))
        moved = _happens(city, sql, number)
        synced = city.synced()
        held, wanted = _held(sql), _wanted(city)
        assert held.keys() == wanted.keys()
        for circuit, row in wanted.items():
            _compare(held[circuit], row, f"{circuit}, tick {number}")
        _written(synced[CIRCUITS], before, held, moved, by_hand=number in BY_HAND)
        before = held
        counts.update(row["outage_count"] for row in held.values())
    assert len(counts) > 3, "days on which hardly anything goes out prove little"
    assert [name for name, row in _held(sql).items() if row["centroid_lat"] is None] == ["LONE-1", "LONE-2", "LONE-3"]


BY_HAND = {9}


def _happens(city: City, sql: Sql, number: int) -> set[str]:
    """What comes between two ticks, and the static tables that it changes; the first tick finds none of them."""
    match number:
        case 1:
            for name in STATIC:
                # A fifth of the assets is enough; the map's own table has a row for every pole.
                city.publish(name, list(sample_cities.rows(name)[:: 5 if name == "grid_assets_cache" else 1]))
            return set(STATIC)
        case 3:
            city.change("grid_assets_cache", _other_loads)
            return {"grid_assets_cache"}
        case 6:
            city.change("substations", _other_names)
            return {"substations"}
        case 7:
            city.change("meter_locations_enhanced", lambda row: row if row["meter_id"][-1] not in "37" else None)
            return {"meter_locations_enhanced"}
        case 8:
            city.tell("UPDATE CIRCUIT_METADATA SET CUSTOMER_COUNT = NULL WHERE CIRCUIT_ID LIKE '%1'")
        case 9:
            sql(f"UPDATE {CIRCUITS} SET load_percent = 0, substation_name = NULL, customers_served = -1")
        case 12:
            # Back to the loads of the first version.
            rollback(STATIC["grid_assets_cache"], city.target, LoadOptions(), city.log.append)
            city.published["grid_assets_cache"] = [
                {column: value or None for column, value in row.items()}
                for row in sample_cities.rows("grid_assets_cache")[::5]
            ]
            return {"grid_assets_cache"}
        case 14:
            sql("DROP TABLE substations")
            city.published["substations"] = []
            return {"substations"}
    return set()


def _other_loads(row: Row) -> Row:
    """Loads of some assets change, those of one circuit are gone, and some assets hang on another circuit."""
    last = row["asset_id"][-1]
    if row["circuit_id"] == "CKT-00001-01":
        row["load_percent"] = None
    elif last == "4" and row["load_percent"]:
        row["load_percent"] = f"{float(row['load_percent']) + 1.3:.1f}"
    elif last == "5" and row["circuit_id"]:
        row["circuit_id"] = "CKT-00002-01"
    return row


def _other_names(row: Row) -> Row | None:
    """One has another name, one has none, one is gone."""
    names = {"SUB-00001": row["substation_name"] + " East", "SUB-00002": None}
    row["substation_name"] = names.get(row["substation_id"], row["substation_name"])
    return None if row["substation_id"] == "SUB-00003" else row


def _held(sql: Sql) -> dict[str, Row]:
    names = ["circuit_id", "circuit_name", "substation_id", "voltage_class", "status", "substation_name", *MEANS]
    names += ["customers_served", "outage_count", "last_updated"]
    found = (dict(zip(names, row, strict=True)) for row in sql(f"SELECT {', '.join(names)} FROM {CIRCUITS}"))
    return {row["circuit_id"]: row for row in sorted(found, key=lambda row: row["circuit_id"])}


def _wanted(city: City) -> dict[str, Row]:
    """Every circuit of the source as the rule has it; a table that is not there gives NULL."""
    assets, meters = (city.published.get(name) for name in ("grid_assets_cache", "meter_locations_enhanced"))
    names = {row["substation_id"]: row["substation_name"] for row in city.published.get("substations", [])}
    outages = Counter(
        c for c, s in city.ask("SELECT CIRCUIT_ID, STATUS FROM OUTAGE_RESTORATION_TRACKER") if s in COUNTED
    )
    wanted = {}
    for circuit, name, substation, voltage, status, customers in city.ask(
        "SELECT CIRCUIT_ID, CIRCUIT_NAME, SUBSTATION_ID, VOLTAGE_CLASS, STATUS, CUSTOMER_COUNT FROM CIRCUIT_METADATA"
    ):
        own = [row for row in assets or [] if row["circuit_id"] == circuit]
        hanging = None if meters is None else sum(row["circuit_id"] == circuit for row in meters)
        wanted[circuit] = {
            "circuit_id": circuit, "circuit_name": name, "substation_id": substation, "voltage_class": voltage,
            "status": status or "ENERGIZED", "substation_name": names.get(substation),
            "customers_served": hanging if customers is None else customers, "outage_count": outages[circuit],
            **{column: _mean([row[of] for row in own]) for column, of in MEANS.items()},
        }  # fmt: skip
    return wanted


def _mean(texts: list[str | None]) -> Fraction | None:
    """The exact mean of the values that are there."""
    values = [Fraction(float(text)) for text in texts if text is not None]
    return sum(values, Fraction()) / len(values) if values else None


def _compare(held: Row, wanted: Row, where: str) -> None:
    for column, value in wanted.items():
        found = held[column]
        if isinstance(value, Fraction):
            assert found is not None, f"{column} of {where}"
            assert found == round(found, 6), f"{column} of {where}"
            assert abs(Fraction(found) - value) <= ROUNDING, f"{column} of {where}"
        else:
            assert found == value, f"{column} of {where}"


def _written(
    said: TableResult, before: dict[str, Row], held: dict[str, Row], moved: set[str], *, by_hand: bool
) -> None:
    """Rows that differ were written, and no others; the sync said which static table made it look."""
    for name in moved if before else ():
        assert name in said.gate
    if by_hand:
        assert "written by others" in said.gate
        return
    plain = {circuit: row | {"last_updated": None} for circuit, row in held.items()}
    earlier = {circuit: row | {"last_updated": None} for circuit, row in before.items()}
    changed = {circuit for circuit, row in plain.items() if earlier.get(circuit) != row}
    touched = {c for c, row in held.items() if c not in before or before[c]["last_updated"] != row["last_updated"]}
    assert touched == changed
    assert said.inserted + said.updated == len(changed)
