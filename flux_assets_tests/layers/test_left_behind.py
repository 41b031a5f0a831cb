"""What stays with a table that gives way, or with a version that goes: told by the load's log, and by doctor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from flux_assets.doctor import layers
from flux_assets.doctor.finding import Finding
from flux_assets.errors import LayerError
from flux_assets.postgis.session import Target
from flux_assets_tests.conftest import Sql
from flux_assets_tests.made_layers import Loader, ReleaseFolder, columns, made_up, rows

POLES = made_up()
Asked = Callable[[], list[Finding]]
OF_OTHERS = """
CREATE TABLE lamps (id varchar(50) PRIMARY KEY);
CREATE TABLE poles (id varchar(20) PRIMARY KEY, code integer UNIQUE, name varchar(50) DEFAULT 'pole', secret text,
    number integer GENERATED ALWAYS AS IDENTITY, twice integer GENERATED ALWAYS AS (code * 2) STORED,
    CONSTRAINT sane CHECK (code >= 0)) WITH (fillfactor = 70);
CREATE INDEX poles_name_idx ON poles (name); CREATE INDEX poles_upper ON poles (upper(name));
ALTER TABLE poles ADD CONSTRAINT lit FOREIGN KEY (name) REFERENCES lamps NOT VALID;
CREATE TABLE inspections (pole varchar(20) CONSTRAINT of_pole REFERENCES poles, whole poles);
CREATE VIEW everything AS SELECT p FROM poles p; CREATE VIEW counted AS SELECT count(*) FROM poles;
CREATE MATERIALIZED VIEW copied AS SELECT name FROM poles;
CREATE FUNCTION tally() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM poles; END;
CREATE FUNCTION first_of(poles) RETURNS text LANGUAGE sql AS 'SELECT $1.name';
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER noted AFTER INSERT ON poles FOR EACH ROW EXECUTE FUNCTION note();
CREATE RULE no_delete AS ON DELETE TO poles DO INSTEAD NOTHING;
CREATE STATISTICS poles_code_name ON code, name FROM poles;
ALTER TABLE poles REPLICA IDENTITY FULL; ALTER TABLE poles CLUSTER ON poles_pkey;
CREATE PUBLICATION layers FOR TABLE poles
"""
IN_THE_WAY = [
    "column of its row type inspections.whole", "inbound foreign key of_pole of inspections",
    "view everything stands in the way: its column p holds whole rows of the old table",
]  # fmt: skip
STAYING = [
    "column secret", "identity of column number", "setting CLUSTER ON poles_pkey", "setting fillfactor=70",
]  # fmt: skip
COMING = [
    "view counted reads the new table", "materialized view copied is filled",
    "its readers wait while that is done, unless it gets a unique index (CREATE UNIQUE INDEX ON public.copied …)",
    "function first_of(poles) reads the new table; a call during the swap may fail once",
    "function tally() reads", "constraint lit (FOREIGN KEY", "rule no_delete", "trigger noted", "index poles_upper",
    "statistics object public.poles_code_name", "constraint sane (CHECK", "default of column name",
    "generated column twice", "setting REPLICA IDENTITY FULL", "publication layers",
]  # fmt: skip


@pytest.fixture
def loader(target: Target, tmp_path: Path) -> Loader:
    folder = ReleaseFolder(tmp_path / "v1")
    folder.write(POLES, rows(5))
    return Loader(target, folder)


@pytest.fixture
def asked(target: Target) -> Asked:
    """What doctor says of the layer."""

    def ask() -> list[Finding]:
        with target.session("doctor") as session:
            return list(layers.findings(session, "public", [POLES]))

    return ask


def saying(found: list[Finding], words: str) -> Finding:
    fitting = [finding for finding in found if words in finding.message]
    assert len(fitting) == 1, [finding.message for finding in found]
    return fitting[0]


def test_what_becomes_of_all_that_hangs_on_a_table_is_told(loader: Loader, sql: Sql, asked: Asked) -> None:
    sql(OF_OTHERS)
    refused = saying(asked(), "public.poles cannot be taken over").message
    with pytest.raises(LayerError) as caught:
        loader.load(POLES, take_over=True, drop_foreign_keys=True)
    for said in IN_THE_WAY:
        assert said in refused
        assert said in caught.value.problem or "foreign key" in said
    sql("DROP VIEW everything; ALTER TABLE inspections DROP whole, DROP CONSTRAINT of_pole")
    before = saying(asked(), "public.poles is a plain table").remedy.replace(": ", " ")
    sql("DROP TABLE lamps CASCADE")
    loader.load(POLES, take_over=True)
    log = "\n".join(loader.log)
    for said in (*STAYING, *COMING):
        assert said in before
        assert said in log or "lit" in said
    after = saying(asked(), "public.poles_before_flux, which public.poles replaced").message
    assert "identity of column number" in after
    assert [said for said in COMING if said.split(" (")[0] in after] == []
    assert "poles_name_idx" not in after
    assert "UNIQUE (code)) is declared too" in before
    assert "UNIQUE (code)" not in after


def test_a_declared_index_with_a_long_expression_is_no_ones_but_the_layers(loader: Loader, target: Target) -> None:
    term = "(st_setsrid(st_makepoint(longitude, latitude), 4326))::geography"
    parts = [*columns(), sa.Index("poles_on_earth", sa.text(term), postgresql_using="gist")]
    layer = made_up(parts=parts)
    loader.load(layer, rows(5))
    with target.session("doctor") as session:
        found = list(layers.findings(session, "public", [layer]))
    assert [finding.message for finding in found if finding.outcome == "warning"] == []


def test_what_was_made_again_on_the_layer_is_told_no_more(loader: Loader, sql: Sql, asked: Asked) -> None:
    sql("CREATE TABLE poles (id varchar(20) PRIMARY KEY, name text)")
    sql("ALTER TABLE poles RENAME TO poles_before_flux")
    sql("CREATE VIEW counted AS SELECT count(*) FROM poles_before_flux")
    loader.load(POLES)
    assert "counted" in saying(asked(), "poles_before_flux").message
    sql("CREATE OR REPLACE VIEW counted AS SELECT count(*) FROM poles")
    assert not [each for each in asked() if "poles_before_flux" in each.message]
    sql("CREATE INDEX upper ON poles_before_flux (upper(name))")
    assert "upper" in saying(asked(), "poles_before_flux").message
    sql("CREATE INDEX ON poles (upper(name::text))")
    assert saying(asked(), "poles_before_flux")
    sql("DROP TABLE poles_before_flux")
    assert not [each for each in asked() if "poles_before_flux" in each.message]


def test_policies_that_came_to_the_old_table_later_are_told(loader: Loader, sql: Sql, asked: Asked) -> None:
    sql("CREATE TABLE poles (id text)")
    loader.load(POLES, take_over=True)
    sql("ALTER TABLE poles_before_flux ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON poles_before_flux USING (false)")
    found = saying(asked(), "poles_before_flux has row-level security and the policy p, and public.poles has not")
    assert found.outcome == "warning"
    sql("ALTER TABLE poles ENABLE ROW LEVEL SECURITY")
    assert not [each for each in asked() if "poles_before_flux has" in each.message]


def test_a_table_that_was_renamed_with_its_policies_is_told(sql: Sql, asked: Asked) -> None:
    sql("CREATE TABLE poles_before_flux (id text)")
    sql("CREATE POLICY p ON poles_before_flux USING (false)")
    assert saying(asked(), "public.poles is not created while public.poles_before_flux has the policy p")


def test_what_stands_on_a_version_is_told_to_go_with_it(loader: Loader, sql: Sql, asked: Asked) -> None:
    loader.load(POLES)
    assert not [each for each in asked() if "drops what depends on its version" in each.message]
    [(version,)] = sql("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'poles'::regclass")
    sql(f"CREATE VIEW direct AS SELECT count(*) FROM {version}; CREATE INDEX by_score ON {version} (score)")
    sql(f"CREATE STATISTICS of_version ON code, name FROM {version}; CREATE PUBLICATION one FOR TABLE {version}")
    sql(f"ALTER TABLE {version} ENABLE ROW LEVEL SECURITY; CREATE INDEX ON poles (upper(name))")
    said = saying(asked(), "the next publish of public.poles drops what depends on its version").message
    for name in ("view direct", "by_score", "of_version", "publication one"):
        assert name in said
    assert "upper" not in said
    assert saying(asked(), "the version of public.poles has row-level security, which do not apply to readers")


def test_what_a_publish_does_not_reach_is_told(loader: Loader, sql: Sql, asked: Asked) -> None:
    loader.load(POLES)
    sql("CREATE MATERIALIZED VIEW copied AS SELECT name FROM poles; CREATE POLICY p ON poles USING (true)")
    sql("CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
    sql("CREATE TRIGGER noted AFTER INSERT ON poles FOR EACH ROW EXECUTE FUNCTION note()")
    note = saying(asked(), "a load of public.poles swaps whole versions")
    assert "trigger noted" in note.message
    assert "materialized view public.copied, whose readers wait" in saying(asked(), "copied").message
    assert saying(asked(), "has policies, and row-level security is off").outcome == "warning"
    sql("ALTER TABLE poles ENABLE ROW LEVEL SECURITY; ALTER TABLE poles FORCE ROW LEVEL SECURITY")
    assert saying(asked(), "public.poles has row-level security that holds for user").outcome == "failed"
