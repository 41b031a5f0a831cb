"""Every declaration: the facts of the data dictionary, and what holds for all of them."""

from __future__ import annotations

from datetime import timedelta
from functools import cache

import pytest
import yaml
from matplotlib.colors import is_color_like

from flux_assets.spec import DynamicTable, StaticTable, index_method, index_terms, type_ddl
from flux_assets.tables import declarations, dynamic_tables, static_tables
from flux_assets_tests.cases import CASE_FILES

every = pytest.mark.parametrize("table", declarations(), ids=lambda table: table.name)

SIMPLIFIED = {
    f"((st_simplifypreservetopology(geom, '{degrees}'::double precision))::geometry(LineString,4326))": f"lod_{name}"
    for degrees, name in {"0.001": "mid", "0.01": "overview"}.items()
}


@cache
def facts() -> dict[str, dict]:
    """The data dictionary by table, both kinds."""
    files = (CASE_FILES / "static_tables.yaml", CASE_FILES / "dynamic_tables.yaml")
    return {name: table for file in files for name, table in yaml.safe_load(file.read_text()).items()}


# A further table is in no dictionary of the published ones until somebody relies on it.
PUBLISHED = [table for table in declarations() if table.name in facts()]
in_dictionary = pytest.mark.parametrize("table", PUBLISHED, ids=lambda table: table.name)
every_static = pytest.mark.parametrize(
    "table", [table for table in PUBLISHED if table in static_tables()], ids=lambda table: table.name
)
every_dynamic = pytest.mark.parametrize(
    "table", [table for table in PUBLISHED if table in dynamic_tables()], ids=lambda table: table.name
)


def plain(type_name: str) -> str:
    return type_name.lower().replace(" ", "").replace("timestampwithouttimezone", "timestamp")


def test_the_tables_of_the_dictionary_are_declared() -> None:
    """The published names are a contract: other programs read them."""
    assert set(facts()) <= {table.name for table in declarations()}
    assert len(static_tables()) >= 10
    assert len(dynamic_tables()) >= 3


@in_dictionary
def test_columns_are_those_of_the_dictionary(table: StaticTable | DynamicTable) -> None:
    """Name, type and order; order matters to readers that copy whole rows."""
    declared = [
        (column.name, plain(type_ddl(column)) + ("" if column.nullable or column.primary_key else "notnull"))
        for column in table.columns
    ]
    assert declared == [(name, plain(kind)) for name, kind in facts()[table.name]["columns"].items()]


@in_dictionary
def test_keys_and_indexes_are_those_of_the_dictionary(table: StaticTable | DynamicTable) -> None:
    wanted = facts()[table.name]
    assert list(table.key) == wanted["key"]
    assert [list(columns) for columns in table.unique_keys] == wanted.get("unique", [])
    declared = {(index_method(index), index_terms(index)) for index in table.indexes}
    assert declared == {_index(index) for index in wanted["indexes"]}


def _index(fact: str | list[str]) -> tuple[str, tuple[str, ...]]:
    if isinstance(fact, list):
        return "btree", tuple(fact)
    return ("gist", (fact[5:-1],)) if fact.startswith("gist(") else ("btree", (fact,))


@every
def test_names_of_indexes_are_what_postgresql_would_choose(table: StaticTable | DynamicTable) -> None:
    """Users meet these names in plans and errors; a name says table and columns, and no two are equal."""
    names = [index.name for index in table.indexes]
    over = map("_".join, map(index_terms, table.indexes))
    shown = ("geography" if term.endswith("::geography)") else SIMPLIFIED.get(term, term) for term in over)
    assert names == [f"{table.name}_{term}_idx" for term in shown]
    assert max(map(len, names), default=0) <= 63


@every
def test_comments_say_something(table: StaticTable | DynamicTable) -> None:
    """Comments become descriptions in the UI and in the database: a sentence, and not the column's name again."""
    comments = {column.name: str(column.comment) for column in table.columns} | {"": table.description}
    for name, comment in comments.items():
        assert comment.endswith("."), name
        assert comment[0].isupper(), name
        assert comment.rstrip(".").lower().replace(" ", "_") != name


UNITS = {
    "_m": "metres", "_meters": "metres", "_kva": "kVA", "_mva": "MVA", "_kv": "kV", "_rad": "radians",
    "percent": "percent", "latitude": "degrees", "longitude": "degrees", "_lat": "degrees", "_lon": "degrees",
    "acres": "acres", "age_years": "years", "years_to_encroachment": "years", "geom": "EPSG:4326",
}  # fmt: skip


@every
def test_comments_name_the_unit(table: StaticTable | DynamicTable) -> None:
    """A number without its unit is read wrongly sooner or later."""
    for column in table.columns:
        for ending, unit in UNITS.items():
            if column.name.endswith(ending) and "geography" not in type_ddl(column):
                assert unit.lower() in str(column.comment).lower(), column.name
        if "timestamp" in type_ddl(column):
            assert "(UTC)" in str(column.comment), column.name


@every
def test_references_point_at_keys(table: StaticTable | DynamicTable) -> None:
    known = {other.name: other for other in declarations()}
    for reference in table.references:
        assert (reference.to_column,) == known[reference.to_table].key


@in_dictionary
def test_references_of_the_dictionary_are_declared(table: StaticTable | DynamicTable) -> None:
    declared = {reference.column: f"{reference.to_table}.{reference.to_column}" for reference in table.references}
    assert facts()[table.name].get("references", {}).items() <= declared.items()


@every
def test_every_pair_of_degrees_is_a_position(table: StaticTable | DynamicTable) -> None:
    """Degrees that no position names would be loaded unaudited."""
    degrees = {name for name in table.column_names if name.endswith(("latitude", "longitude", "_lat", "_lon"))}
    named = {name for position in table.positions for name in (position.longitude, position.latitude)}
    assert degrees == named
    for position in table.positions:
        assert "lon" in position.longitude
        assert "lat" in position.latitude
    points = {column.name for column in table.spatial_columns if "point" in type_ddl(column)}
    assert {position.same_as for position in table.positions} - {None} == points


@every
def test_scores_have_their_range(table: StaticTable | DynamicTable) -> None:
    bounds = {bound.column: (bound.minimum, bound.maximum) for bound in table.ranges}
    for name in table.column_names:
        if name.endswith("health_score"):
            assert bounds[name] == (0, 100)
        if name == "risk_score":
            assert bounds[name] == (0, 1)


@every_static
def test_layers_have_the_published_size(table: StaticTable) -> None:
    assert table.release_rows == facts()[table.name]["rows"]
    assert table.file_name == f"{table.name}.csv.gz"


@every
def test_layers_have_a_colour(table: StaticTable | DynamicTable) -> None:
    assert isinstance(table, DynamicTable) or is_color_like(table.draw)


def test_colours_tell_layers_apart() -> None:
    assert len({table.draw for table in static_tables()}) == len(static_tables())


@every_dynamic
def test_all_shapes_in_the_field_feed_the_table(table: DynamicTable) -> None:
    """Every required column is found in each shape, and no source column is named that none has."""
    wanted = facts()[table.name]
    assert table.source == wanted["source"]
    shapes = {name: set(columns) for name, columns in wanted["shapes"].items()}
    for name, columns in shapes.items():
        for column in table.source_columns:
            assert not column.required or columns & set(column.names), (name, column.target)
    for column in table.source_columns:
        assert set(column.names) <= set().union(*shapes.values()), column.target


@every_dynamic
def test_rows_taken_are_those_of_the_dictionary(table: DynamicTable) -> None:
    wanted = facts()[table.name].get("row_filter")
    taken = table.row_filter
    assert (taken is None) == (wanted is None)
    if taken:
        assert list(taken.open_statuses) == wanted["open"]
        assert taken.window == timedelta(days=wanted["days"])
        required = {column.target for column in table.source_columns if column.required}
        assert {taken.status_column, taken.time_column} <= required
