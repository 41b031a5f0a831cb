"""What a dispatcher and an operator see: a layer loaded by clicking, its figures and checks, and a failure explained.

One story, in order: each test goes on where the last one ended.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from flux_assets_tests.ui.browser import Browser
from flux_assets_tests.ui.opened import Place

pytestmark = pytest.mark.ui

LAYER = "grid_power_lines"


def materialise(window: Browser, ends: str) -> str:
    """Press the button on the layer's page, follow the run to its end; returns the run's page."""
    window.open(f"/assets/{LAYER}")
    window.press("Materialize")
    window.follow("View")
    window.see(ends)
    return window.path


def rewrite(release: Path, change: Callable[[bytes], bytes]) -> None:
    """Another file of the layer; without the manifest, which would tell at once that it is not the same."""
    (release / "manifest.json").unlink(missing_ok=True)
    file = release / f"{LAYER}.csv.gz"
    file.write_bytes(change(file.read_bytes()))


def double_a_row(content: bytes) -> bytes:
    text = gzip.decompress(content)
    return gzip.compress(text + text.splitlines(keepends=True)[-1])


def test_the_graph_leads_from_release_and_snowflake_to_the_tables(window: Browser, ui: Place) -> None:
    window.open("/asset-groups")
    left = {group: window.see(group, within="*[name()='foreignObject']//*").location["x"] for group in (
        "release", "snowflake", "static_layers", "dynamic_operations")}  # fmt: skip
    assert left["release"] < left["static_layers"] < left["dynamic_operations"]
    assert left["snowflake"] < left["dynamic_operations"]


def test_the_sync_runs_every_five_minutes(window: Browser, ui: Place) -> None:
    window.open("/automation")
    window.see("dynamic_sync_schedule")
    window.see("Every 5 minutes")


def test_a_layer_is_loaded_by_clicking(window: Browser, ui: Place) -> None:
    materialise(window, "Success")
    ((rows,),) = ui.sql(f"SELECT count(*) FROM {LAYER}")
    assert rows > 20
    window.open(f"/assets/{LAYER}")
    window.see("Row count")
    window.see(f"{rows:,}")
    window.see("published")


def test_its_page_has_a_map(window: Browser, ui: Place) -> None:
    window.open(f"/assets/{LAYER}")
    window.click("[Show Markdown]")
    assert min(window.see_picture(LAYER)) >= 300


def test_its_checks_have_passed_and_say_what_they_judged(window: Browser, ui: Place) -> None:
    window.open(f"/assets/{LAYER}?view=checks&checkDetail=unique")
    window.see("Passed")
    window.see("doubled_values")
    assert window.count("Succeeded") >= 8
    assert window.count("Failed") == 0


def test_a_doubled_key_is_refused_and_the_checks_go_on_speaking_of_what_readers_see(window: Browser, ui: Place) -> None:
    before = ui.sql(f"SELECT * FROM {LAYER} ORDER BY line_id")
    rewrite(ui.release, double_a_row)
    materialise(window, "Failure")
    window.see(f"{LAYER}.csv.gz was not published: unique: line_id = {before[-1][0]}, 2 times")
    window.see("fix the file and reload")
    window.open(f"/assets/{LAYER}?view=checks&checkDetail=unique")
    window.see("Passed")
    window.see("judged_at")
    # Dagster's word for a warning too: nothing compared the layer with its release yet, and this run had planned to.
    assert window.count("Failed") == 1
    window.open(f"/assets/{LAYER}?view=checks&checkDetail=matches_release")
    window.see("No comparison has been made yet")
    assert ui.sql(f"SELECT * FROM {LAYER} ORDER BY line_id") == before


def test_a_damaged_file_is_explained_in_a_sentence(window: Browser, ui: Place) -> None:
    rewrite(ui.release, lambda content: content[: len(content) // 2])
    materialise(window, "Failure")
    window.see(f"{LAYER}.csv.gz: the gzip data is truncated")
    window.see("Fetch or write the file again")
