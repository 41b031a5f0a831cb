"""Views as declared: made, kept, made again, never against somebody who reads them."""

from pathlib import Path

import pytest

from flux_assets.errors import LayerError
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.views import is_as_declared, make_view
from flux_assets.postgis.session import Target
from flux_assets.spec import View
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows

QUERY = "SELECT id, name, score FROM poles"
LOG: list[str] = []


def view(query: str = QUERY) -> View:
    return View(name="pole_list", description="Poles by name.", inputs=("poles",), query=query)


def made(target: Target, query: str = QUERY) -> bool:
    return make_view(view(query), target, LoadOptions(), LOG.append)


@pytest.fixture
def loader(target: Target, tmp_path: Path) -> Loader:
    loader = Loader(target, ReleaseFolder(tmp_path / "v1"))
    loader.load(made_up(), rows(4))
    return loader


def test_it_is_made_once_and_reads_each_version_of_its_layer(loader, sql):
    assert made(loader.target)
    assert not made(loader.target)
    assert not made(loader.target, f"{QUERY} -- as they come")
    assert is_as_declared(view(), loader.target, LoadOptions())
    assert sql("SELECT count(*) FROM pole_list") == [(4,)]
    loader.load(made_up(), rows(9))
    assert sql("SELECT count(*) FROM pole_list") == [(9,)]
    assert sql("SELECT obj_description('pole_list'::regclass)") == [("Poles by name.",)]


@pytest.mark.parametrize(
    "change",
    [
        "CREATE OR REPLACE VIEW pole_list AS SELECT id, name, score * 2 AS score FROM poles",
        "DROP VIEW pole_list",
        "ALTER VIEW pole_list RENAME COLUMN name TO title",
    ],
)
def test_what_somebody_changed_is_made_again(loader, sql, change):
    made(loader.target)
    sql(change)
    assert not is_as_declared(view(), loader.target, LoadOptions())
    assert made(loader.target)
    assert is_as_declared(view(), loader.target, LoadOptions())


@pytest.mark.parametrize(
    "query", [f"{QUERY} WHERE score > 1", "SELECT id, score FROM poles", "SELECT name, id FROM poles"]
)
def test_another_declaration_changes_it_and_rights_stay(loader, sql, admin_sql, query):
    made(loader.target)
    admin_sql("CREATE ROLE app_of_views")
    try:
        sql("GRANT SELECT ON pole_list TO app_of_views WITH GRANT OPTION")
        assert made(loader.target, query)
        assert is_as_declared(view(query), loader.target, LoadOptions())
        assert sql("SELECT has_table_privilege('app_of_views', 'pole_list', 'SELECT WITH GRANT OPTION')") == [(True,)]
    finally:
        admin_sql("DROP OWNED BY app_of_views")
        admin_sql("DROP ROLE app_of_views")


@pytest.mark.parametrize("query", [f"{QUERY} WHERE score > 1", "SELECT id, score FROM poles"])
def test_a_view_of_the_old_loader_still_answers_those_who_may_read_nothing_else(loader, sql, admin_sql, query):
    sql("CREATE VIEW pole_list WITH (security_barrier) AS SELECT id, name FROM poles")
    admin_sql("CREATE ROLE old_app")
    try:
        sql("GRANT SELECT ON pole_list TO old_app")
        assert made(loader.target, query)
        admin_sql("SET ROLE old_app")
        admin_sql("SELECT count(id) FROM pole_list")
        assert sql("SELECT reloptions FROM pg_class WHERE oid = 'pole_list'::regclass") == [
            (["security_barrier=true"],)
        ]
    finally:
        admin_sql("RESET ROLE")
        admin_sql("DROP OWNED BY old_app")
        admin_sql("DROP ROLE old_app")


def test_columns_that_others_read_are_not_taken_away(loader, sql):
    made(loader.target)
    sql("CREATE VIEW report AS SELECT name FROM pole_list")
    with pytest.raises(LayerError, match="takes what it was from report, which reads it"):
        made(loader.target, "SELECT id FROM poles")
    assert sql("SELECT count(*) FROM report") == [(4,)]
    assert made(loader.target, f"{QUERY} WHERE score > 1")  # the same columns
    assert sql("SELECT count(*) FROM report") == [(0,)]


def test_something_else_of_its_name_stays(loader, sql):
    sql("CREATE TABLE pole_list (id integer)")
    with pytest.raises(LayerError, match="something else has its name"):
        made(loader.target)
    assert sql("SELECT count(*) FROM pole_list") == [(0,)]


def test_a_materialized_view_of_its_name_gives_way_and_its_readers_still_read(loader, sql, admin_sql):
    sql("CREATE MATERIALIZED VIEW pole_list AS SELECT id, name FROM poles; CREATE VIEW report AS TABLE pole_list")
    with pytest.raises(LayerError, match="report, which reads it"):
        made(loader.target)
    sql("DROP VIEW report; CREATE TABLE pole_list_before_flux ()")
    admin_sql("CREATE ROLE old_app")
    try:
        sql("GRANT SELECT ON pole_list TO old_app")
        assert made(loader.target)
        assert not made(loader.target)
        admin_sql("SET ROLE old_app")
        assert admin_sql("SELECT count(score) FROM pole_list") == [(4,)]
    finally:
        admin_sql("RESET ROLE")
        admin_sql("DROP OWNED BY old_app")
        admin_sql("DROP ROLE old_app")
    assert sql("SELECT count(*) FROM pole_list_before_flux_2") == [(4,)]


def test_it_reads_the_layers_of_its_own_schema_also_where_postgis_has_tables_of_their_names(loader, sql):
    sql("CREATE SCHEMA beside")
    beside = Target(conninfo=loader.target.conninfo, schema="beside")
    Loader(beside, loader.source).load(made_up(), rows(7))
    assert made(beside)
    assert sql("SELECT count(*) FROM beside.pole_list") == [(7,)]


def test_an_input_that_was_never_loaded_is_named(target):
    with pytest.raises(LayerError, match=r"relation \"poles\" does not exist.*Load what it reads \(poles\)"):
        made(target)


def test_it_shows_nobody_rows_that_a_policy_hides(loader, sql, admin_sql):
    made(loader.target)
    admin_sql("CREATE ROLE reader_of_views")
    try:
        sql("GRANT SELECT ON poles, pole_list TO reader_of_views")
        sql("ALTER TABLE poles ENABLE ROW LEVEL SECURITY")
        admin_sql("SET ROLE reader_of_views")
        assert admin_sql("SELECT count(*) FROM pole_list") == [(0,)]
    finally:
        admin_sql("RESET ROLE")
        admin_sql("DROP OWNED BY reader_of_views")
        admin_sql("DROP ROLE reader_of_views")
