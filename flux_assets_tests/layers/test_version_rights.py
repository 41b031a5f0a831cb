"""Versions are readable by nobody but their owner, whatever default privileges say, and readers do not notice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors

from flux_assets.doctor import rights
from flux_assets.doctor.finding import Finding
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.rollback import rollback
from flux_assets.postgis.session import Target
from flux_assets.sample.cluster import OWNER, Cluster
from flux_assets_tests.conftest import Sql
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows

POLES = made_up()
GRANTED = """
SELECT c.relname, grantee::regrole FROM pg_class c, aclexplode(relacl)
WHERE relnamespace = 'flux_versions'::regnamespace AND grantee <> relowner
"""


@pytest.fixture
def web(cluster: Cluster, database: str) -> Iterator[str]:
    """A map server's role to which default privileges grant all that is made, in every schema."""
    name = f"Web {uuid4().hex[:8]}"
    with cluster.admin_session(database) as admin:
        admin.execute(f'CREATE ROLE "{name}"; GRANT "{name}" TO {OWNER}')
        for what in ("ALL ON TABLES", "ALL ON SEQUENCES", "USAGE ON SCHEMAS"):
            admin.execute(f'ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER} GRANT {what} TO "{name}", PUBLIC')
    yield f'"{name}"'
    with cluster.admin_session(database) as admin:
        admin.execute(
            f'DROP OWNED BY "{name}"; ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER} REVOKE ALL ON TABLES FROM PUBLIC'
        )
        admin.execute(f'DROP ROLE "{name}"')


@pytest.fixture
def loader(target: Target, tmp_path: Path) -> Loader:
    return Loader(target, ReleaseFolder(tmp_path / "v1"))


@pytest.fixture
def seen(target: Target, web: str) -> Iterator[Sql]:
    """Runs a statement as the map server."""
    with psycopg.connect(target.conninfo, autocommit=True) as session:
        session.execute(f"SET ROLE {web}")
        yield lambda statement: session.execute(statement).fetchall()


def asked(target: Target) -> list[Finding]:
    with target.session("doctor") as session:
        return list(rights.findings(session, "public", [POLES], []))


def test_no_version_is_for_others_whatever_default_privileges_say(
    loader: Loader, target: Target, sql: Sql, seen: Sql
) -> None:
    for count in (40, 41):
        loader.load(POLES, rows(count))
        assert seen("SELECT count(*) FROM poles") == [(count,)]
        assert seen("SELECT f_table_schema, f_table_name FROM geometry_columns") == [("public", "poles")]
        assert sql(GRANTED) == []
    rollback(POLES, target, LoadOptions(), loader.log.append)
    assert seen("SELECT count(*) FROM poles") == [(40,)]
    assert sql(GRANTED) == []
    assert not [each for each in asked(target) if "map tools list" in each.message and each.outcome != "ok"]


def test_ledger_and_quarantine_are_for_others_only_as_far_as_we_grant_them(loader: Loader, seen: Sql) -> None:
    loader.load(POLES, rows(40))
    for relation in ("quarantine", "sync_status"):
        with pytest.raises(errors.InsufficientPrivilege):
            seen(f"SELECT * FROM postgres_sync.{relation}")


def test_what_a_version_of_before_was_granted_is_found_and_taken_back(
    loader: Loader, target: Target, sql: Sql, web: str
) -> None:
    loader.load(POLES, rows(40))
    [(version,)] = sql("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'poles'::regclass")
    sql(f"GRANT SELECT ON {version} TO PUBLIC; GRANT SELECT (id) ON {version} TO {web}")
    found = [each for each in asked(target) if "has rights on 1 version in flux_versions" in each.message]
    assert [each.message.split(" has")[0] for each in found] == sorted([web, "PUBLIC"])
    for each in found:
        sql(each.remedy.split("Run ")[1].split(";")[0])
    assert not [each for each in asked(target) if "has rights on" in each.message]
    sql(f"GRANT SELECT ON {version} TO {web}")
    loader.load(POLES, rows(41))
    rollback(POLES, target, LoadOptions(), loader.log.append)
    assert sql(GRANTED) == []


def test_a_grant_on_the_quarantine_and_a_right_to_read_everything_are_told(
    loader: Loader, target: Target, sql: Sql, admin_sql: Sql, web: str
) -> None:
    loader.load(POLES, rows(40))
    sql(f"GRANT SELECT ON postgres_sync.quarantine TO {web}")
    admin_sql(f"GRANT pg_read_all_data TO {web}")
    said = " ".join(each.message for each in asked(target))
    assert f"{web} has rights on postgres_sync.quarantine" in said
    assert f"{web} may read every table (pg_read_all_data)" in said
