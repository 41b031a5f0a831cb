"""docs/connecting.md, followed as it is written, against a server of its own and Snowflake's stand-in."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import snowflake.connector

from flux_assets.sample.city.release_writer import write_release
from flux_assets.sample.cluster import Cluster
from flux_assets.sample.simulation.seeding import seed
from flux_assets.settings import REPOSITORY
from flux_assets.snowflake.account import Account
from flux_assets_tests.sample.test_simulation import grid
from flux_assets_tests.sample_cities import city_tables
from flux_assets_tests.synced import settings_of

_BLOCK = re.compile(r"^ *```console\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def blocks(part: str) -> list[str]:
    """The commands of one part of the page."""
    page = (REPOSITORY / "docs" / "connecting.md").read_text()
    (text,) = [text for text in page.split("\n## ") if text.startswith(part)]
    return _BLOCK.findall(text)


# The page is not about them, and each takes a while.
LEFT_OUT = sorted({table.name for table in city_tables()} - {"substations", "transformers"})


class Follower:
    """Somebody who follows the page: whose psql reaches a server as its administrator, and whose source is given."""

    def __init__(self, folder: Path, cluster: Cluster, source: Account) -> None:
        self._folder = folder
        (folder / "sql").symlink_to(REPOSITORY / "sql")
        with cluster.admin_session() as admin:
            port, user, password = admin.info.port, admin.info.user, admin.info.password
        address = f"postgresql://{{}}@127.0.0.1:{port}"
        self._settings = {
            **{name: value for name, value in os.environ.items() if not name.startswith("FLUX_")},
            **settings_of(source), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": user, "PGPASSWORD": password,
            "FLUX_HOME": str(folder / "home"), "FLUX_ENV_FILE": "", "FLUX_RELEASE": str(folder / "release"),
            "FLUX_POSTGRES_URL": f"{address.format('flux:change%20me')}/maps", "DAGSTER_HOME": str(REPOSITORY),
            "FLUX_WITHOUT": ",".join(LEFT_OUT),
            "DAGSTER_POSTGRES_URL": f"{address.format('dagster:change%20me%20three')}/dagster",
        }  # fmt: skip

    def run(self, block: str) -> str:
        """What the block's commands print."""
        done = subprocess.run(
            ["bash", "-ec", block], cwd=self._folder, env=self._settings, check=False, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture
def follower(new_home: Path, source: Account, tmp_path: Path) -> Follower:
    cluster = Cluster(new_home)
    cluster.start()
    with snowflake.connector.connect(**source.arguments()) as connection:
        seed(connection, grid(), now=datetime.now(UTC).replace(tzinfo=None, microsecond=0))
    write_release(tmp_path / "release", city_tables(), scale=0.001, seed=7)
    return Follower(tmp_path, cluster, source)


def test_every_step_does_what_the_page_says(follower: Follower) -> None:
    made, passwords, tested, history, loaded = blocks("PostGIS")
    keys, examined, synced = blocks("Snowflake")
    follower.run(made)
    follower.run(made.replace("createdb maps", ""))  # again changes nothing
    for block in (passwords, history):
        follower.run(block)
    assert re.findall(r"^(\w+) +live", follower.run(loaded), re.MULTILINE)[:2] == ["substations", "transformers"]
    follower.run(keys)
    assert examined == tested
    assert "sign-in: user flux, database maps" in follower.run(examined)
    assert "work_orders" in follower.run(synced)
    assert "live" in follower.run("flux-assets status | grep work_orders")
