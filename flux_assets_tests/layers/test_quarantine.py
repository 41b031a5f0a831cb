"""Records that are refused and set aside: found exactly, counted, and nothing else of the file touched."""

import random
from datetime import timedelta
from pathlib import Path

import pytest
from geoalchemy2 import Geometry
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.errors import InsufficientPrivilege
from sqlalchemy import Column, Date, Integer, Numeric, String

from flux_assets.errors import AuditError, QuarantineError, RecordError
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.quarantine import QuarantinedRecord
from flux_assets.layers.rollback import rollback, unpin
from flux_assets.layers.status import audit_live, table_statuses
from flux_assets.ledger.pruning import prune
from flux_assets.ledger.status import TableStatus
from flux_assets.postgis.session import Target
from flux_assets.release.decode.sieve import Quarantine
from flux_assets.release.decode.stream import LayerStream, LeftOut
from flux_assets.spec import StaticTable
from flux_assets_tests.conftest import Sql
from flux_assets_tests.made_layers import Loader, ReleaseFolder, columns, csv_field, made_up, point, rows

WHOLE = "SELECT p::text FROM poles AS p ORDER BY id"
HELD = "SELECT record, line, column_name, reason FROM postgres_sync.quarantine ORDER BY lease, record"
KINDS = {
    "no number": ({"code": "seven"}, "code", "not a whole number"),
    "number out of range": ({"code": 2**31}, "code", "out of range"),
    "overflow": ({"score": "1e999"}, "score", "out of range"),
    "too large an amount": ({"price": "1000000.00"}, "price", "out of range"),
    "too long": ({"name": "x" * 51}, "name", "51 characters"),
    "NULL in a required column": ({"kind": None}, "kind", "NULL"),
    "NULL key": ({"id": None}, "id", "NULL"),
    "no hexadecimal": ({"geom": "POINT(1 2)"}, "geom", "not hexadecimal"),
    "truncated geometry": ({"geom": point(1, 2)[:-2]}, "geom", "truncated"),
    "wrong SRID": ({"geom": point(1, 2, 3857)}, "geom", "SRID is 3857"),
    "wrong type": ({"geom": "0102000020E610000000000000"}, "geom", "LINESTRING"),
    "far coordinate": ({"geom": point(200, 2)}, "geom", "out of range"),
    "NaN coordinate": ({"geom": point(float("nan"), 2)}, "geom", "not finite"),
    "far latitude": ({"latitude": 95}, "latitude", "out of range"),
    "no time": ({"seen": "yesterday"}, "seen", "only PostgreSQL knows"),
}


@pytest.fixture
def loader(target: Target, tmp_path: Path) -> Loader:
    return Loader(target, ReleaseFolder(tmp_path / "v1"))


def table(**more: object) -> StaticTable:
    """The made-up layer, with columns of further types."""
    more_columns = {
        "kind": Column("kind", String(5), nullable=False, comment="Kind."),
        "price": Column("price", Numeric(8, 2), comment="Price."),
        "seen": Column("seen", Date, comment="Day."),
    }
    return made_up(parts=columns(**more_columns), **more)


def good(count: int, start: int = 0) -> list[dict[str, object]]:
    return [row | {"kind": "a", "price": "1.50", "seen": "2024-02-29"} for row in rows(count, start=start)]


def statuses(target: Target) -> dict[str, TableStatus]:
    return {status.table: status for status in table_statuses(target, [made_up()])}


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_with_a_bad_value_is_set_aside_and_named(loader: Loader, sql: Sql, kind: str) -> None:
    """The place and reason are those of the error without a quarantine; all other rows are the file's."""
    change, column, word = KINDS[kind]
    content = good(7)
    content[2]["name"] = 'two\nlines, "quoted"'
    content[4] |= change
    with pytest.raises(RecordError) as refused:
        loader.load(table(), content)
    result = loader.load(table(), quarantine=1)
    assert (result.outcome, result.rows, result.quarantined) == ("published", 6, 1)
    ((record, line, found, reason),) = sql(HELD)
    place = refused.value.place
    assert (record, line, found) == (5, place.line, column)
    assert line == 7
    assert word in reason
    assert str(refused.value) == f"{place}: {reason} {refused.value.remedy}"
    kept = sql(WHOLE)
    assert loader.load(table(), [*content[:4], *content[5:]]).quarantined == 0
    assert sql(WHOLE) == kept


def test_the_record_is_kept_as_the_file_has_it(loader: Loader, sql: Sql) -> None:
    content = good(3)
    content[1] |= {"name": 'a "b"\nc', "code": "x"}
    loader.load(table(), content, quarantine=5)
    line = ",".join(csv_field(content[1].get(name)) for name in table().column_names)
    assert sql("SELECT raw_record, raw_bytes, raw_cut, header, file, version FROM postgres_sync.quarantine") == [
        (line, len(line), False, list(table().column_names), "poles.csv.gz",
         sql("SELECT version FROM postgres_sync.layer_versions WHERE current")[0][0])
    ]  # fmt: skip


def test_a_long_record_is_kept_in_part_and_says_so(loader: Loader, sql: Sql) -> None:
    content = good(2)
    content[1]["name"] = "ü" * 50_000
    loader.load(table(), content, quarantine=1)
    ((text, size, cut),) = sql("SELECT raw_record, raw_bytes, raw_cut FROM postgres_sync.quarantine")
    assert len(text.encode()) <= 64 << 10 < size
    assert cut


def test_bytes_that_are_no_text_and_odd_records_are_set_aside(loader: Loader, sql: Sql) -> None:
    """A wrong number of values, an empty line, a line that is not UTF-8: each concerns one record alone."""
    names = table().column_names
    lines = [",".join(csv_field(row.get(name)) for name in names).encode() for row in good(4)]
    lines[1] += b",more"
    lines.insert(2, b"")
    lines.insert(3, lines[0].replace(b"Pole 0", b"P\xff"))
    content = b"\r\n".join([",".join(names).encode(), *lines])
    assert loader.load(table(), content, quarantine=3).rows == 3
    assert [(record, line) for record, line, _, _ in sql(HELD)] == [(2, 3), (3, 4), (4, 5)]
    reasons = [reason for *_, reason in sql(HELD)]
    assert ["values" in reasons[0], "empty" in reasons[1], "UTF-8" in reasons[2]] == [True] * 3
    assert sql("SELECT raw_cut FROM postgres_sync.quarantine ORDER BY record") == [(False,), (False,), (True,)]


def test_what_only_the_server_refuses_is_set_aside_too(loader: Loader, sql: Sql) -> None:
    """Constraints that users put on the public table: COPY alone knows them, and loses everything by one refusal."""
    loader.load(table(), [row | {"parent_id": row["id"]} for row in good(10)])
    sql("ALTER TABLE poles ADD CHECK (code <> 13), ALTER parent_id SET NOT NULL")
    content = [row | {"parent_id": row["id"]} for row in good(60)]
    content[30]["parent_id"] = None
    content[40]["code"] = "x"
    result = loader.load(table(), content, quarantine=3)
    assert (result.rows, result.quarantined) == (57, 3)
    held = sql(HELD)
    assert [(record, line, column) for record, line, column, _ in held] == [
        (14, 15, None),
        (31, 32, "parent_id"),
        (41, 42, "code"),
    ]
    assert "check constraint" in held[0][3]
    assert sql("SELECT count(*), min(code), max(code) FROM poles") == [(57, 0, 59)]
    with pytest.raises(QuarantineError, match="more than 2 records"):
        loader.load(table(), content, quarantine=2, force=True)


def test_above_the_limit_nothing_is_published_and_the_refused_are_listed(loader: Loader, sql: Sql) -> None:
    loader.load(table(), good(5))
    content = good(40)
    for number in (3, 9, 20, 21):
        content[number]["code"] = "x"
    with pytest.raises(QuarantineError, match=r"more than 3 records .*by column: code 4.*line 23, column code"):
        loader.load(table(), content, quarantine=3)
    assert sql("SELECT count(*) FROM poles") == [(5,)]
    assert [record for record, *_ in sql(HELD)] == [4, 10, 21]
    assert sql(
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'flux_versions'::regnamespace AND relkind = 'r'"
    ) == [(1,)]
    loader.load(table(), quarantine=4)
    assert [record for record, *_ in sql(HELD)] == [4, 10, 21, 22]


def test_off_by_default(loader: Loader, sql: Sql) -> None:
    content = good(5)
    content[2]["code"] = "x"
    with pytest.raises(RecordError, match="line 4, column code"):
        loader.load(table(), content)
    assert sql("SELECT to_regclass('poles'), (SELECT count(*) FROM postgres_sync.quarantine)") == [(None, 0)]


def test_doubled_keys_and_broken_quotes_refuse_the_file_all_the_same(loader: Loader, sql: Sql) -> None:
    with pytest.raises(AuditError, match="unique"):
        loader.load(table(), [*good(3), *good(1)], quarantine=100)
    with pytest.raises(RecordError, match="never closes"):
        loader.load(table(), ",".join(table().column_names) + '\n1,2,"x\n', quarantine=100)
    with pytest.raises(RecordError, match="header"):
        loader.load(table(), "id,code\n1,2\n", quarantine=100)
    assert sql("SELECT to_regclass('poles')") == [(None,)]


def test_promised_rows_are_those_that_came_and_those_set_aside(loader: Loader, sql: Sql) -> None:
    content = good(20)
    content[5]["code"] = content[6]["code"] = "x"
    loader.source.write(table(), content)
    loader.source.promise(table())
    audits = {audit.name: audit for audit in loader.load(table(), quarantine=2).audits}
    assert audits["row_count"].numbers == {"rows": 18, "quarantined_rows": 2, "promised_rows": 20}
    loader.source.promise(table(), rows=21)
    with pytest.raises(AuditError, match="21 rows were promised and 20 came, 2 of them into quarantine"):
        loader.load(table(), quarantine=2, force=True)


def test_a_file_of_refused_records_alone_is_no_version(loader: Loader) -> None:
    with pytest.raises(AuditError, match="no rows"):
        loader.load(table(), [row | {"code": "x"} for row in good(3)], quarantine=3)


def test_ledger_status_and_check_count_what_is_missing(loader: Loader, sql: Sql, target: Target) -> None:
    content = good(6)
    content[1]["code"] = content[4]["code"] = "x"
    loader.load(table(), content, quarantine=9)
    assert loader.load(table()).quarantined == 2
    assert sql("SELECT sync_type, rows_synced, rows_quarantined FROM postgres_sync.v_sync_status ORDER BY sync_id") == [
        ("FULL", 4, 2),
        ("UNCHANGED", 4, 2),
    ]
    assert sql("SELECT state, trusted, rows, rows_quarantined FROM postgres_sync.v_table_status") == [
        ("live", True, 4, 2)
    ]
    assert statuses(target)["poles"].rows_quarantined == 2
    (audit,) = audit_live(table(), target, {"quarantined"})
    assert (audit.passed, audit.severity, audit.numbers) == (False, "WARN", {"quarantined": 2, "replayed": 0})
    assert audit.sample[0].startswith("poles.csv.gz, line 3, column code: it is not a whole number")
    assert [line for _, line, *_ in sql(audit.sql)] == [3, 6]
    loader.load(table(), good(6))
    assert statuses(target)["poles"].rows_quarantined == 0
    (audit,) = audit_live(table(), target, {"quarantined"})
    assert (audit.passed, audit.sql) == (True, "")


def test_a_version_keeps_its_quarantine_until_it_goes(loader: Loader, sql: Sql, target: Target) -> None:
    content = good(6)
    content[1]["code"] = "x"
    loader.load(table(), content, quarantine=1)
    loader.load(table(), good(7))
    rollback(table(), target, LoadOptions(), loader.log.append)
    assert statuses(target)["poles"].rows_quarantined == 1
    unpin(table(), target)
    loader.load(table(), good(8), keep_versions=0)
    loader.load(table(), good(9), keep_versions=0)
    assert sql(HELD) == []


def test_readers_see_how_many_and_not_what(loader: Loader, reader_sql: Sql) -> None:
    content = good(3)
    content[1]["code"] = "x"
    loader.load(table(), content, quarantine=1)
    assert reader_sql("SELECT rows_quarantined FROM postgres_sync.v_table_status") == [(1,)]
    with pytest.raises(InsufficientPrivilege):
        reader_sql("SELECT * FROM postgres_sync.quarantine")


def test_old_rows_of_failed_loads_are_pruned(loader: Loader, sql: Sql, target: Target) -> None:
    content = [row | {"code": "x"} for row in good(3)]
    with pytest.raises(QuarantineError):
        loader.load(table(), content, quarantine=2)
    with target.session("test") as session:
        assert prune(session, target.schema, timedelta(days=90))[2] == 0
        sql("UPDATE postgres_sync.quarantine SET quarantined_at = quarantined_at - interval '8 days'")
        assert prune(session, target.schema, timedelta(days=90))[2] == 2


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_record_is_read_or_set_aside_exactly_once(tmp_path: Path, newline: str, data: st.DataObject) -> None:
    """Against an oracle, with blocks of a few records: bad ones anywhere, quoted newlines, at the file's ends."""
    layer = made_up(parts=[
        Column("id", String(8), primary_key=True, comment="Key."),
        Column("number", Integer, nullable=False, comment="Number."),
        Column("word", String(6), comment="Word."),
        Column("spot", Geometry("POINT", srid=4326, spatial_index=False), comment="Spot."),
    ], positions=(), ranges=(), references=())  # fmt: skip
    record = st.tuples(
        st.sampled_from(["1", "-5", "x", "", "9999999999", '"3"', "1,2"]),
        st.sampled_from(["", '""', "a", '"a\nb"', '"a""b"', "toolong", '"\n\n\n"', '"äöü"']),
        st.sampled_from(["", point(1, 2), point(1, 2, 3857), point(200, 0), "zz", point(1, 2).lower()]),
    )
    drawn = data.draw(st.lists(record, min_size=1, max_size=60))
    wrong_numbers, wrong_words = {"x", "", "9999999999", "1,2"}, {"toolong"}
    wrong_spots = {point(1, 2, 3857), point(200, 0), "zz"}
    lines = [f"k{index},{','.join(parts)}" for index, parts in enumerate(drawn)]
    text = newline.join(["id,number,word,spot", *lines]) + data.draw(st.sampled_from(["", newline]))
    path = ReleaseFolder(tmp_path).write(layer, text)
    sieve = Quarantine(100)
    stream = LayerStream(
        path, path.name, layer, sieve=sieve, block_bytes=data.draw(st.sampled_from([64, 300, 1 << 20]))
    )
    read = [key for batch in stream for key in batch["id"].to_pylist()]
    taken = [QuarantinedRecord.of(*refused) for refused in sieve.taken()]
    bad = [
        index
        for index, (number, word, spot) in enumerate(drawn)
        if number in wrong_numbers or word in wrong_words or spot in wrong_spots
    ]
    assert [one.record - 1 for one in taken] == bad
    assert [one.raw_record for one in taken] == [lines[index] for index in bad]
    starts = [1 + text[: text.index(f"k{index},")].count("\n") for index in bad]
    assert all(
        start <= one.line <= start + one.raw_record.count("\n") for start, one in zip(starts, taken, strict=True)
    )
    assert read == [f"k{index}" for index in range(len(drawn)) if index not in bad]
    assert (stream.facts.rows, sieve.count) == (len(read), len(bad))
    again = LayerStream(path, path.name, layer, sieve=LeftOut([one.record for one in taken]), block_bytes=64)
    assert [key for batch in again for key in batch["id"].to_pylist()] == read


def test_leaving_records_out_excuses_no_other(tmp_path: Path) -> None:
    content = good(30)
    content[3]["code"] = content[20]["code"] = "x"
    path = ReleaseFolder(tmp_path).write(table(), content)
    with pytest.raises(RecordError, match="line 22, column code"):
        list(LayerStream(path, path.name, table(), sieve=LeftOut([4])))


def test_a_load_is_the_load_of_the_file_without_the_refused(loader: Loader, sql: Sql) -> None:
    """A seeded mixture over several blocks, on PostgreSQL: every row is in the table or in quarantine, once."""
    dice = random.Random(12)
    content, bad = good(30_000), set()
    for number in dice.sample(range(30_000), 60):
        content[number] |= dice.choice(list(KINDS.values()))[0]
        bad.add(number)
    result = loader.load(table(), content, quarantine=60)
    assert (result.rows, result.quarantined) == (30_000 - 60, 60)
    assert [record - 1 for record, *_ in sql(HELD)] == sorted(bad)
    digest = "SELECT count(*), sum(hashtextextended(p::text, 0)) FROM poles AS p"
    with_quarantine = sql(digest)
    loader.load(table(), [row for number, row in enumerate(content) if number not in bad])
    assert sql(digest) == with_quarantine
