"""Plain CSV with geometry as WKT, as hexadecimal EWKB, or as two columns of degrees."""

from __future__ import annotations

from pathlib import Path

import pytest
from geoalchemy2 import Geometry
from sqlalchemy import Column, Double, MetaData, String, Table

from flux_assets.errors import RecordError, ReleaseError, SettingError
from flux_assets.release.formats.mapping import LayerMapping
from flux_assets.spec import StaticTable
from flux_assets.spec.facts import Position
from flux_assets_tests.release.formats.made_files import read, shapes

HEX = "0101000020E610000000000000000024400000000000004940"


def valves(kind: str = "POINT", *, position: bool = False) -> StaticTable:
    axes = [Column(name, Double, comment="Degrees.") for name in ("longitude", "latitude")] if position else []
    table = Table(
        "valves",
        MetaData(),
        Column("id", String(9), primary_key=True, comment="Identifier."),
        Column("height", Double, comment="Metres."),
        *axes,
        Column("geom", Geometry(kind, srid=4326, spatial_index=False), comment="Where."),
        comment="Made-up valves.",
    )
    positions = (Position(longitude="longitude", latitude="latitude", same_as="geom"),) if position else ()
    return StaticTable(table=table, positions=positions, release_rows=3)


def written(folder: Path, text: str) -> Path:
    path = folder / "valves.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["geom", "WKT", "geometry", "the_geom"])
def test_wkt_under_the_names_that_tools_give_it(tmp_path: Path, name: str) -> None:
    path = written(
        tmp_path, f'{name},id,height\n"POINT (10 50)",007,1.5\n,008,\nSRID=4326;POINT(1 2),009,2\n{HEX},010,\n'
    )
    found = read(path, valves())
    assert found["id"].to_pylist() == ["007", "008", "009", "010"]
    assert found["height"].to_pylist() == [1.5, None, 2, None]
    assert shapes(found) == ["POINT (10 50)", None, "POINT (1 2)", "POINT (10 50)"]


def test_longitude_and_latitude_of_a_position_make_its_point(tmp_path: Path) -> None:
    path = written(tmp_path, "id,height,longitude,latitude\n1,2,10,50\n2,3,,\n")
    found = read(path, valves(position=True))
    assert shapes(found) == ["POINT (10 50)", None]
    assert found["longitude"].to_pylist() == [10, None]


def test_columns_of_another_system_make_points_in_degrees(tmp_path: Path) -> None:
    path = written(tmp_path, "id,HEIGHT_FT,X,Y\n1,10,1113194.90793274,6446275.84101716\n")
    said = {"longitude": "X", "latitude": "y", "crs": "EPSG:3857"}
    mapping = LayerMapping.model_validate(said | {"columns": {"height": {"column": "height_ft", "factor": 0.3048}}})
    found = read(path, valves(), mapping)
    assert found["height"].to_pylist() == [pytest.approx(3.048)]
    assert shapes(found)[0].startswith("POINT (10 50") or shapes(found)[0].startswith("POINT (9.99999")


REFUSED = {
    "no WKT": (
        "id,height,geom\n1,2,POINT(1 2)\n2,3,POINT 7\n",
        "line 3, column geom, value 'POINT 7': it is not",
    ),
    "another kind": ('id,height,geom\n1,2,"LINESTRING(1 2,3 4)"\n', "line 2, column geom.*it is a LINESTRING"),
    "no number": ("id,height,geom\n1,two,POINT(1 2)\n", "line 2, column height, value 'two': it is not a number"),
    "too many values": ("id,height,geom\n1,2,POINT(1 2),3\n", "line 2.*the record has 4 values"),
    "no geometry": ("id,height\n1,2\n", "missing: geom"),
    "an open quote": ('id,height,geom\n1,"2,POINT(1 2)\n', "a quote opens here and never closes"),
    "nothing": ("", "nothing, not even a header"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_fault_is_named_with_its_place(tmp_path: Path, fault: str) -> None:
    text, word = REFUSED[fault]
    with pytest.raises((RecordError, ReleaseError), match=word):
        read(written(tmp_path, text), valves())


def test_flux_config_maps_layers_and_refuses_what_is_not_there(tmp_path: Path) -> None:
    config = tmp_path / "flux.toml"
    config.write_text(
        '[layers.valves]\ncrs = "EPSG:3857"\n[layers.valves.columns]\nheight = "H"\n[FAULTS]\nobject = "F"\n'
    )
    mapping = LayerMapping.configured(config, [valves()])["valves"]
    assert (mapping.crs, mapping.columns["height"].column) == ("EPSG:3857", "H")
    assert mapping.digest != LayerMapping().digest
    for text, word in (
        ("[layers.vales]\n", r"layers\.vales: no such layer; there are valves"),
        ("[layers.valves]\nzed = 1\n", r"layers\.valves: zed: no such key; there are layer, columns"),
        ("[layers.valves.columns]\nhigh = 'H'\n", r"layers\.valves\.columns\.high: no such column; there are id"),
        ("layers = 3\n", r"layers\.layers: no such layer"),
        ("[layers.valves]\nencoding = 'latin9x'\n", r"encoding = 'latin9x': is no encoding that is known"),
        ("[layers.valves]\ncurves = 'keep'\n", r"curves = 'keep': must be 'refuse' or 'linearise'"),
        ("[layers.valves]\nz = 'keep'\n", r"z = 'keep': must be 'refuse' or 'drop'"),
    ):
        config.write_text(text)
        with pytest.raises(SettingError, match=word):
            LayerMapping.configured(config, [valves()])
