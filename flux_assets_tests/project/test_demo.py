"""`make demo` shows every layer and, synced once after them, the dynamic tables, and draws a map of them.

What it runs after the set-up is scripts/demo.sh.
"""

import os
import re
import subprocess
from pathlib import Path

import psycopg
from PIL import Image

from flux_assets.sample.cluster import Cluster
from flux_assets.sample.stand_in.server import StandIn
from flux_assets.settings import REPOSITORY
from flux_assets.tables import dynamic_tables, layers
from flux_assets_tests import sample_cities


def demo(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {"FLUX_HOME": str(home), "FLUX_RELEASE": str(sample_cities.folder())} | environment
    command = [REPOSITORY / "scripts" / "demo.sh", *arguments]
    return subprocess.run(command, env=os.environ | own, capture_output=True, text=True, check=False)


def test_the_layers_are_loaded_then_synced_with_and_all_of_it_is_shown(new_home: Path) -> None:
    done = demo(new_home)
    assert done.returncode == 0, done.stderr
    states = {words[0]: words[1] for line in done.stdout.splitlines() if len(words := line.split()) > 1}
    names = [table.name for table in (*layers(), *dynamic_tables())]
    assert {name: states.get(name) for name in names} == dict.fromkeys(names, "live")
    with psycopg.connect(Cluster(new_home).conninfo()) as maps:
        for table in dynamic_tables():
            assert maps.execute(f"SELECT count(*) FROM {table.name}").fetchone() > (0,), table.name
        # Load is a mean over the assets, so that one is known only where the layers came first.
        assert maps.execute("SELECT count(*) FROM circuit_status_realtime WHERE load_percent > 0").fetchone() > (0,)
    *_, map_line, ui_line, tables_line = done.stdout.splitlines()
    picture = new_home / "map.png"
    assert Path.cwd() / map_line.split(": ", 1)[1] == picture
    assert "make ui" in ui_line
    assert "flux-assets psql" in tables_line
    with Image.open(picture) as drawn:
        assert drawn.size == (920, 736)
        # Paper, water, buildings, lines and more; a picture of nothing has one colour.
        assert len(drawn.convert("RGB").getcolors()) > 20
    assert re.findall("(?i)warning", done.stdout + done.stderr) == []

    before = picture.stat().st_mtime_ns
    again = demo(new_home)
    assert (again.returncode, picture.stat().st_mtime_ns) == (0, before), again.stderr
    assert again.stderr.count("is unchanged") == len(layers())


def test_a_failure_is_told_in_full_and_ends_the_demo(new_home: Path) -> None:
    done = demo(new_home, FLUX_RELEASE=str(new_home / "nowhere"))
    assert done.returncode == 1
    assert "There is no" in done.stderr
    assert "syncing" not in done.stdout
    assert not (new_home / "map.png").exists()


def test_without_a_database_the_source_is_made_ready(new_home: Path) -> None:
    assert demo(new_home, "prepare").returncode == 0
    assert StandIn(new_home).running
    assert not Cluster(new_home).running()
