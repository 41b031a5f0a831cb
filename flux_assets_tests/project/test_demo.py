"""`make demo` shows every layer and, synced once after them, the dynamic tables; what it runs is scripts/demo.sh."""

import os
import subprocess
from pathlib import Path

import psycopg

from flux_assets.sample.cluster import Cluster
from flux_assets.settings import REPOSITORY
from flux_assets.tables import dynamic_tables, static_tables
from flux_assets_tests import sample_cities


def test_the_layers_are_loaded_then_synced_with_and_all_of_it_is_shown(new_home: Path) -> None:
    own = {"FLUX_HOME": str(new_home), "FLUX_RELEASE": str(sample_cities.folder())}
    done = subprocess.run(
        [REPOSITORY / "scripts" / "demo.sh"], env=os.environ | own, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    states = {words[0]: words[1] for line in done.stdout.splitlines() if len(words := line.split()) > 1}
    names = [table.name for table in (*static_tables(), *dynamic_tables())]
    assert {name: states.get(name) for name in names} == dict.fromkeys(names, "live")
    with psycopg.connect(Cluster(new_home).conninfo()) as maps:
        for table in dynamic_tables():
            assert maps.execute(f"SELECT count(*) FROM {table.name}").fetchone() > (0,), table.name
        # Load is a mean over the assets, so that one is known only where the layers came first.
        assert maps.execute("SELECT count(*) FROM circuit_status_realtime WHERE load_percent > 0").fetchone() > (0,)
