"""NOTIFY flux_published, heard by a real listener: what is told, when, and when nothing is."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from flux_assets.errors import AuditError
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.rollback import rollback
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows

pytestmark = pytest.mark.bare

PATIENCE = 60
ENOUGH = "that was all"


@pytest.fixture
def loader(target, tmp_path) -> Loader:
    return Loader(target, ReleaseFolder(tmp_path / "v1"))


@contextmanager
def listening(target) -> Iterator[list[dict]]:
    """What is told while the block runs, in order."""
    heard: list[dict] = []
    with target.session("listener") as listener, target.session("teller") as teller:
        listener.execute("LISTEN flux_published")
        yield heard
        teller.execute(f"NOTIFY flux_published, '{ENOUGH}'")
        for told in listener.notifies(timeout=PATIENCE):
            if told.payload == ENOUGH:
                return
            heard.append(json.loads(told.payload))
    raise AssertionError("the last word was not heard")


def row(sql, table: str) -> int:
    newest = "SELECT sync_id FROM postgres_sync.sync_status WHERE layer_name = %s ORDER BY 1 DESC LIMIT 1"
    return sql(newest, table)[0][0]


def test_a_publish_and_a_rollback(loader, target):
    with listening(target) as heard:
        first = loader.load(made_up(), rows(3)).version
        loader.load(made_up())
        second = loader.load(made_up(), rows(4)).version
        rollback(made_up(), target, LoadOptions(), lambda _: None)
    told = {"schema": "public", "table": "poles"}
    assert heard == [
        told | {"kind": "published", "version": first},
        told | {"kind": "published", "version": second},
        told | {"kind": "rolled back", "version": first},
    ]


def test_a_version_that_is_not_published(loader, target):
    loader.load(made_up(), rows(3))
    with listening(target) as heard, pytest.raises(AuditError):
        loader.load(made_up(), [])
    assert heard == []


def test_what_is_told_can_be_read_by_who_hears_it(loader, target, sql):
    """It is sent in the transaction that publishes: nobody hears of a version before it is there."""
    with target.session("listener") as listener:
        listener.execute("LISTEN flux_published")
        result = loader.load(made_up(), rows(5))
        (heard,) = listener.notifies(timeout=PATIENCE, stop_after=1)
        current = listener.execute("SELECT version FROM postgres_sync.v_table_status").fetchall()
    assert [(json.loads(heard.payload)["version"],)] == current == [(result.version,)]


def test_a_sync_tells_of_the_tables_that_it_changed(utility, target, sql):
    utility.tell("INSERT INTO FEEDERS VALUES ('A', 'Alder', 5)")
    with listening(target) as heard:
        utility.synced()
    feeders = {"schema": "public", "table": "feeders", "kind": "synced", "sync_id": row(sql, "feeders")}
    assert heard == [feeders]
    with listening(target) as heard:
        utility.synced()
        utility.synced(force=True)
    assert heard == []


def test_a_table_that_follows_another_is_told_of_too(utility, target, sql):
    """Its source has not changed, and nobody asked for it."""
    utility.tell("INSERT INTO FEEDERS VALUES ('A', 'Alder', 5)")
    utility.synced()
    utility.tell("INSERT INTO FAULTS VALUES ('1', 'A', 'OPEN', '2026-01-01', 3, 10, 50)")
    with listening(target) as heard:
        utility.synced("faults")
    told = {"schema": "public", "kind": "synced"}
    assert sorted(heard, key=lambda each: each["table"]) == [
        told | {"table": "faults", "sync_id": row(sql, "faults")},
        told | {"table": "feeders", "sync_id": None},
    ]
    utility.tell("UPDATE FAULTS SET STATE = 'CLOSED'")
    with listening(target) as heard:
        utility.synced()
    assert {each["table"]: each["sync_id"] for each in heard} == {
        "faults": row(sql, "faults"),
        "feeders": row(sql, "feeders"),
    }


def test_a_sync_that_is_undone_tells_nothing(utility, target, sql):
    utility.tell("INSERT INTO FEEDERS VALUES ('A', 'Alder', 5)")
    utility.synced()
    sql("ALTER TABLE feeders ADD CHECK (homes < 10)")
    utility.tell("UPDATE FEEDERS SET HOMES = 50")
    with listening(target) as heard:
        assert "feeders" in utility.failed()
    assert heard == []
