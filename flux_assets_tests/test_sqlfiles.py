"""Statements are found by name in the files of sql/postgis/, in a checkout as in an installed package."""

import pytest

from flux_assets import sqlfiles
from flux_assets.settings import REPOSITORY

FILE = """-- Only what the tests ask.

-- first --
SELECT %(value)s;

-- second --
-- Why this is asked.
SELECT count(*) FROM {table};
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "postgis").mkdir()
    (tmp_path / "postgis" / "made_up.sql").write_text(FILE)
    monkeypatch.setattr(sqlfiles, "_folder", lambda: tmp_path)


def test_a_statement_is_found_by_its_name(folder):
    assert sqlfiles.query("made_up", "first").as_string() == "SELECT %(value)s"


def test_a_statement_keeps_its_comments_and_its_identifiers_to_fill_in(folder):
    asked = sqlfiles.query("made_up", "second").as_string()
    assert asked == "-- Why this is asked.\nSELECT count(*) FROM {table}"


def test_a_statement_that_is_not_there_is_an_error(folder):
    with pytest.raises(KeyError, match="third"):
        sqlfiles.query("made_up", "third")


def test_no_statement_of_ours_is_named_twice():
    for file in (REPOSITORY / "sql" / "postgis").glob("*.sql"):
        names = sqlfiles._NAME.findall(file.read_text())
        assert len(names) == len(set(names)), file.name


def test_every_statement_of_ours_is_asked_for():
    code = "".join(file.read_text() for file in (REPOSITORY / "flux_assets").rglob("*.py"))
    for file in (REPOSITORY / "sql" / "postgis").glob("*.sql"):
        assert [name for name in sqlfiles._NAME.findall(file.read_text()) if f'"{name}"' not in code] == [], file.name
