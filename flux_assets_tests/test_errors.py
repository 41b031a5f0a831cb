"""Messages have a bound, wherever they are made, stored, logged or sent."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from flux_assets.alerting.cause import ErrorCause, secret_remover
from flux_assets.checks.audit import AuditResult
from flux_assets.errors import LONGEST_MESSAGE, LONGEST_REPORT, FluxError, bounded, reported
from flux_assets.orchestration.executor import threads_executor
from flux_assets.orchestration.layer_assets import layer_asset
from flux_assets.orchestration.names import Names
from flux_assets.orchestration.resources import PostgisResource, ReleaseResource
from flux_assets.postgis.relations import Layer
from flux_assets.postgis.session import Target, prepare
from flux_assets.settings import Settings, load_settings
from flux_assets_tests.conftest import Sql
from flux_assets_tests.leasing import open_entry
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows
from flux_assets_tests.made_up import grove, trees, write_trees
from flux_assets_tests.running import run_assets

LONG = 15_700_000
# The server says a value back, whatever its length.
LOUD = f"""
CREATE FUNCTION loud(integer) RETURNS boolean LANGUAGE plpgsql AS
$$ BEGIN RAISE 'no such code: % ends here', repeat('x', {LONG}) USING DETAIL = repeat('y', {LONG}); END $$
"""


def test_a_short_text_stays_and_a_long_one_keeps_its_beginning_and_its_end() -> None:
    assert bounded("as it is") == "as it is"
    cut = bounded(f"begins {'x' * LONG} ends")
    assert len(cut) <= LONGEST_MESSAGE
    assert cut.startswith("begins xxx")
    assert cut.endswith("ends")
    assert f"({LONG + 12:,} characters in all)" in cut


@pytest.mark.parametrize("length", [LONGEST_MESSAGE, LONGEST_MESSAGE + 1, LONGEST_MESSAGE + 200, LONG])
def test_no_text_is_longer_than_its_bound(length: int) -> None:
    for text in ("x" * length, "word " * (length // 5 + 1)):
        assert len(bounded(text)) <= LONGEST_MESSAGE
        assert len(bounded(text, 80)) <= 80


def test_a_word_that_the_cut_goes_through_is_left_out_whole() -> None:
    """Half a password is not found by what hides passwords."""
    for place in range(LONGEST_MESSAGE):
        if place % 37 == 0:
            cut = bounded(f"{'a ' * (place // 2)} S3CRETWORD {'b ' * LONGEST_MESSAGE}")
            assert "S3CRETWORD" in cut or "S3" not in cut
            cut = bounded(f"{'a ' * LONGEST_MESSAGE} S3CRETWORD {'b ' * (place // 2)}")
            assert "S3CRETWORD" in cut or "WORD" not in cut


def test_an_error_of_ours_is_bounded_in_each_of_its_parts() -> None:
    error = FluxError("p" * LONG, "r" * LONG)
    assert len(str(error)) <= LONGEST_MESSAGE
    assert str(error) == f"{error.problem} {error.remedy}"
    assert len(reported(ValueError(f"  two\nlines {'x' * LONG}."))) <= LONGEST_REPORT
    assert reported(ValueError("  two\nlines.")) == "two lines"


def test_samples_of_audits_are_bounded() -> None:
    result = AuditResult(
        name="unique", passed=False, severity="ERROR", description="", numbers={}, sample=("k" * LONG, "short")
    )
    assert [len(each) <= LONGEST_REPORT for each in result.sample] == [True, True]
    assert result.sample[1] == "short"


def test_what_alerts_take_apart_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also messages that an earlier release of flux_assets stored."""
    words = ErrorCause.of(
        secret_remover(Settings(), {})(f"poles: the {'x' * LONG} is wrong. Do {'y' * LONG}"), ["poles"]
    )
    assert max(map(len, (words.problem, words.remedy, words.head, words.whole))) <= LONGEST_MESSAGE


def test_the_ledger_keeps_no_more(target: Target, sql: Sql) -> None:
    with target.session("test") as session:
        prepare(session, "public")
        open_entry(session, Layer("public", made_up()), "FULL").fail(session, "x" * LONG)
    assert sql("SELECT length(error_message) <= %s FROM postgres_sync.sync_status", LONGEST_MESSAGE) == [(True,)]


def test_what_a_server_says_at_length_is_told_in_short(target: Target, sql: Sql, tmp_path: Path) -> None:
    loader = Loader(target, ReleaseFolder(tmp_path / "v1"))
    loader.load(made_up(), rows(5))
    sql(LOUD)
    sql("ALTER TABLE poles ADD CONSTRAINT loud CHECK (loud(code)) NOT VALID")
    with pytest.raises(FluxError, match=r"no such code: xxx.* characters in all.* ends here") as caught:
        loader.load(made_up(), rows(6))
    assert len(str(caught.value)) < 3 * LONGEST_REPORT
    ((stored,),) = sql("SELECT error_message FROM postgres_sync.sync_status WHERE status = 'FAILED'")
    assert stored == str(caught.value)


def test_nothing_of_it_is_in_dagsters_events(
    instance: dg.DagsterInstance,
    cluster: object,
    database: str,
    sql: Sql,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FLUX_POSTGRES_URL", cluster.url(database))
    monkeypatch.setenv("FLUX_RELEASE", str(tmp_path))
    load_settings.cache_clear()
    definitions = dg.Definitions(
        assets=[layer_asset(trees(), Names())],
        resources={"postgis": PostgisResource(), "release": ReleaseResource()},
        executor=threads_executor,
    )
    write_trees(tmp_path, grove(3))
    assert run_assets(definitions, instance, "trees").succeeded
    sql(LOUD)
    sql("ALTER TABLE trees ADD CONSTRAINT loud CHECK (loud(1)) NOT VALID")
    write_trees(tmp_path, grove(4))
    run = run_assets(definitions, instance, "trees")
    assert not run.succeeded
    told = [log.to_json() for log in instance.all_logs(run.run_id)]
    assert any("no such code" in each for each in told)
    assert max(map(len, told)) < 100_000
