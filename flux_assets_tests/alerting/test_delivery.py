"""What is told of incidents: once, again when it did not arrive, and nothing of what is muted. On both stores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from flux_assets.alerting.delivery import Delivery, run_round
from flux_assets.alerting.incident import Incident, Kind, Observation, Observed, Policy
from flux_assets.alerting.store import AlertFile, AlertTables, Mute, Mutes
from flux_assets.errors import AlertError
from flux_assets.postgis.session import Target

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
WATCHED: set[Kind] = {"sync", "load", "run", "target"}


@dataclass
class Teller:
    """Rounds at chosen times, and a receiver that notes what it gets, unless it is away."""

    store: AlertTables | AlertFile
    now: datetime = NOON
    mutes: Mutes = field(default_factory=Mutes)
    policy: Policy = field(default_factory=Policy)
    away: AlertError | None = None
    refuses: str = "nothing"
    got: list[str] = field(default_factory=list)

    def round(self, *observed: Observation, later: timedelta = MINUTE) -> list[str]:
        """What arrived in the next round."""
        self.told(*observed, later=later)
        got, self.got = self.got, []
        return got

    def told(self, *observed: Observation, later: timedelta = MINUTE) -> Delivery:
        self.now += later
        self.store.mutes = lambda: self.mutes
        return run_round(self.store, Observed(observed, WATCHED, self.now), self.policy, self._take)

    def _take(self, event: str, incident: Incident) -> None:
        if self.away:
            raise self.away
        if self.refuses in incident.tables:
            raise AlertError("It answers 400.")
        assert incident.id is not None
        self.got.append(f"{event} {','.join(incident.failing)}")


@pytest.fixture(params=["table", "file"])
def teller(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Teller]:
    if request.param == "file":
        yield Teller(AlertFile(tmp_path / "home"))
        return
    target: Target = request.getfixturevalue("target")
    with target.session("test") as session:
        yield Teller(made(session, target.schema))


def made(session: psycopg.Connection, schema: str) -> AlertTables:
    tables = AlertTables(session, schema)
    tables.create()
    return tables


def wrong(*tables: str, cause: str = "Snowflake is away", kind: Kind = "sync", **more) -> Observation:
    given = {"problem": "It is away.", "remedy": "Wait.", "since": NOON, "ticks": 3} | more
    return Observation(kind=kind, cause=cause, tables=tables, **given)


def muted(*tables: str | None) -> Mutes:
    return Mutes(tuple(Mute(table, NOON, NOON + DAY, "somebody") for table in tables))


def test_once_at_its_beginning_and_once_at_its_end(teller):
    assert teller.round(wrong("a", "b")) == ["opened a,b"]
    assert [teller.round(wrong("a", "b")) for _ in range(3)] == [[], [], []]
    assert teller.round(wrong("b")) == []
    assert teller.round() == ["recovered b"]
    assert teller.round() == []
    assert teller.store.unclosed() == []


def test_what_is_stored_is_what_was_decided(teller):
    given = wrong("a", "b", cause="x", apart="run-1", remedy="", run_id="run-1", kind="load", settled=False)
    told = teller.told(given)
    assert teller.store.unclosed() == told.incidents
    (kept,) = told.incidents
    assert (kept.told_at, kept.told_cause, kept.since, kept.run_id) == (NOON + MINUTE, "x", NOON, "run-1")


def test_it_is_told_again_after_a_long_time(teller):
    teller.round(wrong("a"))
    assert teller.round(wrong("a"), later=DAY - MINUTE) == []
    assert teller.round(wrong("a")) == ["reminder a"]
    assert teller.round(wrong("a")) == []


def test_reminding_can_be_turned_off(teller):
    teller.policy = Policy(remind=timedelta())
    teller.round(wrong("a"))
    assert teller.round(wrong("a"), later=30 * DAY) == []


def test_another_cause_is_told_when_it_has_lasted(teller):
    teller.round(wrong("a"))
    assert teller.round(wrong("a", cause="busy", settled=False)) == []
    assert teller.round(wrong("a", settled=False)) == []
    assert teller.round(wrong("a", cause="a column is missing")) == ["changed a"]
    assert teller.round(wrong("a", cause="a column is missing")) == []


def test_what_does_not_arrive_is_sent_again(teller):
    teller.away = AlertError("Nobody answers.", unreachable=True)
    told = teller.told(wrong("a"))
    assert (told.sent, told.undelivered) == ([], teller.away)
    teller.away = None
    assert teller.round(wrong("a")) == ["opened a"]
    teller.away = AlertError("Nobody answers.", unreachable=True)
    assert teller.round() == []
    teller.away = None
    assert teller.round() == ["recovered a"]


def test_what_was_over_before_it_could_be_told_is_told_all_the_same(teller):
    teller.away = AlertError("Nobody answers.", unreachable=True)
    assert teller.round(wrong("a")) == []
    assert teller.round() == []
    teller.away = None
    assert teller.round() == ["recovered a"]


def test_one_message_that_is_refused_does_not_hold_up_the_others(teller):
    teller.refuses = "a"
    assert teller.round(wrong("a"), wrong("b", cause="other")) == ["opened b"]
    teller.refuses = "nothing"
    assert teller.round(wrong("a"), wrong("b", cause="other")) == ["opened a"]


def test_who_does_not_answer_is_asked_once_a_round(teller):
    teller.away = AlertError("Nobody answers.", unreachable=True)
    asked: list[str] = []
    teller._take = lambda event, incident: asked.append(event) or Teller._take(teller, event, incident)
    teller.round(wrong("a"), wrong("b", cause="other"))
    assert len(asked) == 1


def test_what_is_muted_is_not_told_and_neither_is_its_end(teller):
    teller.mutes = muted(None)
    assert teller.round(wrong("a")) == []
    assert teller.round() == []
    teller.mutes = Mutes()
    assert teller.round() == []
    assert teller.store.unclosed() == []


def test_the_end_of_what_was_told_is_not_told_while_it_is_muted(teller):
    assert teller.round(wrong("a")) == ["opened a"]
    teller.mutes = muted("a")
    assert teller.round() == []
    teller.mutes = Mutes()
    assert teller.round() == []


def test_what_is_still_wrong_when_the_mute_ends_is_told_then(teller):
    teller.mutes = muted("a", "b")
    assert teller.round(wrong("a", "b")) == []
    teller.mutes = Mutes()
    assert teller.round(wrong("a", "b")) == ["opened a,b"]


def test_muting_one_table_does_not_mute_the_others(teller):
    teller.mutes = muted("a")
    assert teller.round(wrong("a", "b"), wrong("a", cause="other")) == ["opened a,b"]


def test_what_is_to_wait_is_told_when_it_has_lasted(teller):
    away = wrong(kind="target", cause="target", not_before=NOON + 15 * MINUTE)
    assert teller.round(away) == []
    assert teller.round(away, later=13 * MINUTE) == []
    assert teller.round(away) == ["opened "]
    assert teller.round() == ["recovered "]


def test_what_did_not_last_is_never_told(teller):
    assert teller.round(wrong(kind="target", cause="target", not_before=NOON + 15 * MINUTE)) == []
    assert teller.round() == []
    assert teller.store.unclosed() == []


def test_a_failed_run_that_is_only_forgotten_has_not_recovered(teller):
    run = wrong(kind="run", cause="load_static_layers")
    assert teller.round(run) == ["opened "]
    assert teller.round(later=7 * DAY) == []
    assert teller.store.unclosed() == []
    assert teller.round(run) == ["opened "], "the same job, failed again"


def test_two_processes_do_not_tell_the_same(teller, request):
    if isinstance(teller.store, AlertFile):
        other = Teller(AlertFile(teller.store._path.parent))
    else:
        target: Target = request.getfixturevalue("target")
        connection = psycopg.connect(target.conninfo, autocommit=True)
        request.addfinalizer(connection.close)
        other = Teller(AlertTables(connection, target.schema))
    with teller.store.exclusive() as mine:
        assert mine
        assert other.told(wrong("a")).busy
        assert other.got == []
    assert other.round(wrong("a")) == ["opened a"]
    assert teller.round(wrong("a")) == []


def test_mutes_are_kept_for_both_ends(target):
    with target.session("test") as session:
        store, another = made(session, target.schema), AlertTables(session, "another")
        store.mute(["a", "b"], timedelta(hours=1))
        store.mute(["a"], timedelta(hours=3))
        another.mute([], timedelta(hours=3))
        held = store.mutes()
        assert [mute.layer_name for mute in held.all] == ["a", "b"]
        assert held.all[0].ends_at - held.all[0].begun_at >= timedelta(hours=2, minutes=59)
        assert held.cover(["a"])
        assert held.cover(["b", "a"])
        assert not held.cover(["a", "c"])
        assert not held.cover([])
        assert (store.unmute(["b", "c"]), store.unmute([])) == (1, 1)
        assert store.mutes().all == ()
        assert another.mutes().cover([])


def test_a_mute_ends(target):
    with target.session("test") as session:
        store = made(session, target.schema)
        store.mute([], timedelta(microseconds=1))
        assert store.mutes() == Mutes()


def test_what_is_long_over_is_pruned(target, sql):
    with target.session("test") as session:
        teller = Teller(made(session, target.schema))
        teller.round(wrong("a"))
        teller.round()
        sql("UPDATE postgres_sync.incidents SET closed_at = now() - interval '91 days'")
        teller.round(wrong("b"))
    assert sql("SELECT tables FROM postgres_sync.incidents") == [(["b"],)]


def test_everything_muted_is_remembered_without_the_database(tmp_path):
    file = AlertFile(tmp_path)
    now = datetime.now(UTC)
    file.note_mutes(Mutes((Mute(None, now, now + DAY, ""), Mute("a", now, now + 2 * DAY, ""))))
    assert AlertFile(tmp_path).mutes().everything_until == now + DAY
    file.note_mutes(Mutes((Mute(None, now, now - MINUTE, ""),)))
    assert file.mutes() == Mutes()
    file.note_mutes(Mutes((Mute("a", now, now + DAY, ""),)))
    assert file.mutes() == Mutes()


def test_a_home_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "home").write_text("a file")
    with pytest.raises(AlertError, match="FLUX_HOME"), AlertFile(tmp_path / "home").exclusive():
        pass
