"""Every audit fails on data broken for it, names the offenders, and passes on good data; blocking ones block."""

import struct
from pathlib import Path

import pytest
import sqlalchemy as sa
from geoalchemy2 import Geometry

from flux_assets.checks import audit
from flux_assets.checks.audit import AuditResult
from flux_assets.checks.audits import audits_of
from flux_assets.errors import AuditError
from flux_assets.layers.status import audit_live
from flux_assets.postgis.catalog import Relation
from flux_assets.postgis.session import Target
from flux_assets_tests.conftest import Sql
from flux_assets_tests.made_layers import Loader, ReleaseFolder, columns, made_up, point, rows

SQUARE = struct.pack("<BIIII10d", 1, 0x20000003, 4326, 1, 5, 10, 50, 11, 50, 11, 51, 10, 51, 10, 50).hex()


@pytest.fixture
def loader(target: Target, tmp_path: Path) -> Loader:
    return Loader(target, ReleaseFolder(tmp_path / "v1"))


def named(results: tuple[AuditResult, ...]) -> dict[str, AuditResult]:
    return {result.name: result for result in results}


def changed(number: int, **values: object) -> list[dict[str, object]]:
    """Forty good rows, one of them changed."""
    content = rows(40)
    content[number] |= values
    return content


def test_good_data_passes_every_audit(loader: Loader) -> None:
    results = loader.load(made_up(), rows(40)).audits
    assert [result.name for result in results if not result.passed] == []
    assert {result.name for result in results} == {audit.name for audit in audits_of(made_up())}


@pytest.mark.parametrize(
    ("name", "values", "offender"),
    [
        ("geometry_present", {"geom": None}, "000007: NULL"),
        ("same_position", {"longitude": 10.1}, "000007: POINT(10.0007 50.0007) but 10.1 50.0007"),
        ("same_position", {"longitude": 50.0007, "latitude": 10.0007},
         "000007: POINT(10.0007 50.0007) but 50.0007 10.0007"),
        ("relationships", {"parent_id": "nobody"}, "000007: parent_id not in poles: nobody"),
        ("accepted_range", {"score": 1.01}, "000007: score = 1.01"),
        ("accepted_range", {"score": "NaN"}, "000007: score = NaN"),
        ("main_extent", {"geom": point(-60, 50.0007), "longitude": -60}, "000007: -60.00000 50.00070"),
        ("main_extent", {"geom": point(0, 0), "longitude": 0, "latitude": 0}, "000007: 0.00000 0.00000"),
    ],
)  # fmt: skip
def test_a_warning_names_the_row_and_does_not_block(
    loader: Loader, name: str, values: dict[str, object], offender: str
) -> None:
    loader.load(made_up(), rows(40))
    results = loader.load(made_up(), changed(7, **values)).audits
    assert [(result.name, result.severity, result.sample) for result in results if not result.passed] == [
        (name, "WARN", (offender,))
    ]
    assert named(results)[name].numbers["offending_rows"] == 1


def test_references_to_a_table_that_is_not_published_are_not_judged(loader: Loader) -> None:
    results = named(loader.load(made_up(), changed(7, parent_id="nobody")).audits)
    assert results["relationships"].passed
    assert results["relationships"].numbers["not_published"] == "poles"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "row_count: the table has no rows"),
        (rows(19), "row_count: 19 rows are less than half of the 40 published; load with accept_fewer_rows: true"),
        ([*rows(40), rows(1)[0] | {"code": 99}], "unique: id = 000000, 2 times"),
        (changed(7, code=8), "unique: code = 8, 2 times"),
    ],
    ids=["empty", "shrunk", "doubled key", "doubled unique value"],
)
def test_an_error_blocks_the_publish(loader: Loader, sql: Sql, content: list[dict[str, object]], said: str) -> None:
    loader.load(made_up(), rows(40))
    with pytest.raises(AuditError, match=said) as caught:
        loader.load(made_up(), content)
    failed = [result for result in caught.value.audits if not result.passed and result.severity == "ERROR"]
    assert [result.name for result in failed] == [said.partition(":")[0]]
    assert sql("SELECT count(*), min(code), max(code) FROM poles") == [(40, 0, 39)]
    assert sql("SELECT status FROM postgres_sync.sync_status ORDER BY sync_id DESC LIMIT 1") == [("FAILED",)]
    assert loader.load(made_up(), rows(41)).outcome == "published"


def test_fewer_rows_can_be_accepted(loader: Loader, sql: Sql) -> None:
    loader.load(made_up(), rows(40))
    loader.load(made_up(), rows(19), accept_fewer_rows=True)
    assert sql("SELECT count(*) FROM poles") == [(19,)]


def test_no_rows_can_be_accepted(loader: Loader, sql: Sql) -> None:
    loader.load(made_up(), rows(40))
    loader.load(made_up(), [], accept_fewer_rows=True)
    assert sql("SELECT count(*) FROM poles") == [(0,)]
    assert loader.load(made_up()).outcome == "unchanged"


def test_a_row_count_other_than_the_manifests_blocks(loader: Loader, sql: Sql) -> None:
    loader.source.write(made_up(), rows(40))
    loader.source.promise(made_up(), rows=41)
    with pytest.raises(AuditError, match="row_count: 41 rows were promised and 40 came"):
        loader.load(made_up())
    assert sql("SELECT to_regclass('poles')") == [(None,)]


@pytest.mark.parametrize(
    ("name", "statement", "offender"),
    [
        ("columns", "ALTER TABLE poles ALTER COLUMN name TYPE varchar(60)",
         "name: character varying(60), declared character varying(50)"),
        ("row_count", "DELETE FROM poles WHERE code = 7", "40 rows were promised and 39 came"),
        ("within", "UPDATE poles SET longitude = 1e9 WHERE code = 7", "000007: longitude = 1000000000"),
        ("within", "UPDATE poles SET latitude = 'NaN' WHERE code = 7", "000007: latitude = NaN"),
        ("within", "UPDATE poles SET geom = ST_SetSRID(ST_Point(500, 0), 4326) WHERE code = 7", "000007: POINT(500 0)"),
        ("geometry_type", "ALTER TABLE poles ALTER COLUMN geom TYPE geometry USING"
                          " CASE WHEN code = 7 THEN ST_Point(1, 2, 3857) ELSE geom END", "000007: POINT in SRID 3857"),
    ],
)  # fmt: skip
def test_a_live_table_that_somebody_changed_is_found_out(
    loader: Loader, sql: Sql, target: Target, name: str, statement: str, offender: str
) -> None:
    loader.load(made_up(), rows(40))
    assert named(audit_live(made_up(), target))[name].passed
    sql(statement)
    found = named(audit_live(made_up(), target, {name}))[name]
    assert (found.passed, found.severity, found.sample) == (False, "ERROR", (offender,))


def test_keys_that_lost_their_index_are_counted(loader: Loader, sql: Sql, target: Target) -> None:
    """`unique` believes an index and counts where there is none; `not_null` believes the column."""
    loader.load(made_up(), rows(40))
    sql("ALTER TABLE poles DROP CONSTRAINT poles_pkey")
    sql("ALTER TABLE poles ALTER COLUMN id DROP NOT NULL")
    assert named(audit_live(made_up(), target))["unique"].passed
    sql("UPDATE poles SET id = NULL WHERE code = 7")
    sql("UPDATE poles SET id = '000001' WHERE code = 8")
    found = named(audit_live(made_up(), target))
    assert found["unique"].sample == ("id = 000001, 2 times",)
    assert (found["not_null"].passed, found["not_null"].numbers["offending_rows"]) == (False, 1)


def test_warnings_of_a_large_table_judge_a_sample_and_say_so(
    loader: Loader, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader.load(made_up(), rows(5_000))
    monkeypatch.setattr(audit, "_SAMPLED_ROWS", 1_000)
    found = named(audit_live(made_up(), target, {"accepted_range", "within"}))
    assert found["accepted_range"].numbers["judged"] == "about 1,000 random rows of 5,000"
    assert found["within"].numbers["judged"] == "all 5,000 rows"


def test_a_point_is_valid_without_being_looked_at_and_says_so(loader: Loader, sql: Sql, target: Target) -> None:
    """As long as the column's type lets in nothing else; the other audits that know of points do not mind either."""
    judged = named(loader.load(made_up(), rows(60)).audits)["valid_geometry"].numbers["judged"]
    assert judged == "all 60 rows: a point is valid wherever it lies, and `within` judges its coordinates"
    bow = "ST_GeomFromText('POLYGON((10 50, 10.01 50.01, 10.01 50, 10 50.01, 10 50))', {})"
    sql("ALTER TABLE poles ALTER geom TYPE geometry")
    sql(f"UPDATE poles SET geom = {bow.format(4326)} WHERE code = 7")
    sql(f"UPDATE poles SET geom = {bow.format(3857)} WHERE code = 8")
    found = named(audit_live(made_up(), target))
    assert [text.partition("[")[0] for text in found["valid_geometry"].sample] == [
        "000007: Self-intersection", "000008: Self-intersection",
    ]  # fmt: skip
    assert found["valid_geometry"].numbers == {"offending_rows": 2, "judged": "all 60 rows"}
    assert found["same_position"].passed
    assert found["main_extent"].passed


def test_the_decoder_has_seen_that_every_row_has_a_geometry(loader: Loader) -> None:
    present = named(loader.load(made_up(), rows(40)).audits)["geometry_present"]
    assert (present.passed, present.numbers["judged"]) == (True, "all 40 rows, while decoding")
    empty = struct.pack("<BIII", 1, 0x20000003, 4326, 0).hex()  # a polygon of no ring
    parts = columns(geom=sa.Column("geom", Geometry("POLYGON", srid=4326, spatial_index=False), comment="Ground."))
    ground = [row | {"geom": empty if row["code"] == 7 else SQUARE} for row in rows(40)]
    missing = named(loader.load(made_up("grounds", parts, references=(), positions=()), ground).audits)
    assert missing["geometry_present"].sample == ("000007: empty",)


@pytest.mark.parametrize("west", [-174.0, 10.0])
def test_the_main_extent_is_judged_by_the_middle_of_a_shape(loader: Loader, west: float) -> None:
    """A shape that reaches out of it belongs to it while its middle does."""

    def square(side: float, x: float) -> str:
        ring = [(x - side, 50 - side), (x + side, 50 - side), (x + side, 50 + side), (x - side, 50 + side)]
        numbers = [number for corner in [*ring, ring[0]] for number in corner]
        return struct.pack("<BIIII10d", 1, 0x20000003, 4326, 1, 5, *numbers).hex()

    parts = columns(geom=sa.Column("geom", Geometry("POLYGON", srid=4326, spatial_index=False), comment="Ground."))
    ground = [row | {"geom": square(0.001, west + number / 1e4)} for number, row in enumerate(rows(60))]
    ground[7]["geom"] = square(5, west)
    ground[8]["geom"] = square(0.001, west + 20)
    found = named(loader.load(made_up("grounds", parts, references=(), positions=()), ground).audits)["main_extent"]
    assert found.sample == (f"000008: {west + 20:.5f} 50.00000",)


def test_the_columns_are_asked_once_for_all_audits(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    loader.load(made_up(), rows(40))
    asked, columns_of = [], Relation.columns
    monkeypatch.setattr(Relation, "columns", lambda given: asked.append(given) or columns_of(given))
    names = ("columns", "not_null", "geometry_type", "valid_geometry", "same_position")
    assert [each.name for each in audit_live(made_up(), loader.target, names) if each.passed] == list(names)
    assert len(asked) == 1
