"""ARCHITECTURE.md shows the rooms as the imports are, and names every file once."""

import re
import runpy

from flux_assets.settings import REPOSITORY

PAGE = REPOSITORY / "ARCHITECTURE.md"


def test_the_picture_of_the_rooms_is_that_of_the_imports():
    drawn = runpy.run_path(str(REPOSITORY / "scripts" / "draw_rooms.py"))["page"]()
    assert drawn == PAGE.read_text(), "run scripts/draw_rooms.py"


def test_every_room_is_in_the_picture():
    rooms = {path.parent.name for path in (REPOSITORY / "flux_assets").glob("*/__init__.py")}
    assert rooms <= set(re.findall(r'"(\w+)/"', PAGE.read_text()))


def test_every_file_is_named_once():
    named = re.findall(r"`(flux_assets/[\w/]+\.py)`", PAGE.read_text())
    assert sorted(named) == sorted(set(named))
    assert [path for path in named if not (REPOSITORY / path).is_file()] == []
