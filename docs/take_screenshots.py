"""Take docs/ui/*.png: `python -m docs.take_screenshots`, five minutes.

Here: what is shown and how small it is saved. Not here: starting the UI (flux_assets_tests/ui/opened.py).
"""

from __future__ import annotations

import gzip
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from flux_assets.postgis.session import Target
from flux_assets.previews.maps import draw_live
from flux_assets.sample.cluster import Cluster
from flux_assets.tables import dynamic_tables, grounds
from flux_assets_tests.mapped import served
from flux_assets_tests.ui.browser import Browser, browser
from flux_assets_tests.ui.opened import Place, opened

PICTURES = Path(__file__).with_name("ui")
MOST_BYTES, MOST_BYTES_OF_MAP = 150_000, 500_000
BROKEN = "grid_power_lines"
STEPS, SYNCS = 6, 6  # of the storm before the first sync, and after it


def main() -> None:
    """A city with a storm and some syncs behind it, looked at; then a release with a doubled row."""
    with opened(scale=0.05) as place:
        _fill(place)
        with browser(place.address) as window:
            _look(window)
            _draw_outages(place)
            look_at_map(place)
            _break(place, window)


def _fill(place: Place) -> None:
    select = ("asset", "materialize", "-m", "flux_assets.definitions", "--select")
    place.run("dagster", *select, "group:static_layers")
    place.run("flux-assets", "simulate", "--storm")
    for _ in range(STEPS):
        place.run("flux-assets", "simulate", "--tick")
    place.run("dagster", *select, "group:dynamic_operations")
    for _ in range(SYNCS):
        place.run("flux-assets", "simulate", "--tick")
        place.run("dagster", "job", "execute", "-m", "flux_assets.definitions", "-j", "sync_all_dynamic")


def _look(window: Browser) -> None:
    window.open("/assets")
    window.see("building_footprints")
    _keep(window, "catalog")
    window.open("/asset-groups")
    window.see("dynamic_operations", within="*[name()='foreignObject']//*")
    window.miss("fetching statuses")
    _keep(window, "lineage")
    window.open("/assets/circuit_status_realtime?view=lineage&lineageScope=upstream&lineageDepth=5")
    window.see("grid_assets_cache", within="*[name()='foreignObject']//*")
    _keep(window, "upstream")
    window.open("/assets/outage_restoration_tracker")
    window.see("Row count")
    window.see("customers_affected")
    _keep(window, "asset")
    window.show("Metadata")
    _keep(window, "figures")
    window.open("/assets/meter_locations_enhanced?view=checks&checkDetail=relationships")
    window.see("Evaluation result")
    _keep(window, "checks")
    window.open("/automation")
    window.see("dynamic_sync_schedule")
    _keep(window, "automation")


def look_at_map(place: Place) -> None:
    """The page of `make map`, in the midst of the city."""
    with served(place.environment) as address, browser(address) as window:
        window.open("/")
        window.see("open outages")
        window.driver.execute_script("fluxMap.jumpTo({zoom: 14.3, center: [-95.425, 29.765]})")
        window.until(lambda: window.driver.execute_script("return fluxMap.areTilesLoaded()"), "tiles are missing")
        _keep(window, "map", MOST_BYTES_OF_MAP)


def _draw_outages(place: Place) -> None:
    """The map that the page of the outages shows, as it is."""
    table = next(table for table in dynamic_tables() if table.picture)
    picture = draw_live(table, Target(conninfo=Cluster(place.home).conninfo()), grounds())
    (PICTURES / "outages.png").write_bytes(picture or b"")


def _break(place: Place, window: Browser) -> None:
    (place.release / "manifest.json").unlink()
    file = place.release / f"{BROKEN}.csv.gz"
    rows = gzip.decompress(file.read_bytes())
    file.write_bytes(gzip.compress(rows + rows.splitlines(keepends=True)[-1]))
    window.open(f"/assets/{quote(BROKEN)}")
    window.press("Materialize")
    window.follow("View")
    window.see("Failure")
    window.see("fix the file and reload")
    _keep(window, "failed-run")


def _keep(window: Browser, name: str, most_bytes: int = MOST_BYTES) -> None:
    """With as many colours as the size allows."""
    file = PICTURES / f"{name}.png"
    window.settle()
    window.picture(file)
    with Image.open(file) as taken:
        whole = taken.convert("RGB")
    for colours in (256, 128, 64, 32, 16):
        # Not by how many pixels have a colour: a green dot would turn grey.
        whole.quantize(colours, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE).save(
            file, optimize=True
        )
        if file.stat().st_size <= most_bytes:
            return


if __name__ == "__main__":
    main()
