"""Tables from outside: found in folders, packages and by entry point, left out, and refused with file and line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flux_assets.errors import FluxError, SettingError
from flux_assets.spec.catalogue import Catalogue
from flux_assets.tables import built_in, catalogue, following

VIEW = """from flux_assets.spec import View

VIEW = View.beside(
    __file__,
    inputs=({}),
    description="Moats.",
)
"""
TABLE = """from sqlalchemy import Column, MetaData, String, Table

from flux_assets.spec import DynamicTable, StaticTable
from flux_assets.spec.facts import Computed, Derived, Reference, SourceColumn

TABLE = {}(
    table=Table(
        "{}",
        MetaData(),
        Column("moat_id", String(50), primary_key=True, comment="Identifier of the pond."),
        comment="Moats.",
    ),
    {}
)
"""
SYNCED = "source={!r}, source_columns=(SourceColumn(target='moat_id', names=('MOAT_ID',), required=True),)"


def static(name: str, *arguments: str) -> str:
    return TABLE.format("StaticTable", name, ", ".join(arguments))


def computed(name: str, *inputs: str) -> str:
    return static(name, "file='none'", f"computed=Computed(query='SELECT 1', inputs=({', '.join(map(repr, inputs))},))")


def dynamic(name: str, source: str, *arguments: str) -> str:
    return TABLE.format("DynamicTable", name, ", ".join([SYNCED.format(source), *arguments]))


def written(folder: Path, files: dict[str, str]) -> Path:
    """The folder with these files; a name without an ending is that of a module."""
    for name, text in files.items():
        path = folder / (name if "." in name else f"{name}.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def declared(monkeypatch: pytest.MonkeyPatch, tables: object, without: str = "") -> Catalogue:
    monkeypatch.setenv("FLUX_TABLES", str(tables))
    monkeypatch.setenv("FLUX_WITHOUT", without)
    return catalogue()


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that modules are imported from, which are forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    return tmp_path


PONDS = {
    "moats": static("moats"),
    "moat_counts": computed("moat_counts", "moats", "substations"),
    "jugglers": dynamic("jugglers", "JUGGLERS"),
    "moat_view.py": VIEW.format("'moats', 'osm_water'"),
    "moat_view.sql": "SELECT moat_id FROM moats;",
    "_shared": "X = 1",
}


def test_a_folder_declares_a_static_a_computed_and_a_synced_table_and_a_view(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = declared(monkeypatch, written(tmp_path, PONDS))
    assert {"moats", "substations"} <= {table.name for table in found.static}
    assert "moat_counts" in {table.name for table in found.computed}
    assert {"jugglers", "work_orders"} <= {table.name for table in found.dynamic}
    assert "moat_view" in {view.name for view in found.views}
    assert found.files["jugglers"] == tmp_path / "jugglers.py"
    assert following(["moats"]) == ["moat_counts", "moat_view"]
    assert following(["osm_water"]) == ["moat_view"]


def test_a_package_is_read_with_the_packages_below_it(on_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = written(on_path / "houston_gis", {"__init__": "", "_shared": 'NAME = "moats"'})
    written(package / "water", {"__init__": "", "moats": "from houston_gis._shared import NAME\n" + static("moats")})
    written(on_path, {"jugglers_alone": dynamic("jugglers", "JUGGLERS")})
    found = declared(monkeypatch, "houston_gis, jugglers_alone")
    assert found.files["moats"] == package / "water" / "moats.py"
    assert found.files["jugglers"] == on_path / "jugglers_alone.py"


def test_an_installed_package_declares_by_its_entry_point(tmp_path: Path) -> None:
    """Nothing is set: the package alone brings its tables, as pip would install it."""
    written(tmp_path / "houston_gis", {"__init__": "", "moats": static("moats")})
    written(
        tmp_path / "houston_gis-1.0.dist-info",
        {
            "METADATA.": "Metadata-Version: 2.1\nName: houston_gis\nVersion: 1.0\n",
            "entry_points.txt": "[flux_assets.tables]\nhouston = houston_gis\n",
        },
    )
    (tmp_path / "houston_gis-1.0.dist-info" / "METADATA.").rename(tmp_path / "houston_gis-1.0.dist-info" / "METADATA")
    asking = "from flux_assets.tables import catalogue; print(catalogue().files['moats'])"
    done = subprocess.run(
        [sys.executable, "-c", asking],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == str(tmp_path / "houston_gis" / "moats.py"), done.stderr


@pytest.mark.parametrize(
    ("files", "place", "problem"),
    [
        ({"moats": "X ="}, "moats.py, line 1", "SyntaxError: invalid syntax."),
        ({"moats": "\nimport nowhere_at_all"}, "moats.py, line 2", "No module named 'nowhere_at_all'."),
        ({"moats": "from ._shared import X", "_shared": "\n\nX = 1 / 0"}, "_shared.py, line 3", "ZeroDivisionError"),
        ({"moats": "X = 1"}, "moats.py", "declares no table and no view."),
        (
            {"moats": "\nTABLE = 'moats'"},
            "moats.py, line 2",
            "TABLE is a str, and must be a StaticTable or DynamicTable",
        ),
        ({"moats": static("moats", "drow=1")}, "moats.py, line 6", "unexpected keyword argument 'drow'."),
        ({"moats": static("Moats")}, "moats.py, line 6", "table Moats: its name is not a plain lower-case identifier"),
        ({"moats": VIEW.format("'osm_water',")}, "moats.py, line 3", "No such file or directory"),
        ({"moats": computed("moats", "watr")}, "moats.py, line 13", "moats is made from watr, which no file declares."),
        ({"moats": VIEW.format("'watr',"), "moats.sql": "SELECT"}, "moats.py, line 5", "moats is made from watr"),
        ({"moats": VIEW.format("'moats',"), "moats.sql": "SELECT"}, "moats.py, line 5", "moats is made from moats."),
        (
            {"moats": static("moats", "references=(Reference(column='moat_id', to_table='mots', to_column='x'),)")},
            "moats.py, line 13",
            "moats refers to mots, which no file declares.",
        ),
        ({"a": static("moats"), "b": static("moats")}, "b.py, line 6", "moats is declared by {}/a.py already."),
        ({"a": static("substations")}, "a.py, line 6", "tables/substations.py already."),
        (
            {"jugglers": dynamic("jugglers", "WORK_ORDERS")},
            "jugglers.py, line 13",
            "are both made from the source WORK_ORDERS.",
        ),
    ],
)
def test_a_wrong_declaration_is_named_with_its_file_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], place: str, problem: str
) -> None:
    with pytest.raises(FluxError) as refused:
        declared(monkeypatch, written(tmp_path, files))
    assert f"{tmp_path}/{place}" in str(refused.value)
    assert problem.format(tmp_path) in str(refused.value)


def test_a_name_that_is_taken_says_how_to_leave_the_other_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = written(tmp_path, {"a": static("vegetation_risk")})
    with pytest.raises(FluxError, match="FLUX_WITHOUT=vegetation_risk"):
        declared(monkeypatch, folder)
    found = declared(monkeypatch, folder, without="vegetation_risk")
    assert found.files["vegetation_risk"] == folder / "a.py"
    assert "vegetation_risk_computed" in found.files


@pytest.mark.parametrize("place", ["no_such_package", "flux_assets.no_such", "./no_such_folder"])
def test_a_place_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    with pytest.raises(SettingError, match=place):
        declared(monkeypatch, place)


def test_what_is_made_from_a_table_that_is_left_out_goes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = written(tmp_path, {"plots": computed("plots", "substations"), "plot": computed("plot", "plots")})
    found = declared(monkeypatch, folder, without="substations, circuit_metadata")
    assert found.left_out["substations"] == "is left out by FLUX_WITHOUT"
    assert found.left_out["plots"] == "is made from substations, which is left out"
    assert found.left_out["plot"] == "is made from plots, which is left out"
    assert {"circuit_service_areas", "circuit_metadata", "vegetation_risk_computed"} <= set(found.left_out)
    assert not set(found.left_out) & set(found.files)
    assert not {each.to_table for table in found.tables for each in table.references} & set(found.left_out)
    known = {*found.files}
    assert all(set(view.inputs) <= known for view in found.views)


def test_all_tables_can_be_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = declared(monkeypatch, written(tmp_path, {"moats": static("moats")}), without="all")
    assert [table.name for table in found.tables] == ["moats"]
    assert set(found.left_out) == set(built_in().files)


def test_a_name_that_cannot_be_left_out_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingError, match=r"FLUX_WITHOUT names vegetation_rsk.*vegetation_risk"):
        declared(monkeypatch, "", without="vegetation_rsk")


def test_a_derived_column_of_an_unknown_table_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    joined = "here='moat_id', there='x', function='any', of_column='y', fills=True"
    derived = f"Derived(target='moat_id', from_table='{{}}', {joined})"
    for name, is_known in (("substations", True), ("substatons", False)):
        folder = written(
            tmp_path / name, {"jugglers": dynamic("jugglers", "JUGGLERS", f"derived=({derived.format(name)},)")}
        )
        if is_known:
            assert "jugglers" in declared(monkeypatch, folder).files
        else:
            with pytest.raises(FluxError, match="jugglers is derived from substatons"):
                declared(monkeypatch, folder)
