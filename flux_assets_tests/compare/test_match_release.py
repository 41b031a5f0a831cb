"""Layers compared with their release files: whatever somebody changes by hand is found and named."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from geoalchemy2 import Geography

from flux_assets.checks.audit import AuditResult
from flux_assets.compare import match as match_module
from flux_assets.compare import release as module
from flux_assets.compare.match import Comparison, Match
from flux_assets.compare.release import match_release
from flux_assets.errors import FluxError, LayerError, ReleaseError
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.rollback import pin
from flux_assets.postgis import copying
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.session import Target
from flux_assets.spec import StaticTable
from flux_assets.tables import static_tables
from flux_assets_tests.conftest import Sql
from flux_assets_tests.made_layers import Loader, ReleaseFolder, columns, made_up, point, rows
from flux_assets_tests.made_up import write_one_row

KINDS = ("changed", "missing", "extra")
SPOT = sa.Column("spot", Geography("POINT", srid=4326, spatial_index=False), comment="Position.")
POLES = made_up(parts=[*columns(), SPOT])
# Of one value each way: NULL, the empty string, zero, a number that is not short.
SPECIAL = [{"name": None}, {"name": ""}, {"score": 0}, {"score": 0.1 + 0.2}, {"score": None, "geom": None}]


def content() -> list[dict[str, object]]:
    """Poles 0 to 8; 0 to 4 hold the special values."""
    plain = [row | {"spot": point(10, 50)} for row in rows(9)]
    return [row | special for row, special in zip(plain, [*SPECIAL, *[{}] * 4], strict=True)]


LOCKS = """
SELECT DISTINCT mode FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE relation = 'poles'::regclass AND application_name LIKE 'flux_assets match%'
"""


@pytest.fixture
def loader(target: Target, tmp_path: Path) -> Loader:
    return Loader(target, ReleaseFolder(tmp_path / "v1"))


@pytest.fixture
def loaded(loader: Loader) -> Loader:
    loader.load(POLES, content())
    return loader


def outcomes(loader: Loader, *tables: StaticTable, stop: Stop | None = None) -> dict[str, AuditResult | FluxError]:
    return dict(
        match_release(tables or [POLES], loader.source.release, loader.target, stop or Stop(), loader.log.append)
    )


def judged(loader: Loader, *tables: StaticTable) -> AuditResult:
    (outcome,) = outcomes(loader, *tables).values()
    assert isinstance(outcome, AuditResult), outcome
    return outcome


def counts(result: AuditResult) -> tuple[object, ...]:
    return tuple(result.numbers[kind] for kind in KINDS)


def test_a_layer_as_it_was_loaded_matches(loaded: Loader) -> None:
    result = judged(loaded)
    assert (result.name, result.passed, result.severity) == ("matches_release", True, "ERROR")
    assert counts(result) == (0, 0, 0)
    assert result.numbers["rows"] == result.numbers["rows_in_release"] == 9
    assert result.numbers["digest"] == result.numbers["digest_of_release"]
    assert (result.sample, result.sql) == ((), "")


def test_every_declared_layer_matches_its_own_file(loader: Loader) -> None:
    """All the types that releases carry."""
    loader.source.folder.mkdir()
    for table in static_tables():
        write_one_row(loader.source.folder, table)
        loader.load(table, accept_fewer_rows=True)
    found = outcomes(loader, *static_tables())
    assert [name for name, result in found.items() if not (isinstance(result, AuditResult) and result.passed)] == []
    assert len(found) == len(static_tables())


EDITS = {
    "UPDATE poles SET name = 'Pöle' WHERE code = 5": ["changed 000005: name is 'Pöle', not 'Pole 5'"],
    "UPDATE poles SET name = '' WHERE name IS NULL": ["changed 000000: name is '', not NULL"],
    "UPDATE poles SET name = NULL WHERE name = ''": ["changed 000001: name is NULL, not ''"],
    "UPDATE poles SET score = '-0' WHERE score = 0": ["changed 000002: score is '-0', not '0'"],
    "UPDATE poles SET score = 0.3 WHERE code = 3": ["changed 000003: score is '0.3', not '0.30000000000000004'"],
    "UPDATE poles SET geom = ST_Translate(geom, 1e-12, 0) WHERE code = 5": ["changed 000005: geom"],
    "UPDATE poles SET geom = ST_SetSRID(ST_MakePoint(1, 2), 4326) WHERE geom IS NULL": ["changed 000004: geom"],
    "UPDATE poles SET spot = ST_SetSRID(ST_MakePoint(1, 2), 4326)::geography, code = 55 WHERE code = 5": [
        "changed 000005: code is '55', not '5'; spot"
    ],
    "DELETE FROM poles WHERE code = 5": ["missing 000005"],
    "INSERT INTO poles (id, name) VALUES ('new', 'x')": ["extra new"],
    "UPDATE poles SET id = 'O''Neil' WHERE code = 5": ["missing 000005", "extra O'Neil"],
}


def test_whatever_is_edited_by_hand_is_found_and_named(loaded: Loader, sql: Sql) -> None:
    """One layer for all edits: each is undone before the next."""
    sql("CREATE TABLE kept AS TABLE poles")
    for edit, said in EDITS.items():
        sql(edit)
        result = judged(loaded)
        assert (result.passed, result.severity) == (False, "ERROR"), edit
        assert list(result.sample) == said
        assert counts(result) == tuple(sum(line.startswith(kind) for line in said) for kind in KINDS), edit
        assert "force: true" in result.description
        sql("DELETE FROM poles")
        sql("INSERT INTO poles TABLE kept")
        assert judged(loaded).passed, "the same rows in another place are the same"


def test_a_table_that_was_emptied_lacks_every_row(loaded: Loader, sql: Sql) -> None:
    sql("DELETE FROM poles")
    assert counts(judged(loaded)) == (0, 9, 0)


def test_many_differences_are_counted_and_ten_of_each_kind_named(loader: Loader, sql: Sql) -> None:
    loader.load(made_up(), rows(60))
    sql("UPDATE poles SET name = 'x' WHERE code < 20")
    sql("DELETE FROM poles WHERE code >= 40")
    result = judged(loader, made_up())
    assert counts(result) == (20, 20, 0)
    assert len(result.sample) == 20
    assert result.sample[9] == "changed 000009: name is 'x', not 'Pole 9'"
    assert result.sample[10] == "missing 000040"


def test_the_query_shows_the_rows_that_were_named(loaded: Loader, sql: Sql) -> None:
    sql("UPDATE poles SET name = 'x' WHERE code = 5")
    sql("INSERT INTO poles (id, name) VALUES ('O''Neil', 'x')")
    sql("DELETE FROM poles WHERE code = 6")
    shown = sql(judged(loaded).sql)
    assert {row[0] for row in shown} == {"000005", "O'Neil"}


def without_key() -> StaticTable:
    return made_up(parts=columns(id=sa.Column("id", sa.String(20), comment="Identifier.")))


def test_a_table_without_a_key_is_compared_row_by_row(loader: Loader, sql: Sql) -> None:
    """Equal rows count as often as they are there."""
    twice = [row | {"code": None} for row in [*rows(4), *rows(4)]]
    loader.load(without_key(), [*twice, {"id": None, "code": None}])
    assert judged(loader, without_key()).passed
    sql("DELETE FROM poles WHERE ctid IN (SELECT min(ctid) FROM poles WHERE id = '000001')")
    result = judged(loader, without_key())
    assert (counts(result), result.sample) == ((0, 1, 0), ("missing 000001",))
    sql("INSERT INTO poles SELECT * FROM poles WHERE id = '000001'")
    assert judged(loader, without_key()).passed
    sql("UPDATE poles SET name = 'x' WHERE id IS NULL")
    result = judged(loader, without_key())
    assert counts(result) == (0, 1, 1)
    assert sql(result.sql)[0][2] == "x"


def test_rows_doubled_after_the_key_was_dropped_are_found(loaded: Loader, sql: Sql) -> None:
    sql("ALTER TABLE poles DROP CONSTRAINT poles_pkey")
    for (name,) in sql("SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class c ON c.oid = indrelid"
                       " WHERE indisunique AND relnamespace = 'flux_versions'::regnamespace"):  # fmt: skip
        sql(f"DROP INDEX {name}")
    sql("INSERT INTO poles SELECT * FROM poles WHERE code = 5")
    result = judged(loaded)
    assert (result.passed, counts(result), result.sample) == (False, (0, 0, 1), ("extra 000005",))


def test_a_column_that_somebody_retyped_ends_the_comparison(loaded: Loader, sql: Sql) -> None:
    sql("ALTER TABLE poles ALTER COLUMN name TYPE text")
    result = judged(loaded)
    assert (result.passed, result.severity) == (False, "ERROR")
    assert result.sample == ("name is text, declared as character varying(50)",)


def test_columns_that_users_added_do_not_matter(loaded: Loader, sql: Sql) -> None:
    sql("ALTER TABLE poles ADD COLUMN note text DEFAULT 'seen'")
    assert judged(loaded).passed


def test_a_release_that_holds_another_file_now_is_told_and_nothing_called_different(loaded: Loader, sql: Sql) -> None:
    loaded.source.write(POLES, content()[:8])
    sql("DELETE FROM poles WHERE code = 5")
    result = judged(loaded)
    assert (result.passed, result.severity) == (False, "WARN")
    assert result.numbers["sha256"] != result.numbers["sha256_now"]
    assert result.numbers["compared_rows"] == 0
    assert result.sample == ()
    assert "poles.csv.gz is another file by now" in result.description
    assert "changed" not in result.numbers


def test_of_a_pinned_layer_another_file_is_to_be_expected_and_unpinning_comes_first(loaded: Loader) -> None:
    pin(POLES, loaded.target, LoadOptions(), loaded.log.append)
    loaded.source.write(POLES, content()[:8])
    result = judged(loaded)
    assert (result.passed, result.severity, result.numbers["compared_rows"]) == (False, "WARN", 0)
    assert "The layer is pinned to version" in result.description
    assert "Run `flux-assets unpin poles` and load it" in result.description


def test_a_layer_published_meanwhile_is_compared_with_its_new_file(
    loaded: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging = module._stage
    waiting = [content()[:8]]

    def staged_then_published(*arguments: object) -> None:
        staging(*arguments)
        if waiting:
            loaded.load(POLES, waiting.pop())

    monkeypatch.setattr(module, "_stage", staged_then_published)
    result = judged(loaded)
    assert (result.passed, result.numbers["rows"]) == (True, 8)
    assert any("published anew meanwhile" in line for line in loaded.log)


def test_a_layer_published_all_the_time_cannot_be_compared(loaded: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    staging = module._stage

    def staged_then_published(*arguments: object) -> None:
        staging(*arguments)
        loaded.load(POLES, force=True)

    monkeypatch.setattr(module, "_stage", staged_then_published)
    assert "3 times while it was compared" in str(outcomes(loaded)["poles"])


def test_what_happens_after_the_snapshot_is_not_seen_and_readers_and_writers_go_on(
    loaded: Loader, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    matched, seen = Comparison.match, []

    def looked_at(*arguments: object) -> Match:
        sql("SET lock_timeout = '1s'")
        sql("UPDATE poles SET name = 'too late'")
        seen.extend(sql(LOCKS))
        return matched(*arguments)

    monkeypatch.setattr(Comparison, "match", looked_at)
    assert judged(loaded).passed
    assert seen == [("AccessShareLock",)]
    monkeypatch.undo()
    assert counts(judged(loaded)) == (9, 0, 0)


def test_layers_that_cannot_be_compared_do_not_stop_the_others(loaded: Loader) -> None:
    oaks, elms = made_up("oaks"), made_up("elms")
    loaded.load(oaks, rows(2))
    (loaded.source.folder / oaks.file_name).unlink()
    found = outcomes(loaded, oaks, elms, POLES)
    assert isinstance(found["oaks"], ReleaseError)
    assert isinstance(found["elms"], LayerError)
    assert "has not been published yet" in str(found["elms"])
    assert found["poles"].passed


def test_a_lock_of_somebody_else_is_not_waited_for_without_end(loaded: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(match_module, "_LOCK_WAIT", "SET lock_timeout = '50ms'")
    with psycopg.connect(loaded.target.conninfo) as other:
        other.execute("LOCK TABLE poles")
        assert "another session holds a lock" in str(outcomes(loaded)["poles"])
    assert judged(loaded).passed


def test_a_comparison_that_is_stopped_ends_at_once(loaded: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    stop, encoded = Stop(), copying.encoded

    def stopped_half_way(*arguments: object) -> object:
        for chunk in encoded(*arguments):
            stop.request()
            yield chunk

    monkeypatch.setattr(copying, "encoded", stopped_half_way)
    with pytest.raises(LayerError, match="topped on request"):
        outcomes(loaded, POLES, made_up("oaks"), stop=stop)
    monkeypatch.undo()
    assert judged(loaded).passed
