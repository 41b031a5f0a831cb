"""The map's server: what its page asks it, and that it tells of what is published."""

from __future__ import annotations

import json
import os
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from http.client import HTTPResponse

import pytest

from flux_assets.layers.context import LoadOptions
from flux_assets.layers.load import load_layer
from flux_assets.release.release import Release
from flux_assets.sample.cluster import OWNER
from flux_assets.settings import REPOSITORY
from flux_assets.tables import declarations, static_tables
from flux_assets_tests import sample_cities
from flux_assets_tests.mapped import PATIENCE, get, served

pytestmark = pytest.mark.bare

PAGE = REPOSITORY / "flux_assets" / "map" / "page"
WATER = next(table for table in static_tables() if table.name == "osm_water")


@pytest.fixture
def environment(cluster, database, tmp_path) -> dict[str, str]:
    return os.environ | {"FLUX_POSTGRES_URL": cluster.tcp_url(database), "FLUX_HOME": str(tmp_path)}


@pytest.fixture
def publish(target, tmp_path):
    """Publish the water of the sample city, again each time it is called."""
    release = Release(str(sample_cities.folder()), "v1", tmp_path / "cache")
    return lambda: load_layer(WATER, release, target, LoadOptions(force=True), lambda _: None)


def heard(news: HTTPResponse) -> Iterator[list[str]]:
    """The tables that are told to have changed, as a page is told of them."""
    for line in news:
        if line.startswith(b"data: "):
            yield json.loads(line.removeprefix(b"data: "))


def test_a_layer_that_is_loaded_later_is_told_of_and_served(environment, publish, database):
    with served(environment) as address, urllib.request.urlopen(f"{address}/changes", timeout=PATIENCE) as news:
        assert json.loads(get(f"{address}/tables")) == {"schema": "public", "tables": []}
        assert json.loads(get(f"{address}/bounds")) is None
        version = publish().version
        assert next(heard(news)) == ["osm_water"]
        found = json.loads(get(f"{address}/tables"))["tables"]
        (water,) = [table for table in found if table["published_at"]]
        assert (water["geometry"], water["geometry_column"]) == ("GEOMETRY", "geom")
        assert (water["table"], water["version"], water["trusted"]) == ("osm_water", version, True)
        west, south, east, north = json.loads(get(f"{address}/bounds"))
        assert -96 < west < east < -95
        assert 29 < south < north < 31
        items = json.loads(
            get(f"{address}/collections/public.osm_water/items?f=geojson&limit=5&geom-column=geom&mark=1")
        )
        assert items["numberMatched"] == water["rows"] > 0
        assert get(f"{address}/collections/public.osm_water/tiles/WebMercatorQuad/10/240/423?geom-column=geom&mark=1")


def test_tables_and_postgis_may_be_in_other_schemas_than_public(environment, publish, cluster, database, target):
    with cluster.admin_session(database) as admin:
        admin.execute(
            'DROP EXTENSION postgis CASCADE; CREATE SCHEMA "Post GIS"; CREATE EXTENSION postgis SCHEMA "Post GIS"'
        )
        admin.execute(f'CREATE SCHEMA gis AUTHORIZATION {OWNER}; GRANT USAGE ON SCHEMA "Post GIS" TO {OWNER}'.encode())
    object.__setattr__(target, "schema", "gis")
    publish()
    with served(environment | {"FLUX_POSTGRES_SCHEMA": "gis"}) as address:
        for _ in range(3):  # sessions are used again
            tile = f"{address}/collections/gis.osm_water/tiles/WebMercatorQuad/10/240/423?geom-column=geom"
            assert get(tile)


def test_only_declared_tables_are_served(environment, publish, sql):
    publish()
    sql("CREATE TABLE secrets (id int PRIMARY KEY, geom geometry(POINT, 4326))")
    with served(environment) as address:
        collections = json.loads(get(f"{address}/collections?limit=100"))["collections"]
    assert [each["id"] for each in collections] == ["public.osm_water"]


def test_the_page_holds_all_that_it_asks_for(environment):
    """Nothing comes from elsewhere: neither scripts nor styles nor fonts."""
    with served(environment) as address:
        page = get(address).decode()
        named = re.findall(r'(?:src|href)="([^"]+)"', page)
        script = get(f"{address}/page.js").decode()
        named += [*re.findall(r'from "\./([^"]+)"', script), "maplibre/maplibre-gl-worker.mjs"]
        for name in named:
            assert name.startswith("data:") or get(f"{address}/{name}")
    assert re.findall(r"https?://", page + script + (PAGE / "page.css").read_text()) == []


def test_every_look_is_that_of_a_declared_table_and_its_columns():
    looks = re.search(r"const LOOKS = \{(.*?)\n\};", (PAGE / "page.js").read_text(), re.DOTALL)[1]
    known = {table.name: set(table.column_names) for table in declarations()}
    found = re.findall(r"^  (\[OUTAGES\]|\w+): \{\s*columns: \[([^\]]*)\]", looks, re.MULTILINE)
    assert len(found) > 5
    for name, columns in found:
        table = "outage_restoration_tracker" if name == "[OUTAGES]" else name
        assert set(re.findall(r'"(\w+)"', columns)) <= known[table]


def test_maplibre_is_of_the_version_that_is_asked_for():
    script = (REPOSITORY / "scripts" / "vendor_maplibre.sh").read_text()
    version = re.search(r"^version=(\S+)$", script, re.MULTILINE)[1]
    assert f"maplibre-gl-js/blob/v{version}/" in (PAGE / "maplibre" / "maplibre-gl.mjs").read_text()[:300]


@pytest.mark.parametrize(("port", "word"), [("none", "is not a port"), ("0", "is not a port"), ("taken", "is taken")])
def test_a_port_that_cannot_be_is_named(environment, source_server, port, word):
    taken = str(source_server.port) if port == "taken" else port
    done = subprocess.run(
        [REPOSITORY / "scripts" / "map.sh"], env={**environment, "MAP_PORT": taken}, capture_output=True, text=True,
        check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert (done.returncode, word in done.stderr) == (1, True)
