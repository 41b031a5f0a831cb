"""What stays with a table that gives way, or with a version that goes: told by the load's log, and by doctor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flux_assets.doctor import layers
from flux_assets.doctor.finding import Finding
from flux_assets.postgis.session import Target
from flux_assets_tests.conftest import Sql
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows

POLES = made_up()
Asked = Callable[[], list[Finding]]
OF_OTHERS = """
CREATE TABLE lamps (id varchar(20) PRIMARY KEY);
CREATE TABLE poles (id varchar(20) PRIMARY KEY, code integer UNIQUE, name text DEFAULT 'pole', secret text,
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
STAYING = [
    "view counted, everything", "materialized view copied", "function first_of(poles), tally()",
    "column of its row type inspections.whole", "lit (FOREIGN KEY (name) REFERENCES lamps(id) NOT VALID)",
    "of_pole of inspections", "rule no_delete", "trigger noted", "statistics object public.poles_code_name",
    "constraint sane (CHECK ((code >= 0)))", "index poles_upper", "default of column name", "identity of column number",
    "expression of column twice", "setting CLUSTER ON poles_pkey, REPLICA IDENTITY FULL, fillfactor=70",
    "publication layers",
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


def test_whatever_stays_with_a_table_that_is_taken_over_is_told(loader: Loader, sql: Sql, asked: Asked) -> None:
    sql(OF_OTHERS)
    before = saying(asked(), "what stays with the ordinary table public.poles").message
    loader.load(POLES, take_over=True)
    after = saying(asked(), "public.poles_before_flux, which public.poles replaced").message
    log = "\n".join(loader.log)
    assert "these views keep reading it: copied, counted, everything" in log
    assert "column secret" in log
    for said in STAYING:
        assert said in before
        assert said in log or "view" in said
        assert said.replace("poles)", "poles_before_flux)") in after.replace("poles_before_flux_", "poles_")
    assert "poles_name_idx" not in before + after
    assert "UNIQUE (code)" not in before + after


def test_what_was_made_again_on_the_layer_is_told_no_more(loader: Loader, sql: Sql, asked: Asked) -> None:
    sql("CREATE TABLE poles (id varchar(20) PRIMARY KEY, name text)")
    sql("CREATE INDEX upper ON poles (upper(name)); CREATE VIEW counted AS SELECT count(*) FROM poles")
    loader.load(POLES, take_over=True)
    sql("CREATE INDEX ON poles (upper(name::text)); CREATE OR REPLACE VIEW counted AS SELECT count(*) FROM poles")
    still = saying(asked(), "poles_before_flux").message
    assert "counted" not in still
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


def test_a_table_that_cannot_be_taken_over_for_its_policies_is_told(sql: Sql, asked: Asked) -> None:
    sql("CREATE TABLE poles (id text)")
    sql("CREATE POLICY p ON poles USING (false)")
    assert saying(asked(), "cannot be taken over: it has the policy p").outcome == "failed"
    sql("ALTER TABLE poles RENAME TO poles_before_flux")
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
    assert ("materialized view copied" in note.message, "trigger noted" in note.message) == (True, True)
    assert saying(asked(), "has policies, and row-level security is off").outcome == "warning"
    sql("ALTER TABLE poles ENABLE ROW LEVEL SECURITY; ALTER TABLE poles FORCE ROW LEVEL SECURITY")
    assert saying(asked(), "public.poles has row-level security that holds for user").outcome == "failed"
