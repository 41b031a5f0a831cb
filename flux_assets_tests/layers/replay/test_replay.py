"""Records from quarantine that pass by now: a new version has them, by all the guarantees of a load."""

import csv
import resource
import signal
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, String

from flux_assets.checks.audit import AuditResult
from flux_assets.compare.release import match_release
from flux_assets.errors import AuditError, LayerError, PinnedError, PublishError, RecordError, ReleaseError
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.replay.records import Correction, write_corrections
from flux_assets.layers.replay.replay import ReplayResult, replay, waiting_records
from flux_assets.layers.rollback import pin, rollback, unpin
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.session import Target
from flux_assets.spec import StaticTable
from flux_assets_tests.conftest import Sql
from flux_assets_tests.made_layers import Loader, ReleaseFolder, columns, csv_field, made_up, rows

WHOLE = "SELECT p::text FROM poles AS p ORDER BY id"


@pytest.fixture
def loader(target: Target, tmp_path: Path) -> Loader:
    return Loader(target, ReleaseFolder(tmp_path / "v1"))


def broken(count: int = 10, *bad: int) -> list[dict[str, object]]:
    return [row | ({"code": f"x{number}"} if number in bad else {}) for number, row in enumerate(rows(count))]


def again(loader: Loader, table: StaticTable | None = None, given: object = (), **options: object) -> ReplayResult:
    return replay(table or made_up(), loader.target, LoadOptions(**options), loader.log.append, given)


def fixed(sql: Sql, number: int) -> None:
    sql("UPDATE postgres_sync.quarantine SET raw_record = replace(raw_record, 'x' || %s, %s::text)"
        " WHERE record = %s", str(number), number, number + 1)  # fmt: skip


def ledger(sql: Sql) -> list[tuple]:
    return sql(
        "SELECT sync_type, status, rows_synced, rows_quarantined FROM postgres_sync.sync_status ORDER BY sync_id"
    )


def compared(loader: Loader, table: StaticTable | None = None) -> AuditResult:
    ((_, found),) = match_release([table or made_up()], loader.source.release, loader.target, Stop(), loader.log.append)
    assert isinstance(found, AuditResult)
    return found


def test_corrected_records_become_part_of_a_new_version(loader: Loader, sql: Sql) -> None:
    base = loader.load(made_up(), broken(10, 2, 5, 7), quarantine=3)
    for number in (2, 7):
        fixed(sql, number)
    result = again(loader)
    assert (result.replayed, [held.record for held in result.waiting]) == (2, [6])
    assert result.version.version != base.version
    kept = sql(WHOLE)
    assert ledger(sql) == [("FULL", "SUCCESS", 7, 3), ("REPLAY", "SUCCESS", 9, 1)]
    assert sql("SELECT base_version, rows_replayed, rows, sha256 FROM postgres_sync.layer_versions WHERE current") == [
        (base.version, 2, 9, base.sha256)
    ]
    assert sql("SELECT record, replayed_at IS NULL FROM postgres_sync.quarantine WHERE lease = 2 ORDER BY record") == [
        (3, False), (6, True), (8, False)]  # fmt: skip
    assert sql("SELECT state, rows, rows_quarantined FROM postgres_sync.v_table_status") == [("live", 9, 1)]
    loader.load(made_up(), [row for number, row in enumerate(rows(10)) if number != 5])
    assert sql(WHOLE) == kept


def test_the_version_is_the_equal_of_a_loaded_one(loader: Loader, sql: Sql, target: Target) -> None:
    """Indexes, a user's own too; and a reader whose snapshot is older sees it whole (FREEZE)."""
    loader.load(made_up(), broken(30, 4), quarantine=1)
    sql("CREATE INDEX ON poles (score); ALTER TABLE poles ADD CHECK (code >= 0)")
    fixed(sql, 4)
    bodies = (
        "SELECT regexp_replace(indexdef, '.* USING ', '') FROM pg_indexes WHERE schemaname = 'flux_versions'"
        " AND tablename = (SELECT relation FROM postgres_sync.layer_versions WHERE current) ORDER BY 1"
    )
    before = sql(bodies)
    with target.session("reader") as reader:
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM postgres_sync.tables")
        again(loader)
        assert reader.execute("SELECT count(*) FROM public.poles").fetchone() == (30,)
        reader.execute("COMMIT")
    assert sql(bodies) == before


def test_an_unchanged_release_does_not_undo_a_replay(loader: Loader, sql: Sql, target: Target) -> None:
    base = loader.load(made_up(), broken(10, 2), quarantine=1)
    fixed(sql, 2)
    made = again(loader).version
    unchanged = loader.load(made_up())
    assert (unchanged.outcome, unchanged.version, unchanged.quarantined) == ("unchanged", made.version, 0)
    rollback(made_up(), target, LoadOptions(), loader.log.append)
    assert sql("SELECT count(*), (SELECT rows_quarantined FROM postgres_sync.v_table_status) FROM poles") == [(9, 1)]
    assert loader.load(made_up()).version == base.version
    unpin(made_up(), target)
    loader.load(made_up(), rows(5), keep_versions=2)
    loader.load(made_up(), broken(10, 2), keep_versions=2, quarantine=1)
    assert sql("SELECT count(*) FROM poles") == [(10,)]


def test_a_second_replay_goes_on_from_the_first(loader: Loader, sql: Sql) -> None:
    base = loader.load(made_up(), broken(10, 2, 5), quarantine=2)
    fixed(sql, 2)
    first = again(loader).version
    fixed(sql, 5)
    second = again(loader)
    assert (second.replayed, second.waiting) == (1, ())
    assert second.version.version not in {first.version, base.version}
    assert sql("SELECT base_version, rows_replayed, rows FROM postgres_sync.layer_versions WHERE current") == [
        (base.version, 2, 10)
    ]
    assert compared(loader).passed
    nothing = again(loader)
    assert (nothing.replayed, nothing.waiting, nothing.version.version) == (0, (), second.version.version)
    assert len(ledger(sql)) == 3


def test_records_that_still_fail_stay_with_the_new_reason(loader: Loader, sql: Sql) -> None:
    loader.load(made_up(), broken(5, 1), quarantine=1)
    sql("UPDATE postgres_sync.quarantine SET raw_record = replace(raw_record, 'x1', '1') || ',more'")
    before = sql("SELECT version FROM postgres_sync.layer_versions")
    result = again(loader)
    assert result.replayed == 0
    assert "9 values" in result.waiting[0].reason
    assert sql("SELECT reason, column_name FROM postgres_sync.quarantine") == [(result.waiting[0].reason, None)]
    assert sql("SELECT version FROM postgres_sync.layer_versions") == before
    assert ledger(sql)[-1] == ("REPLAY", "SUCCESS", 4, 1)


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        ("a\nb", "2 records"),
        ('"a', "never closes"),
        ('a"b', "quote is neither"),
        ("", "empty"),
        ("a\rb", "carriage return"),
    ],
)
def test_a_correction_that_is_no_record_is_told_and_harms_nothing(
    loader: Loader, sql: Sql, raw: str, word: str
) -> None:
    loader.load(made_up(), broken(5, 1), quarantine=1)
    sql("UPDATE postgres_sync.quarantine SET raw_record = %s", raw)
    assert word in again(loader).waiting[0].reason
    assert sql("SELECT count(*) FROM poles") == [(4,)]


def test_what_the_server_refuses_passes_once_the_constraint_is_gone(loader: Loader, sql: Sql) -> None:
    loader.load(made_up(), rows(5))
    sql("ALTER TABLE poles ADD CONSTRAINT small CHECK (code < 5)")
    loader.load(made_up(), rows(7), quarantine=2)
    assert "small" in again(loader).waiting[1].reason
    assert compared(loader).passed
    sql("ALTER TABLE poles DROP CONSTRAINT small")
    assert again(loader).replayed == 2
    assert sql("SELECT count(*) FROM poles") == [(7,)]
    assert compared(loader).passed


def test_a_wider_declaration_lets_records_pass(loader: Loader, sql: Sql) -> None:
    content = rows(5)
    content[3]["name"] = "y" * 60
    loader.load(made_up(), content, quarantine=1)
    wider = made_up(parts=columns(name=Column("name", String(60), comment="Name.")))
    with pytest.raises(LayerError, match="character varying"):
        again(loader, wider)
    assert again(loader, wider, accept_schema_change=True).replayed == 1
    assert sql("SELECT max(length(name)), count(*) FROM poles") == [(60, 5)]


def test_a_retyped_column_asks_for_a_load(loader: Loader) -> None:
    loader.load(made_up(), broken(5, 1), quarantine=1)
    other = made_up(parts=columns(score=Column("score", Integer, comment="Share.")))
    with pytest.raises(LayerError, match=r"score is double precision .* declared as integer.* Load the layer"):
        again(loader, other, accept_schema_change=True)


def test_a_doubled_key_refuses_the_replay_and_leaves_all_as_it_was(loader: Loader, sql: Sql) -> None:
    loader.load(made_up(), broken(5, 1), quarantine=1)
    sql("UPDATE postgres_sync.quarantine SET raw_record = replace(replace(raw_record, 'x1', '1'), '000001', '000000')")
    before = sql(WHOLE)
    with pytest.raises(AuditError, match="unique"):
        again(loader)
    assert sql(WHOLE) == before
    assert sql("SELECT state, rows_quarantined FROM postgres_sync.v_table_status") == [("live", 1)]
    assert ledger(sql)[-1][:2] == ("REPLAY", "FAILED")


def test_a_replay_that_cannot_publish_leaves_its_records_waiting(loader: Loader, sql: Sql, target: Target) -> None:
    from datetime import timedelta

    loader.load(made_up(), broken(5, 1), quarantine=1)
    fixed(sql, 1)
    with target.session("reader") as reader, reader.transaction():
        reader.execute("SELECT count(*) FROM poles")
        with pytest.raises(PublishError):
            again(loader, publish_wait=timedelta(seconds=0.2))
    assert [held.record for held in waiting_records(made_up(), target)] == [2]
    assert again(loader).replayed == 1


def test_a_replay_does_not_hide_that_the_last_load_failed(loader: Loader, sql: Sql) -> None:
    loader.load(made_up(), broken(5, 1), quarantine=1)
    with pytest.raises(RecordError):
        loader.load(made_up(), broken(6, 1))
    fixed(sql, 1)
    assert again(loader).replayed == 1
    assert sql("SELECT state, trusted, last_attempt, rows FROM postgres_sync.v_table_status") == [
        ("live", True, "failed", 5)
    ]


def test_a_damaged_version_is_not_built_upon(loader: Loader, sql: Sql) -> None:
    loader.load(made_up(), broken(5, 1), quarantine=1)
    sql("DELETE FROM poles WHERE code = 4")
    with pytest.raises(LayerError, match="no published version with all its rows"):
        again(loader)


def test_a_file_of_corrections(loader: Loader, sql: Sql, tmp_path: Path) -> None:
    """Written, corrected, read back: NULL and the empty string, quotes and newlines stay what they are."""
    content = broken(10, 2, 5)
    content[2] |= {"name": 'two\n"lines"', "parent_id": None}
    content[5] |= {"name": "", "parent_id": None}
    loader.load(made_up(), content, quarantine=2)
    path = tmp_path / "wrong.csv"
    write_corrections(path, made_up(), waiting_records(made_up(), loader.target))
    text = path.read_text()
    assert text.startswith('"flux_record","flux_reason","id","code"')
    assert '"3","line 4, column code: it is not a whole number' in text
    path.write_text(text.replace('"x2"', '"2"'))
    result = again(loader, given=Correction.read(path))
    assert (result.replayed, [held.record for held in result.waiting]) == (1, [6])
    path.write_text("\ufeff" + text.replace('"x5"', "5"))
    with pytest.raises(LayerError, match="record 3 is not in quarantine, so nothing was corrected"):
        again(loader, given=Correction.read(path))
    path.unlink()
    write_corrections(path, made_up(), waiting_records(made_up(), loader.target))
    path.write_text(path.read_text().replace('"x5"', "5"))
    assert again(loader, given=Correction.read(path)).replayed == 1
    assert sql("SELECT code, name, parent_id FROM poles WHERE code IN (2, 5) ORDER BY 1") == [
        (2, 'two\n"lines"', None), (5, "", None)]  # fmt: skip


def test_what_came_back_as_it_was_written_is_no_correction(loader: Loader, sql: Sql, tmp_path: Path) -> None:
    """Bytes that are no text and a value too many: the file cannot hold them, so that they would pass, and be wrong."""
    lines = [row_text(row) for row in rows(4)]
    lines[1] = lines[1].replace(b"Pole 1", b"Pole \xff")
    lines[2] += b",more"
    header = ",".join(made_up().column_names).encode()
    loader.load(made_up(), b"\n".join([header, *lines]) + b"\n", quarantine=2)
    whole = "SELECT record, raw_record, raw_cut, header, line FROM postgres_sync.quarantine ORDER BY record"
    kept, path = sql(whole), tmp_path / "wrong.csv"
    write_corrections(path, made_up(), waiting_records(made_up(), loader.target))
    for _ in range(2):
        result = again(loader, given=Correction.read(path))
        assert (result.replayed, len(result.waiting)) == (0, 2)
    assert [held.raw_cut for held in result.waiting] == [True, False]
    assert sql(whole) == kept
    path.write_text(path.read_text().replace("\\xff", "1"))
    assert again(loader, given=Correction.read(path)).replayed == 1
    assert sql("SELECT name FROM poles WHERE code = 1") == [("Pole 1",)]


def test_a_value_too_many_is_never_lost(loader: Loader, sql: Sql, tmp_path: Path) -> None:
    """It stands in a column of its own until somebody says where it belongs: nobody but they can know."""
    lines = [row_text(row) for row in rows(3)]
    lines[1] = lines[1].replace(b"Pole 1", b"Pole 1, old")
    header = ",".join(made_up().column_names).encode()
    loader.load(made_up(), b"\n".join([header, *lines]) + b"\n", quarantine=1)
    path, whole = tmp_path / "wrong.csv", "SELECT q::text FROM postgres_sync.quarantine AS q"
    write_corrections(path, made_up(), waiting_records(made_up(), loader.target))
    kept, text = sql(whole), path.read_text()
    assert text.splitlines()[0].endswith(',"flux_surplus"')
    (surplus,) = csv.DictReader(text.splitlines())
    assert surplus["flux_surplus"] == f'"{rows(3)[1]["geom"]}"'
    path.write_text(text.replace('"1"', '"7"'))
    with pytest.raises(LayerError, match="record 2 still has values in flux_surplus"):
        again(loader, given=Correction.read(path))
    assert sql(whole) == kept
    right = {name: value if value is None else str(value) for name, value in rows(3)[1].items()}
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, surplus.keys())
        writer.writeheader()
        writer.writerow(surplus | right | {"name": "Pole 1, old", "flux_surplus": ""})
    assert again(loader, given=Correction.read(path)).replayed == 1
    assert sql("SELECT name FROM poles WHERE code = 1") == [("Pole 1, old",)]


def test_a_comma_too_many_is_seen_and_can_be_removed(loader: Loader, sql: Sql, tmp_path: Path) -> None:
    lines = [row_text(row) for row in rows(3)]
    lines[1] += b","
    loader.load(made_up(), b"\n".join([",".join(made_up().column_names).encode(), *lines]) + b"\n", quarantine=1)
    path = tmp_path / "wrong.csv"
    write_corrections(path, made_up(), waiting_records(made_up(), loader.target))
    text = path.read_text()
    assert text.endswith(',""""""\n')
    path.write_text(text.replace(',""""""\n', ",\n"))
    assert again(loader, given=Correction.read(path)).replayed == 1


def test_the_file_shows_a_record_as_somebody_changed_it_in_the_table(loader: Loader, sql: Sql, tmp_path: Path) -> None:
    """Longer than it was, or with a stray quote behind its last column."""
    header = ",".join(made_up().column_names).encode()
    whole = row_text(rows(3)[1]).decode()
    loader.load(made_up(), b"\n".join([header, row_text(rows(1)[0]), b"7"]) + b"\n", quarantine=1)
    for number, raw in enumerate((whole, f'{whole},x"y')):
        sql("UPDATE postgres_sync.quarantine SET raw_record = %s", raw)
        path = tmp_path / f"{number}.csv"
        write_corrections(path, made_up(), waiting_records(made_up(), loader.target))
        with path.open(newline="") as file:
            (line,) = csv.DictReader(file)
        assert [line["id"], line["name"]] == [rows(3)[1]["id"], "Pole 1"]


def test_a_file_that_is_there_is_not_written_over(loader: Loader, tmp_path: Path) -> None:
    path = tmp_path / "wrong.csv"
    path.write_text("what somebody corrected")
    with pytest.raises(ReleaseError, match=r"wrong.csv already exists. Name another file, or remove it."):
        write_corrections(path, made_up(), [])
    assert path.read_text() == "what somebody corrected"


def test_a_pinned_layer_is_not_replayed_and_nothing_is_read_for_it(loader: Loader, sql: Sql, tmp_path: Path) -> None:
    loader.load(made_up(), broken(10, 2), quarantine=1)
    pin(made_up(), loader.target, LoadOptions(), loader.log.append, reason="audit")
    fixed(sql, 2)
    whole = "SELECT q::text FROM postgres_sync.quarantine AS q"
    kept = sql(whole)
    with pytest.raises(PinnedError, match=r"public.poles is pinned to version \w{12} since .* \(audit\), and a replay"):
        again(loader)
    assert sql(whole) == kept
    assert sql("SELECT count(*) FROM postgres_sync.layer_versions") == [(1,)]
    unpin(made_up(), loader.target)
    assert again(loader).replayed == 1


def row_text(row: dict[str, object]) -> bytes:
    return ",".join(csv_field(row[name]) for name in made_up().column_names).encode()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda text: text.replace('"code"', '"number"', 1), "have the columns id, number, .*nothing was corrected"),
        (lambda text: text.replace('"x2"', "2") + text.partition("\n")[2], "record 3 is corrected more than once"),
    ],
)
def test_a_refused_file_of_corrections_changes_nothing(
    loader: Loader, sql: Sql, tmp_path: Path, change: object, problem: str
) -> None:
    loader.load(made_up(), broken(10, 2), quarantine=1)
    whole = "SELECT q::text FROM postgres_sync.quarantine AS q"
    kept, path = sql(whole), tmp_path / "wrong.csv"
    write_corrections(path, made_up(), waiting_records(made_up(), loader.target))
    path.write_text(change(path.read_text()))
    with pytest.raises(LayerError, match=problem):
        again(loader, given=Correction.read(path))
    assert sql(whole) == kept


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("none/wrong.csv", "No such file or directory"),
        ("file/wrong.csv", "Not a directory"),
        (".", "Is a directory"),
        ("n" * 300, "File name too long"),
    ],
)
def test_a_file_that_cannot_be_written_is_named(tmp_path: Path, name: str, problem: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ReleaseError, match=f": cannot be written: {problem}. Name another file."):
        write_corrections(tmp_path / name, made_up(), [])


def test_a_disk_that_fills_up_leaves_no_part_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "wrong.csv"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    caught = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(ReleaseError, match=r"wrong.csv: cannot be written: File too large"):
            write_corrections(path, made_up(), [])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, caught)
    assert not path.exists()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("id,code\n1,2\n", "no column flux_record"),
        ("flux_record,id\nx,2\n", "line 2, column flux_record"),
        ("flux_record,id\n1,2,3\n", "line 2.*3 values"),
        ('flux_record,id\n1,"2\n', "never closes"),
        ("", "not even a header"),
    ],
)
def test_a_file_that_is_none_of_corrections(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(ReleaseError, match=problem):
        list(Correction.read(path))
    with pytest.raises(ReleaseError, match="cannot be read"):
        list(Correction.read(tmp_path / "missing.csv"))


def test_records_kept_in_part_wait_for_a_correction(loader: Loader, sql: Sql) -> None:
    content = rows(3)
    content[1]["name"] = "z" * 70_000
    loader.load(made_up(), content, quarantine=1)
    for _ in range(2):
        (held,) = again(loader).waiting
        assert held.reason.count("kept in part only") == 1


def test_matches_release_accounts_for_the_quarantine(loader: Loader, sql: Sql) -> None:
    loader.load(made_up(), broken(10, 2, 5), quarantine=2)
    found = compared(loader)
    assert (found.passed, found.numbers["quarantined"], found.numbers["replayed"]) == (True, 2, 0)
    fixed(sql, 2)
    again(loader)
    found = compared(loader)
    assert (found.passed, found.numbers["quarantined"], found.numbers["replayed"]) == (True, 1, 1)
    sql("UPDATE poles SET code = 99 WHERE code = 2")
    found = compared(loader)
    assert (found.passed, found.severity, found.numbers["changed"]) == (False, "ERROR", 1)
    sql("UPDATE poles SET code = 2 WHERE code = 99; DELETE FROM poles WHERE code = 4")
    assert compared(loader).numbers["missing"] == 1


def test_another_declaration_does_not_excuse_records(loader: Loader) -> None:
    """Only what is in quarantine is left out of the comparison."""
    loader.load(made_up(), broken(10, 2), quarantine=1)
    loader.source.write(made_up(), broken(10, 2))
    assert compared(loader).passed
    narrow = made_up(parts=columns(id=Column("id", String(2), primary_key=True, comment="Key.")))
    ((_, found),) = match_release([narrow], loader.source.release, loader.target, Stop(), loader.log.append)
    assert isinstance(found, RecordError) or not found.passed
