"""The vocabulary of declarations: nonsense is refused, and the digest follows what shapes stored rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa
from geoalchemy2 import Geography, Geometry

from flux_assets.spec import (
    DeclarationError,
    DynamicTable,
    StaticTable,
    index_method,
    index_terms,
    type_ddl,
)
from flux_assets.spec.assignments import with_assignments
from flux_assets.spec.facts import (
    AcceptedValues,
    Assignment,
    Derived,
    Freshness,
    Position,
    Range,
    Reference,
    RowFilter,
    SourceColumn,
    Volume,
)


def key() -> sa.Column:
    return sa.Column("id", sa.String(20), primary_key=True, comment="Identifier.")


def place(**options: object) -> sa.Column:
    shape = Geometry("POINT", **{"srid": 4326, "spatial_index": False} | options)
    return sa.Column("geom", shape, comment="Where it is.")


def plants(*parts: sa.schema.SchemaItem, name: str = "plants", **options: object) -> sa.Table:
    return sa.Table(name, sa.MetaData(), *(parts or (key(),)), **{"comment": "Plants."} | options)


def static(*parts: sa.schema.SchemaItem, **facts: object) -> StaticTable:
    return StaticTable(table=plants(*parts), release_rows=3, **facts)


def dynamic(*parts: sa.schema.SchemaItem, **facts: object) -> DynamicTable:
    usual = {"source": "PLANTS", "source_columns": (SourceColumn(target="id", names=("ID",)),)}
    return DynamicTable(table=plants(*parts), **usual | facts)


def fed(*targets: str) -> tuple[SourceColumn, ...]:
    return tuple(SourceColumn(target=target, names=(target.upper(),)) for target in targets)


def count(**facts: object) -> Derived:
    usual = {"target": "beds", "from_table": "beds", "here": "id", "there": "plant", "function": "count"}
    return Derived(**usual | facts)


def derives(**facts: object) -> DynamicTable:
    return dynamic(key(), text("beds"), derived=(count(**facts),))


def rows(status: str, time: str) -> RowFilter:
    return RowFilter(status_column=status, open_statuses=("OPEN",), time_column=time, window=timedelta(days=1))


def text(name: str, comment: str | None = "Text.") -> sa.Column:
    return sa.Column(name, sa.String(20), comment=comment)


NONSENSE: dict[str, tuple[Callable[[], object], str]] = {
    "table name": (lambda: StaticTable(table=plants(name="Plants"), release_rows=1), "not a plain lower-case"),
    "long table name": (lambda: StaticTable(table=plants(name="p" * 64), release_rows=1), "at most 63"),
    "schema": (lambda: StaticTable(table=plants(schema="public"), release_rows=1), "names a schema"),
    "table comment": (lambda: StaticTable(table=plants(comment=None), release_rows=1), "has no comment"),
    "foreign key": (
        lambda: static(key(), sa.Column("pot", sa.ForeignKey("pots.id"), type_=sa.String(20), comment="Pot.")),
        "declare a Reference",
    ),
    "column name": (lambda: static(key(), text("Name")), "'Name' is not a plain"),
    "column comment": (lambda: static(key(), text("name", comment=None)), "name has no comment"),
    "column type": (lambda: static(key(), sa.Column("seen", sa.Time, comment="When.")), "no release file carries"),
    "serial": (lambda: static(sa.Column("id", sa.Integer, primary_key=True, comment="Number.")), "become SERIAL"),
    "srid": (lambda: static(key(), place(srid=3857)), "SRID 3857"),
    "automatic index": (lambda: static(key(), place(spatial_index=True)), "automatic index"),
    "reference": (
        lambda: static(references=(Reference(column="pot", to_table="pots", to_column="id"),)),
        "does not have: pot",
    ),
    "range": (lambda: static(ranges=(Range(column="height", minimum=0, maximum=1),)), "does not have: height"),
    "nothing accepted": (lambda: static(accepted=(AcceptedValues(column="id", values=()),)), "no value of id is acc"),
    "impossible volume": (lambda: static(volume=Volume(minimum=2, maximum=1)), "a minimum above its maximum"),
    "empty range": (lambda: static(ranges=(Range(column="id", minimum=1, maximum=1),)), "range of id is empty"),
    "position": (
        lambda: static(key(), text("x"), positions=(Position(longitude="x", latitude="y"),)), "does not have: y"
    ),
    "position's twin": (
        lambda: static(key(), positions=(Position(longitude="id", latitude="id", same_as="geom"),)),
        "does not have: geom",
    ),
    "no key to merge by": (lambda: dynamic(text("id")), "no primary key"),
    "two origins": (lambda: dynamic(changed_column="id"), "two origins: id"),
    "origin of nothing": (lambda: dynamic(arrived_column="age"), "origins of columns it does not have: age"),
    "no origin": (lambda: dynamic(key(), text("name")), "without an origin: name"),
    "unnamed source": (
        lambda: dynamic(source_columns=(SourceColumn(target="id", names=()),)), "source columns without a name: id"
    ),
    "rows by an unfed column": (
        lambda: dynamic(
            key(), text("state"), text("seen"),
            source_columns=fed("id", "state"), changed_column="seen", row_filter=rows("state", "seen"),
        ),
        "no source column feeds: seen",
    ),
    "derived from itself": (lambda: derives(from_table="plants"), "from the table itself"),
    "derived by an unfed column": (lambda: derives(here="age"), "derived by age, which no source"),
    "filling what is not there": (lambda: derives(fills=True), "without an origin: beds"),
    "a count of a column": (lambda: derives(of_column="x"), "count takes rows"),
    "a mean of nothing": (lambda: derives(function="avg"), "avg and any take a column"),
    "two halves of a count": (lambda: derives(other_axis="y"), "is not a mean of positions"),
    "half a condition": (lambda: derives(where_column="state"), "half of a condition"),
    "any number may vanish": (lambda: dynamic(vanished_share=0), "not between 0 and 1"),
    "fails before it warns": (
        lambda: dynamic(freshness=Freshness(warn=timedelta(minutes=5), fail=timedelta(minutes=5))), "before it warns"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("declare", "said"), NONSENSE.values(), ids=NONSENSE.keys())
def test_nonsense_is_refused_with_the_table_named(declare: Callable[[], object], said: str) -> None:
    with pytest.raises(DeclarationError, match=r"^table [Pp]") as refused:
        declare()
    assert said in str(refused.value)


def test_sense_is_accepted() -> None:
    table = dynamic(
        key(), text("state"), sa.Column("seen", sa.DateTime, comment="When."), place(),
        sa.Column("lon", sa.Double, comment="Degrees."), sa.Column("lat", sa.Double, comment="Degrees."),
        source_columns=fed("id", "state", "seen", "lon", "lat"), row_filter=rows("state", "seen"),
        positions=(Position(longitude="lon", latitude="lat", same_as="geom"),),
    )  # fmt: skip
    assert table.name == "plants"
    assert table.description == "Plants."
    assert table.key == ("id",)
    assert table.column_names == ("id", "state", "seen", "geom", "lon", "lat")
    assert table.source_filled == ("id", "state", "seen", "lon", "lat")
    assert table.computed == ("geom",)
    assert [column.name for column in table.spatial_columns] == ["geom"]


CHANGES: dict[str, Callable[[], StaticTable]] = {
    "a column more": lambda: static(key(), text("name"), text("kind")),
    "a column less": lambda: static(key()),
    "another type": lambda: static(key(), sa.Column("name", sa.String(21), comment="Text.")),
    "not null": lambda: static(key(), sa.Column("name", sa.String(20), nullable=False, comment="Text.")),
    "another order": lambda: static(text("name"), key()),
    "another key": lambda: static(text("id"), sa.Column("name", sa.String(20), primary_key=True, comment="Text.")),
    "a unique column": lambda: static(key(), text("name"), sa.UniqueConstraint("name")),
    "an index": lambda: static(key(), text("name"), sa.Index("plants_name_idx", "name")),
}


@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES.keys())
def test_what_shapes_rows_changes_the_digest(changed: Callable[[], StaticTable]) -> None:
    assert changed().digest != static(key(), text("name")).digest


SAME: dict[str, Callable[[], StaticTable]] = {
    "a column's comment": lambda: static(key(), text("name", comment="Reworded.")),
    "the table's comment": lambda: StaticTable(
        table=plants(key(), text("name"), comment="Reworded."), release_rows=3
    ),
    "facts that are only judged": lambda: static(
        key(), text("name"), references=(Reference(column="name", to_table="names", to_column="name"),), draw="red"
    ),
}  # fmt: skip


@pytest.mark.parametrize("same", SAME.values(), ids=SAME.keys())
def test_words_do_not_change_the_digest(same: Callable[[], StaticTable]) -> None:
    assert same().digest == static(key(), text("name")).digest


def test_an_index_method_changes_the_digest_and_its_name_does_not() -> None:
    def indexed(name: str, **options: str) -> StaticTable:
        return static(key(), text("name"), sa.Index(name, "name", **options))

    assert indexed("a").digest == indexed("b").digest
    assert indexed("a").digest != indexed("a", postgresql_using="hash").digest


def test_an_index_over_an_expression_is_one_by_its_text() -> None:
    def indexed(expression: str) -> StaticTable:
        index = sa.Index("plants_geography_idx", sa.text(expression), postgresql_using="gist")
        return static(key(), place(), index)

    (index,) = indexed("(geom)::geography").indexes
    assert index_terms(index) == ("((geom)::geography)",)
    assert indexed("(geom)::geography").digest == indexed("(geom)::geography").digest
    assert indexed("(geom)::geography").digest != indexed("st_centroid(geom)").digest


def test_an_index_over_what_is_neither_column_nor_text_is_refused() -> None:
    with pytest.raises(DeclarationError, match=r"indexes over what is no column and no text\(…\): plants_upper_idx"):
        static(key(), sa.Index("plants_upper_idx", sa.func.upper(sa.literal_column("id"))))


def test_types_and_indexes_read_as_postgresql_writes_them() -> None:
    geography = sa.Column("area", Geography("POLYGON", srid=4326, spatial_index=False), comment="Area.")
    table = static(
        key(), place(), geography,
        sa.Index("plants_geom_idx", "geom", postgresql_using="gist"), sa.Index("plants_both_idx", "id", "geom"),
    )  # fmt: skip
    assert [type_ddl(column) for column in table.columns] == [
        "varchar(20)", "geometry(point,4326)", "geography(polygon,4326)",
    ]  # fmt: skip
    assert [column.name for column in table.spatial_columns] == ["geom", "area"]
    assert [(index_method(index), tuple(index.columns.keys())) for index in table.indexes] == [
        ("btree", ("id", "geom")), ("gist", ("geom",)),
    ]  # fmt: skip


def test_a_layer_knows_its_file() -> None:
    assert static().file_name == "plants.csv.gz"


@pytest.mark.parametrize(("rows", "allowed"), [(0, 0), (1, 0.5), (20, 10), (39, 19.5), (40, 20), (100, 20), (200, 40)])
def test_how_many_rows_may_vanish_depends_on_how_many_there_are(rows: int, allowed: float) -> None:
    assert dynamic(vanished_share=0.2, vanished_minimum=20).may_vanish(rows) == allowed


def test_rows_belong_to_what_counts_them() -> None:
    """Those that are counted, and all that are open; what looks a value up leaves most rows alone."""
    plants = dynamic(
        key(), text("state"), text("bed"), text("seen"), source_columns=fed("id", "state", "bed", "seen"),
        row_filter=rows("state", "seen"),
    )  # fmt: skip
    beds = DynamicTable(
        table=sa.Table("beds", sa.MetaData(), key(), text("dead"), text("name"), comment="Beds."),
        source="BEDS", source_columns=fed("id"),
        derived=(
            count(target="dead", from_table="plants", there="bed", where_column="state", where_values=("DEAD",)),
            count(target="name", from_table="plants", there="id", function="any", of_column="state"),
        ),
    )  # fmt: skip
    judged = Assignment(
        column="bed", to_table="beds", to_column="id", where_column="state", where_values=("DEAD", "OPEN"),
        required=True,
    )  # fmt: skip
    counted, taker = with_assignments([plants, beds])
    assert (counted.assignments, counted.digest) == ((judged,), plants.digest)
    assert taker is beds
