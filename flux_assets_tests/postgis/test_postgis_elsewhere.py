"""PostGIS in another schema than public, which no search_path of the role or the database finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from flux_assets.postgis.session import Target
from flux_assets.previews.maps import draw
from flux_assets.sample.cluster import Cluster
from flux_assets.settings import load_settings
from flux_assets.sqlfiles import script
from flux_assets_tests.conftest import fresh_database
from flux_assets_tests.synced import Utility, settings_of
from flux_assets_tests.whole_way import POLES, examined, go, wrong


@pytest.mark.parametrize(
    ("schema", "published", "path"),
    [("extensions", "gis", "gis, public"), ("Odd Place", "public", "''")],
)
def test_all_that_there_is_works(
    cluster: Cluster,
    utility: Utility,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    schema: str,
    published: str,
    path: str,
) -> None:
    with fresh_database(cluster, "template0") as name:
        with cluster.admin_session(name) as admin:
            admin.execute(f'CREATE SCHEMA "{schema}"; CREATE EXTENSION postgis SCHEMA "{schema}"'.encode())
            admin.execute(f"ALTER DATABASE {name} SET search_path = {path}".encode())
            admin.execute(f"SET flux.schema = '{published}'".encode())
            admin.execute(script("postgis/roles.sql").encode())
        settings = {"FLUX_POSTGRES_URL": cluster.url(name), "FLUX_POSTGRES_SCHEMA": published}
        for setting, value in (settings | settings_of(utility.account) | {"FLUX_RELEASE": str(tmp_path)}).items():
            monkeypatch.setenv(setting, value)
        load_settings.cache_clear()
        utility.target = Target(conninfo=cluster.conninfo(name), schema=published)
        go(utility, tmp_path)
        assert draw(POLES, utility.target, 31)
        assert wrong(examined(utility)) == []
        with cluster.admin_session(name) as admin:
            admin.execute("SET ROLE flux_reader")
            assert admin.execute(f"SELECT count(geom) FROM {published}.poles".encode()).fetchone() == (31,)
            assert admin.execute(f'SELECT count("{schema}".ST_AsText(geom)) FROM {published}.poles'.encode()).fetchone()
