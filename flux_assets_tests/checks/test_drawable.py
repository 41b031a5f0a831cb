"""Kinds of geometry that maps cannot draw: refused by line or reported by key, with the cure, as declared."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from geoalchemy2 import Geometry

from flux_assets.errors import RecordError
from flux_assets.layers.status import audit_live
from flux_assets.postgis.session import Target
from flux_assets.sample.cluster import Cluster
from flux_assets.spec import DeclarationError, StaticTable
from flux_assets.spec.facts import KIND_NAMES, SIMPLE_KINDS, Drawable
from flux_assets_tests.conftest import Sql, fresh_database
from flux_assets_tests.made_layers import Loader, ReleaseFolder, columns, made_up, rows
from flux_assets_tests.release_files import FILE, compressed, csv_text, ewkb, narrow, read

ARC = "CIRCULARSTRING(1 0,0 1,-1 0,0 -1,1 0)"
SHAPES = {
    "CIRCULARSTRING": ARC,
    "COMPOUNDCURVE": "COMPOUNDCURVE(CIRCULARSTRING(0 0,1 1,2 0),(2 0,3 0))",
    "CURVEPOLYGON": f"CURVEPOLYGON({ARC})",
    "MULTICURVE": f"MULTICURVE((5 5,6 6),{ARC})",
    "MULTISURFACE": f"MULTISURFACE(CURVEPOLYGON({ARC}),((9 9,10 9,10 10,9 9)))",
    "POLYHEDRALSURFACE": "POLYHEDRALSURFACE(((0 0,1 0,1 1,0 0)))",
    "TIN": "TIN(((0 0,1 0,1 1,0 0)))",
    "TRIANGLE": "TRIANGLE((0 0,1 0,1 1,0 0))",
}
LAKE = "POLYGON((9 48,10 48,10 49,9 48))"


@pytest.fixture(scope="module")
def hexadecimal(cluster: Cluster) -> Iterator[dict[str, str]]:
    """Each kind as PostGIS writes it, alone, in a collection, and empty."""
    with fresh_database(cluster) as name, Target(conninfo=cluster.conninfo(name)).session("test") as session:
        texts = dict(SHAPES)
        texts |= {f"{kind} in a collection": f"GEOMETRYCOLLECTION(POINT(1 1),{text})" for kind, text in SHAPES.items()}
        texts |= {f"{kind} EMPTY": f"{kind} EMPTY" for kind in SHAPES}
        query = "SELECT ST_AsHEXEWKB(ST_GeomFromEWKT('SRID=4326;' || %s))"
        yield {key: session.execute(query, [text]).fetchone()[0] for key, text in texts.items()}


@pytest.fixture
def loader(target: Target, tmp_path: Path) -> Loader:
    return Loader(target, ReleaseFolder(tmp_path / "v1"))


def shape(kind: str = "GEOMETRY") -> sa.Column:
    return sa.Column("geom", Geometry(kind, srid=4326, spatial_index=False), comment="Shape (EPSG:4326).")


def lakes(**more: object) -> StaticTable:
    return made_up(parts=columns(geom=shape()), **({"positions": ()} | more))


def content(*shapes: str) -> list[dict[str, object]]:
    return [row | {"geom": geom} for row, geom in zip(rows(3 + len(shapes)), [*[ewkb(LAKE)] * 3, *shapes], strict=True)]


@pytest.mark.parametrize("kind", sorted({*KIND_NAMES.values()} - {*SIMPLE_KINDS, "GEOMETRYCOLLECTION"}))
def test_a_kind_that_maps_cannot_draw_is_refused(tmp_path: Path, hexadecimal: dict[str, str], kind: str) -> None:
    """Alone, as a part of a collection, and empty: a column of any kind holds what points, lines and polygons make."""
    for key in (kind, f"{kind} in a collection", f"{kind} EMPTY"):
        path = compressed(tmp_path, csv_text(["geom"], [{"geom": ewkb(LAKE)}, {"geom": hexadecimal[key]}]))
        with pytest.raises(RecordError, match=f"{FILE}, line 3, column geom.* {kind}, which the readers") as refused:
            read(path, narrow(shape()))
        assert "ST_CurveToLine" in refused.value.remedy


def test_simple_kinds_and_their_collections_are_taken(tmp_path: Path) -> None:
    simple = [
        "POINT(1 2)",
        LAKE,
        "MULTIPOLYGON(((9 48,10 48,10 49,9 48)))",
        "GEOMETRYCOLLECTION(MULTIPOINT(1 2),POINT(1 2))",
    ]
    path = compressed(tmp_path, csv_text(["geom"], [{"geom": ewkb(text)} for text in simple]))
    assert read(path, narrow(shape()))[1].rows == len(simple)


def test_a_layer_may_draw_less_or_more_than_the_usual(tmp_path: Path, hexadecimal: dict[str, str]) -> None:
    def drawing(*kinds: str) -> StaticTable:
        table = sa.Table("narrow", sa.MetaData(), shape(), comment="A narrow layer.")
        return StaticTable(table=table, release_rows=1, drawable=Drawable(kinds=kinds))

    areas = drawing("POLYGON", "MULTIPOLYGON")
    for text in ("POINT(1 2)", "LINESTRING(1 2,3 4)", "MULTIPOINT(1 2)", "GEOMETRYCOLLECTION EMPTY"):
        path = compressed(tmp_path, csv_text(["geom"], [{"geom": ewkb(LAKE)}, {"geom": ewkb(text)}]))
        with pytest.raises(RecordError, match=r"line 3, column geom.*which the readers of the layer cannot draw"):
            read(path, areas)
    multi = ewkb("MULTIPOLYGON(((9 48,10 48,10 49,9 48)))")
    assert read(compressed(tmp_path, csv_text(["geom"], [{"geom": multi}])), areas)[1].rows == 1
    curved = compressed(tmp_path, csv_text(["geom"], [{"geom": hexadecimal["CURVEPOLYGON"]}]))
    kinds = read(curved, drawing("CURVEPOLYGON", "CIRCULARSTRING"))[1].shapes["geom"].kinds
    assert {KIND_NAMES[kind]: count for kind, count in kinds.items()} == {"CURVEPOLYGON": 1}


def test_a_curved_lake_is_set_aside_where_there_is_a_quarantine(
    loader: Loader, sql: Sql, hexadecimal: dict[str, str]
) -> None:
    curved = [hexadecimal["CURVEPOLYGON"], hexadecimal["MULTISURFACE"]]
    assert loader.load(lakes(), content(*curved), quarantine=2).quarantined == 2
    assert [kind for (kind,) in sql("SELECT DISTINCT GeometryType(geom) FROM poles")] == ["POLYGON"]


def test_kinds_are_reported_with_keys_and_the_cure_where_so_declared(
    loader: Loader, target: Target, hexadecimal: dict[str, str]
) -> None:
    table = lakes(drawable=Drawable(others="report"))
    parts = [hexadecimal["CURVEPOLYGON"], hexadecimal["TIN in a collection"], ewkb("POINT(1 2)")]
    audits = {audit.name: audit for audit in loader.load(table, content(*parts)).audits}
    found = audits["drawable"]
    assert (found.passed, found.severity, found.numbers["offending_rows"]) == (False, "WARN", 2)
    assert found.sample[0].startswith("000003: CIRCULARSTRING, CURVEPOLYGON cannot be drawn; ")
    assert found.sample[1].startswith("000004: GEOMETRYCOLLECTION, POINT, TIN cannot be drawn; ")
    assert all("ST_CurveToLine" in said for said in found.sample)
    (ready,) = audit_live(table, target, {"map_ready"})
    assert any(
        said.startswith("ST_AsGeoJSON of geom of kind CIRCULARSTRING, CURVEPOLYGON (row 000003) fails")
        for said in ready.sample
    )
    assert not any("of kind POLYGON" in said or "of kind POINT" in said for said in ready.sample)


def test_curves_that_stand_in_a_published_table_are_found(
    loader: Loader, target: Target, sql: Sql, hexadecimal: dict[str, str]
) -> None:
    """As of a version that was published before kinds were declared: skipped as unchanged, and shown by two checks."""
    loader.load(lakes(), content(ewkb("POINT(1 2)")))
    names = {"geometry_type", "map_ready"}
    assert all(audit.passed for audit in audit_live(lakes(), target, names))
    sql("UPDATE poles SET geom = %s::geometry WHERE code = 2", hexadecimal["MULTISURFACE"])
    assert loader.load(lakes()).outcome == "unchanged"
    found = {audit.name: audit for audit in audit_live(lakes(), target, names)}
    assert (found["geometry_type"].passed, found["geometry_type"].severity) == (False, "ERROR")
    assert found["geometry_type"].sample[0].startswith("000002: CIRCULARSTRING, CURVEPOLYGON, MULTISURFACE cannot be")
    assert not found["map_ready"].passed
    assert "(row 000002)" in found["map_ready"].sample[0]


def test_a_declaration_that_becomes_stricter_is_judged_anew(
    loader: Loader, sql: Sql, hexadecimal: dict[str, str]
) -> None:
    loader.load(lakes(drawable=Drawable(others="report")), content(hexadecimal["CURVEPOLYGON"]))
    with pytest.raises(RecordError, match=r"line 5, column geom.*CURVEPOLYGON"):
        loader.load(lakes())
    assert sql("SELECT count(*) FROM poles") == [(4,)]


def test_a_declaration_of_nonsense_is_refused() -> None:
    with pytest.raises(DeclarationError, match="unknown kinds of geometry are drawn: CIRCLE"):
        lakes(drawable=Drawable(kinds=("POINT", "CIRCLE")))
    with pytest.raises(DeclarationError, match="column geom holds CURVEPOLYGON, which is not among"):
        narrow(shape("CURVEPOLYGON"))
