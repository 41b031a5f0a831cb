"""Posting every change of a table: once each, again when it did not arrive, and after a gap what was missed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

import pytest
from pydantic import SecretStr

from flux_assets.alerting.listening import Change, changes, post_changes
from flux_assets.alerting.webhook import Webhook
from flux_assets.errors import TargetError
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.rollback import rollback
from flux_assets.postgis.session import Target
from flux_assets.retry import RetryPolicy
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows
from flux_assets_tests.receiver import Receiver, receiving

EVERY = 60.0  # longer than any test: what comes sooner was announced
POLICY = RetryPolicy(attempts=3, pause=0.01, longest_pause=0.02)


@pytest.fixture
def loader(target, tmp_path) -> Loader:
    return Loader(target, ReleaseFolder(tmp_path / "v1"))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@contextmanager
def listening(target: Target, log: list[str] | None = None, every: float = EVERY) -> Iterator[Iterator[list[Change]]]:
    answers = changes(target, (log if log is not None else []).append, every=every)
    try:
        yield answers
    finally:
        answers.close()


def summary(found: list[Change]) -> list[tuple[str, str, str | None]]:
    return [(change.table, change.kind, change.version) for change in found]


def test_what_is_there_at_the_start_may_have_been_missed(loader, target):
    version = loader.load(made_up(), rows(3)).version
    with listening(target) as answers:
        assert summary(next(answers)) == [("poles", "missed", version)]


def test_a_publish_and_a_rollback_are_told_at_once_and_once(loader, target):
    first = loader.load(made_up(), rows(3)).version
    with listening(target) as answers:
        next(answers)
        second = loader.load(made_up(), rows(4)).version
        assert summary(next(answers)) == [("poles", "published", second)]
        loader.load(made_up())
        rollback(made_up(), target, LoadOptions(), lambda _: None)
        assert summary(next(answers)) == [("poles", "rolled back", first)]


def test_several_versions_that_nobody_was_told_of_yet_are_one_change(loader, target):
    loader.load(made_up(), rows(3))
    with listening(target, every=0.05) as answers:
        next(answers)
        loader.load(made_up(), rows(4))
        last = loader.load(made_up(), rows(5)).version
        told = [summary(found) for found in islice(answers, 4)]
    assert told == [[("poles", "published", last)], [], [], []]


def test_a_sync_and_the_table_that_follows_it(utility, target, sql):
    utility.tell("INSERT INTO FEEDERS VALUES ('A', 'Alder', 5)")
    utility.synced()
    with listening(target, every=0.05) as answers:
        assert {change.table for change in next(answers)} == {"feeders"} | set(changed(sql))
        utility.synced()
        assert next(answers) == []
        utility.tell("INSERT INTO FAULTS VALUES ('1', 'A', 'OPEN', '2026-01-01', 3, 10, 50)")
        utility.synced("faults")
        found = {change.table: change for change in next(answers)}
    assert {name: change.kind for name, change in found.items()} == {"faults": "synced", "feeders": "synced"}
    newest = "SELECT sync_id FROM postgres_sync.sync_status WHERE layer_name = 'faults' ORDER BY 1 DESC LIMIT 1"
    assert (found["faults"].sync_id, found["feeders"].sync_id) == (sql(newest)[0][0], None)


def changed(sql) -> list[str]:
    known = "SELECT layer_name FROM postgres_sync.v_table_status WHERE published_at IS NOT NULL"
    return [name for (name,) in sql(known)]


def test_a_text_that_somebody_else_sent_is_passed_over(loader, target, sql):
    loader.load(made_up(), rows(3))
    with listening(target) as answers:
        next(answers)
        for text in ("nonsense", "[1]", '"text"', "{}", '{"schema": "other", "table": "poles"}'):
            sql(f"NOTIFY flux_published, '{text}'")
        assert next(answers) == []
        version = loader.load(made_up(), rows(4)).version
        found: list[Change] = []
        while not found:
            found = next(answers)
        assert summary(found) == [("poles", "published", version)]


def test_what_changed_while_the_session_was_broken_is_told_afterwards(loader, target, sql):
    loader.load(made_up(), rows(3))
    log: list[str] = []
    with listening(target, log) as answers:
        next(answers)
        sql("SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE application_name LIKE '% listen'")
        version = loader.load(made_up(), rows(4)).version
        assert summary(next(answers)) == [("poles", "missed", version)]
    assert [line.split(":")[0] for line in log] == ["The database does not answer", "The database answers again."]


def test_a_database_that_was_never_there_is_an_error():
    with listening(Target(conninfo="host=127.0.0.1 port=1 dbname=none")) as answers, pytest.raises(TargetError):
        next(answers)


def posted(loader: Loader, receiver: Receiver, rounds: int) -> list[str]:
    """What is complained of when the changes of so many answers are posted, the second after another publish."""
    complaints: list[str] = []
    hook = Webhook(SecretStr(f"{receiver.address}/flush/s3cr3t"), title="The receiver", setting="--post")
    with listening(loader.target, every=0.05) as answers:

        def publish_between() -> Iterator[list[Change]]:
            yield next(answers)
            loader.load(made_up(), rows(4))
            yield from islice(answers, rounds - 1)

        post_changes(publish_between(), hook, lambda _: None, complaints.append, POLICY)
    return complaints


def test_each_change_is_posted_once_as_json(loader, receiver, sql):
    loader.load(made_up(), rows(3))
    assert posted(loader, receiver, rounds=4) == []
    first, second = receiver.got
    [(version, published_at)] = sql("SELECT version, published_at FROM postgres_sync.v_table_status")
    assert second.pop("published_at") == published_at.isoformat()
    assert second == {
        "schema": "public", "table": "poles", "kind": "published", "version": version, "sync_id": None,
    }  # fmt: skip
    assert (first["kind"], first["version"] != version) == ("missed", True)


def test_a_busy_receiver_is_asked_again_at_once(loader, receiver):
    loader.load(made_up(), rows(3))
    receiver.statuses = [503, 429]
    assert posted(loader, receiver, rounds=1) == []
    assert (len(receiver.paths), len(receiver.got)) == (3, 1)


def test_what_is_refused_for_long_is_complained_of_once_and_posted_later_as_it_is_by_then(loader, receiver):
    loader.load(made_up(), rows(3))
    receiver.statuses = [500] * 7
    (complaint,) = posted(loader, receiver, rounds=5)
    assert complaint.startswith("poles was not posted: The receiver answers 500")
    assert "s3cr3t" not in complaint
    assert [message["kind"] for message in receiver.got] == ["published"]


def test_a_wrong_address_is_not_asked_again_at_once(loader, receiver):
    loader.load(made_up(), rows(3))
    receiver.status = 404
    (complaint,) = posted(loader, receiver, rounds=1)
    assert "Check --post" in complaint
    assert len(receiver.paths) == 1
