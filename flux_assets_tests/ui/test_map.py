"""What a dispatcher sees on the map: the city, live outages, and in words what is not to be trusted.

One story, in order: each test goes on where the last one ended.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from selenium.webdriver.support.color import Color

from flux_assets.sample.cluster import Cluster
from flux_assets.sample.stand_in.server import StandIn
from flux_assets_tests.mapped import served
from flux_assets_tests.ui.browser import PATIENCE, Browser, browser
from flux_assets_tests.ui.opened import OWN, Place

pytestmark = pytest.mark.ui

DRAWN = """const found = {}; for (const feature of globalThis.fluxMap?.queryRenderedFeatures() ?? [])
    found[feature.source] = (found[feature.source] ?? 0) + 1; return found"""
OUTAGES = "outage_restoration_tracker"


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """A small city that is loaded and synced once, in a storm."""
    place = Place("http://127.0.0.1:0", OWN / "homes" / uuid4().hex[:8])
    place.home.mkdir(parents=True)
    try:
        place.run("flux-assets", "sample", "--scale", "0.005", "--out", place.release)
        place.run("flux-assets", "load")
        place.run("flux-assets", "simulate", "--storm")
        place.run("flux-assets", "sync")
        yield place
    finally:
        StandIn(place.home).stop()
        Cluster(place.home).remove()
        shutil.rmtree(place.home, ignore_errors=True)


@pytest.fixture(scope="module")
def page(place: Place) -> Iterator[Browser]:
    """One page, which is opened once and never reloaded."""
    with served(place.environment) as address, browser(address) as page:
        page.open("/")
        yield page


def change(place: Place, statement: str) -> None:
    with psycopg.connect(Cluster(place.home).conninfo()) as connection:
        connection.execute(statement)


def drawn(page: Browser) -> dict[str, int]:
    """How many features of each table the browser has drawn."""
    return page.driver.execute_script(DRAWN)


def await_drawn(page: Browser, *tables: str) -> None:
    page.until(lambda: set(tables) <= set(drawn(page)), f"{tables} were not drawn")


def version_shown(page: Browser, table: str) -> str:
    rows = page.driver.find_elements("css selector", f"li[data-table={table}]")
    return str(rows[0].get_attribute("data-shown")) if rows else ""


def dot(page: Browser, table: str) -> str:
    style = "return getComputedStyle(document.querySelector(arguments[0]), '::before').backgroundColor"
    return Color.from_string(page.driver.execute_script(style, f"li[data-table={table}]")).hex


def test_layers_and_outages_are_drawn(page: Browser, place: Place) -> None:
    await_drawn(page, "osm_water", "grid_power_lines", "substations", "work_orders", OUTAGES)
    [(open_, affected)] = place.sql(
        f"SELECT count(*), sum(customers_affected) FROM {OUTAGES} WHERE status NOT IN ('RESTORED', 'CANCELLED')"
    )
    page.see(f"{open_} open outages, {affected:,} customers affected")
    [(version,)] = place.sql("SELECT version FROM postgres_sync.v_table_status WHERE layer_name = 'osm_water'")
    assert version_shown(page, "osm_water").startswith(version[:12])
    assert re.search(rf"osm_water\nversion {version[:8]}, changed .* ago, checked .* ago", page.words())
    assert dot(page, OUTAGES) == dot(page, "osm_water")


def test_a_sync_is_seen_without_reloading(page: Browser, place: Place) -> None:
    before = version_shown(page, OUTAGES)
    for _ in range(3):
        place.run("flux-assets", "simulate", "--tick")
    place.run("flux-assets", "sync")
    page.until(lambda: version_shown(page, OUTAGES) != before, "the sync was not seen")
    [(open_,)] = place.sql(f"SELECT count(*) FROM {OUTAGES} WHERE status NOT IN ('RESTORED', 'CANCELLED')")
    page.see(f"{open_} open outages")


def test_a_publish_is_seen_and_drawn_without_reloading(page: Browser, place: Place) -> None:
    before = version_shown(page, "osm_water")
    place.run("flux-assets", "load", "osm_water", "--force")
    page.until(lambda: version_shown(page, "osm_water") != before, "the publish was not seen")
    await_drawn(page, "osm_water", OUTAGES)


def test_a_table_that_is_late_is_said_to_be_in_colour_and_words(page: Browser, place: Place) -> None:
    live = dot(page, OUTAGES)
    entries = "UPDATE postgres_sync.sync_status SET source_instant = source_instant - interval '2 hours'"
    change(place, f"{entries} WHERE layer_name = '{OUTAGES}'")
    page.see(f"{OUTAGES} is late: ")
    assert dot(page, OUTAGES) != live
    assert dot(page, "osm_water") == live
    assert "wrong" in page.driver.find_element("tag name", "body").get_attribute("class")


def test_a_layer_that_was_emptied_by_hand_is_said_to_be_broken(page: Browser, place: Place) -> None:
    change(place, "TRUNCATE substations")
    page.see("substations is broken: ")
    place.run("flux-assets", "load", "substations", "--force")
    place.run("flux-assets", "sync", "--force")
    page.miss("is broken")
    page.miss("is late")
    assert not page.driver.find_element("id", "warning").is_displayed()


def test_a_database_that_does_not_answer_is_said_to_be_away(page: Browser, place: Place) -> None:
    Cluster(place.home).stop()
    page.see("No answer since")
    Cluster(place.home).ensure_map_database()
    page.miss("No answer since")
    await_drawn(page, OUTAGES)


def test_nothing_went_wrong_in_the_browser(page: Browser) -> None:
    severe = [entry["message"] for entry in page.driver.get_log("browser") if entry["level"] == "SEVERE"]
    assert [message for message in severe if "/tables" not in message] == []


def test_a_layer_is_shown_when_it_is_asked_for(page: Browser, place: Place) -> None:
    assert "meter_locations_enhanced" not in drawn(page)
    page.driver.find_element("css selector", "input[title='show meter_locations_enhanced']").click()
    page.driver.execute_script("fluxMap.jumpTo({zoom: 15})")
    page.until(lambda: version_shown(page, "meter_locations_enhanced") != "", f"not within {PATIENCE} s")


@pytest.mark.parametrize(
    ("view", "of"), [("power_lines_lod_mid", "power_lines_spatial"), ("buildings_spatial", "building_footprints")]
)
def test_a_view_is_listed_with_the_version_of_its_layer_and_drawn_when_it_is_asked_for(
    page: Browser, place: Place, view: str, of: str
) -> None:
    [(version,)] = place.sql(f"SELECT version FROM postgres_sync.v_table_status WHERE layer_name = '{of}'")
    assert re.search(rf"{view}\nview of {of}\nversion {version[:8]}, changed .* ago, checked .* ago", page.words())
    assert view not in drawn(page)
    page.driver.find_element("css selector", f"input[title='show {view}']").click()
    await_drawn(page, view)


def test_what_has_no_geometry_is_listed_with_version_and_age(page: Browser) -> None:
    for name in ("transformers", "circuit_metadata\nview of circuit_service_areas"):
        assert re.search(rf"{name}\nversion \w{{8}}, changed .* ago, checked .* ago", page.words())
