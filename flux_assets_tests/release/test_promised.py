"""A manifest that says another row count than the register: refused, though the file is the published one."""

from pathlib import Path

import pytest

from flux_assets.errors import ManifestError, RecordError
from flux_assets.postgis.session import Target
from flux_assets_tests.conftest import Sql
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows


@pytest.fixture
def loader(target: Target, tmp_path: Path) -> Loader:
    return Loader(target, ReleaseFolder(tmp_path / "v1"))


def latest(sql: Sql) -> tuple[str, str]:
    return sql("SELECT sync_type, status FROM postgres_sync.sync_status ORDER BY sync_id DESC LIMIT 1")[0]


def test_a_published_file_of_which_the_manifest_says_another_count(loader: Loader, sql: Sql) -> None:
    """Names the file and both counts; what is published stays, and a right manifest is all that it takes."""
    loader.load(made_up(), rows(40))
    loader.source.promise(made_up(), rows=41)
    said = "poles.csv.gz: the manifest says 41 rows, and the register says 40: the file has the same bytes"
    with pytest.raises(ManifestError, match=said) as refused:
        loader.load(made_up())
    assert "Regenerate the manifest" in refused.value.remedy
    assert latest(sql)[1] != "SUCCESS"
    assert sql("SELECT count(*) FROM poles") == [(40,)]
    loader.source.promise(made_up())
    assert loader.load(made_up()).outcome == "unchanged"
    loader.source.promise(made_up(), rows=None)
    assert loader.load(made_up()).outcome == "unchanged"


def test_records_in_quarantine_count_as_rows_of_the_file(loader: Loader) -> None:
    content = rows(40)
    content[5]["code"] = "x"
    loader.load(made_up(), content, quarantine=1)
    loader.source.promise(made_up())
    assert loader.load(made_up()).outcome == "unchanged"
    loader.source.promise(made_up(), rows=39)
    with pytest.raises(ManifestError, match=r"39 rows, and the register says 40 \(39 in the table, 1 in quarantine\)"):
        loader.load(made_up())


def test_a_version_that_was_staged_before_is_judged_too(loader: Loader, sql: Sql) -> None:
    """Going back to an earlier file publishes its kept version, and reads nothing again."""
    first, second = rows(40), rows(45)
    loader.load(made_up(), first)
    loader.load(made_up(), second)
    loader.source.write(made_up(), first)
    loader.source.promise(made_up(), rows=45)
    with pytest.raises(ManifestError, match="the manifest says 45 rows, and the register says 40"):
        loader.load(made_up())
    assert sql("SELECT count(*) FROM poles") == [(45,)]
    loader.source.promise(made_up())
    assert loader.load(made_up()).rows == 40


def test_a_file_that_is_read_is_judged_by_what_is_in_it(loader: Loader) -> None:
    loader.load(made_up(), rows(40))
    loader.source.write(made_up(), [*rows(40), {"id": "x", "code": "y"}])
    loader.source.promise(made_up(), rows=40)
    with pytest.raises(RecordError, match="line 42, column code"):
        loader.load(made_up())
