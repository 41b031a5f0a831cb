"""Releases and versions compared before anything is published: told table by table, by column, key and place."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from flux_assets.cli.main import main
from flux_assets.compare.difference import TableDifference
from flux_assets.compare.states import CURRENT, LayerStates
from flux_assets.errors import FluxError, LayerError, RecordError
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.session import Target
from flux_assets.release.writing import entries_of, write_manifest
from flux_assets.sample.cluster import Cluster
from flux_assets.settings import load_settings
from flux_assets.spec import StaticTable
from flux_assets.tables.substations import TABLE as SUBSTATIONS
from flux_assets_tests.conftest import Sql
from flux_assets_tests.made_layers import Loader, ReleaseFolder, columns, made_up, point, rows
from flux_assets_tests.made_up import write_one_row

POLES = made_up()
LIVE = LayerStates(name=CURRENT)


def later() -> list[dict[str, object]]:
    """Poles 1 to 6 where there were 0 to 5: two of them changed."""
    found = rows(6, start=1)
    found[1] |= {"name": "Other", "score": 0.25}
    found[3] |= {"name": None, "geom": point(11, 51), "longitude": 11, "latitude": 51}
    return found


def release(folder: Path, content: object, table: StaticTable = POLES) -> LayerStates:
    made = ReleaseFolder(folder)
    made.write(table, content)
    return LayerStates(name=folder.name, release=made.release)


def outcome(
    target: Target, before: LayerStates, after: LayerStates, table: StaticTable = POLES
) -> TableDifference | FluxError:
    ((name, found),) = before.compared(after, [table], target, Stop(), 100)
    assert name == table.name
    return found


def compared(target: Target, before: LayerStates, after: LayerStates, table: StaticTable = POLES) -> TableDifference:
    found = outcome(target, before, after, table)
    assert isinstance(found, TableDifference), found
    return found


def counts(found: TableDifference) -> tuple[int, ...]:
    """Added, removed, changed."""
    assert found.rows
    return tuple(found.rows.counts.get(kind, 0) for kind in ("extra", "missing", "changed"))


@pytest.fixture
def loader(target: Target, tmp_path: Path) -> Loader:
    """The layer published once: poles 0 to 5."""
    loader = Loader(target, ReleaseFolder(tmp_path / "first"))
    loader.load(POLES, rows(6))
    return loader


def expect_the_changes(found: TableDifference) -> None:
    assert counts(found) == (1, 1, 2)
    assert found.changed == {"name": 2, "score": 1, "longitude": 1, "latitude": 1, "geom": 1}
    assert found.rows
    assert found.rows.named["extra"] == ("000006",)
    assert found.rows.named["missing"] == ("000000",)
    assert found.rows.named["changed"][0] == "000002: name is 'Other', not 'Pole 2'; score is '0.25', not '0.5'"
    places = {(kind, round(longitude, 4), round(latitude, 4)) for kind, longitude, latitude in found.places}
    assert places == {
        ("extra", 10.0006, 50.0006), ("missing", 10, 50), ("changed", 10.0002, 50.0002), ("changed", 11, 51),
    }  # fmt: skip
    assert not found.is_same


def test_a_release_against_what_is_published(loader: Loader, target: Target, tmp_path: Path, sql: Sql) -> None:
    before = sql("SELECT * FROM poles ORDER BY id"), sql("SELECT * FROM postgres_sync.layer_versions")
    expect_the_changes(compared(target, LIVE, release(tmp_path / "next", later())))
    assert (sql("SELECT * FROM poles ORDER BY id"), sql("SELECT * FROM postgres_sync.layer_versions")) == before
    while sql(
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'flux_assets%'"
    ):
        time.sleep(0.01)  # a session that ends takes its temporary tables with it
    assert sql("SELECT relname FROM pg_class WHERE relname LIKE 'flux\\_state%'") == []
    assert sql("SELECT count(*) FROM postgres_sync.sync_status") == [(1,)]


def test_the_same_rows_are_the_same(loader: Loader, target: Target, tmp_path: Path) -> None:
    found = compared(target, LIVE, release(tmp_path / "again", rows(6)))
    assert (found.is_same, found.rows and found.rows.actual[0], found.changed, found.places) == (True, 6, {}, ())


def test_two_releases(target: Target, tmp_path: Path) -> None:
    expect_the_changes(compared(target, release(tmp_path / "a", rows(6)), release(tmp_path / "b", later())))


def test_two_versions_by_id_and_by_tag(loader: Loader, target: Target) -> None:
    first = loader.load(POLES, force=True).version
    loader.source.tag = "v2"
    second = loader.load(POLES, later()).version
    expect_the_changes(compared(target, LayerStates(name=first[:10]), LayerStates(name=second)))
    expect_the_changes(compared(target, LayerStates(name="v1"), LayerStates(name="v2")))
    assert compared(target, LayerStates(name="v2"), LIVE).is_same


def test_a_file_that_both_manifests_promise_is_not_read(target: Target, tmp_path: Path) -> None:
    states = []
    for name in "ab":
        state = release(tmp_path / name, rows(4))
        entries = entries_of(tmp_path / name, [POLES], tmp_path / "cache", {}, lambda _: None)
        write_manifest(tmp_path / name, entries, [POLES])
        raw = (tmp_path / name / POLES.file_name).read_bytes()
        (tmp_path / name / POLES.file_name).write_bytes(bytes(len(raw)))
        states.append(state)
    found = compared(target, *states)
    assert (found.is_same, found.rows and found.rows.actual[0]) == (True, 4)


def test_keys_that_occur_twice_are_told_by_whole_rows(target: Target, tmp_path: Path) -> None:
    twice = [*rows(2), rows(1)[0] | {"code": 9}]
    found = compared(target, release(tmp_path / "a", rows(2)), release(tmp_path / "b", twice))
    assert (counts(found), found.changed, found.places) == ((1, 0, 0), {}, ())


def test_a_layer_that_has_no_key(target: Target, tmp_path: Path) -> None:
    table = made_up(parts=columns(id=sa.Column("id", sa.String(20), nullable=False, comment="Identifier.")))
    states = release(tmp_path / "a", rows(6), table), release(tmp_path / "b", later(), table)
    assert counts(compared(target, *states, table)) == (3, 3, 0)


def test_a_version_with_other_columns(loader: Loader, target: Target, tmp_path: Path) -> None:
    table = made_up(
        parts=columns(
            parent_id=None,
            score=sa.Column("score", sa.Numeric(6, 3), comment="Share."),
            size=sa.Column("size", sa.Integer, comment="Size."),
        ),
        references=(),
    )
    content = [row | {"size": 1} for row in later()]
    found = compared(target, LIVE, release(tmp_path / "b", content, table), table)
    assert found.lacking == ("parent_id (character varying(20))",)
    assert found.added == ("size (integer)",)
    assert found.retyped == ("score (double precision, here numeric(6,3))",)
    assert counts(found) == (1, 1, 2)


def test_what_only_one_side_has(loader: Loader, target: Target, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    empty = LayerStates(name="empty", release=ReleaseFolder(tmp_path / "empty").release)
    assert compared(target, LIVE, empty).absent == ("empty",)
    assert list(empty.compared(LayerStates(name="nope"), [POLES], target, Stop(), 1)) == []


def test_an_id_of_two_versions_is_refused(loader: Loader, target: Target, sql: Sql) -> None:
    loader.load(POLES, later())
    sql("UPDATE postgres_sync.layer_versions SET version = 'ab' || version")
    found = outcome(target, LIVE, LayerStates(name="ab"))
    assert isinstance(found, LayerError)
    assert "several versions begin with ab" in found.problem


def test_a_bad_file_is_named_and_others_are_compared(target: Target, tmp_path: Path) -> None:
    others = made_up("others")
    bad = release(tmp_path / "b", [rows(1)[0] | {"code": "x"}])
    for folder in "ab":
        ReleaseFolder(tmp_path / folder).write(others, rows(2))
    good = release(tmp_path / "a", rows(2))
    found = dict(good.compared(bad, [POLES, others], target, Stop(), 1))
    assert isinstance(found["poles"], RecordError)
    assert found["poles"].place.column == "code"
    assert isinstance(found["others"], TableDifference)
    assert found["others"].is_same


def test_a_stop_ends_it(target: Target, tmp_path: Path) -> None:
    stop = Stop()
    stop.request()
    with pytest.raises(FluxError):
        list(LIVE.compared(release(tmp_path / "b", rows(1)), [POLES], target, stop, 1))


@pytest.fixture
def reached(cluster: Cluster, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUX_POSTGRES_URL", cluster.url(database))
    load_settings.cache_clear()


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["diff", *map(str, arguments)])


@pytest.fixture
def folders(reached: None, tmp_path: Path) -> tuple[Path, Path]:
    """Two releases of one substation, whose name and place differ."""
    old, new = tmp_path / "old", tmp_path / "new"
    raw = gzip.decompress(write_one_row(old, SUBSTATIONS).read_bytes()).decode().splitlines()
    fields = dict(zip(raw[0].split(","), raw[1].split(","), strict=True))
    fields |= {"substation_name": "Moved", "longitude": "10.5"}
    ReleaseFolder(new).write(SUBSTATIONS, f"{raw[0]}\n{','.join(fields.values())}\n")
    return old, new


def test_the_command_tells_what_changed_and_draws_where(folders: tuple[Path, Path], tmp_path: Path) -> None:
    done = run(*folders, "--map", tmp_path / "where.png")
    assert done.exit_code == 1, done.output
    first, second = done.stdout.splitlines()
    assert first == (
        "substations: 1 row, then 1: 0 added, 0 removed, 1 changed; columns substation_name in 1, longitude in 1."
    )
    assert second == "  changed A1: substation_name is 'Moved', not 'A1'; longitude is '10.5', not '10'"
    assert (tmp_path / "where.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_prints_json(folders: tuple[Path, Path]) -> None:
    done = run(*folders, "--json")
    (found,) = json.loads(done.stdout)
    assert (done.exit_code, found["table"], found["same"]) == (1, "substations", False)
    assert found["rows"] == {"before": 1, "after": 1, "added": 0, "removed": 0, "changed": 1}
    assert found["columns"]["changed"] == {"substation_name": 1, "longitude": 1}


def test_the_command_ends_well_where_nothing_differs(folders: tuple[Path, Path], tmp_path: Path) -> None:
    done = run(folders[0], folders[0], "substations", "--map", tmp_path / "where.png")
    assert (done.exit_code, done.stdout) == (0, "substations: 1 row, the same.\n")
    assert not (tmp_path / "where.png").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["OLD", "curent"], 1, "curent has none of the layers"),
        (["OLD", "./nowhere"], 1, "There is no folder nowhere"),
        (["OLD", "http://127.0.0.1:1/v1"], 1, "cannot be reached"),
        (["OLD", "OLD", "substation"], 1, "Did you mean substations"),
        (["OLD", ""], 2, "one is empty"),
        (["OLD"], 2, "Missing argument"),
        (["OLD", "NEW", "--map", "/nowhere/where.png"], 1, "/nowhere/where.png cannot be written"),
    ],
)
def test_the_command_says_what_is_wrong(folders: tuple[Path, Path], arguments: list[str], code: int, said: str) -> None:
    named = {"OLD": folders[0], "NEW": folders[1]}
    done = run(*(named.get(each, each) for each in arguments))
    assert (done.exit_code, said in done.stderr) == (code, True), done.output
