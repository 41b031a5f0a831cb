"""Logical replication of layers to a second database: what a subscriber gets by each kind of publication."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from flux_assets.doctor import layers
from flux_assets.postgis.session import Target
from flux_assets.sample.cluster import OWNER, Cluster
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows

pytestmark = pytest.mark.bare

POLES = made_up()
PUBLICATIONS = {
    "by_root": "FOR TABLE poles WITH (publish_via_partition_root = true)",
    "by_leaf": "FOR TABLE poles",
    "by_schema": "FOR TABLES IN SCHEMA public WITH (publish_via_partition_root = true)",
    "everything": "FOR ALL TABLES WITH (publish_via_partition_root = true)",
    "versions": "FOR TABLES IN SCHEMA flux_versions",
}
_DEADLINE_SECONDS = 60


@pytest.fixture
def publisher(new_home: Path) -> Cluster:
    cluster = Cluster(new_home)
    cluster.start()
    with cluster.admin_session() as admin:
        admin.execute("ALTER SYSTEM SET wal_level = logical")
        admin.execute("ALTER SYSTEM SET wal_retrieve_retry_interval = '100ms'")
    cluster.stop()
    for name in ("maps", "elsewhere"):
        cluster.ensure_map_database(name)
    return cluster


@pytest.fixture
def elsewhere(publisher: Cluster) -> Iterator[psycopg.Connection]:
    """The subscriber, as a superuser."""
    with psycopg.connect(publisher.conninfo("elsewhere", admin=True), autocommit=True) as session:
        session.execute(
            "CREATE TABLE poles (id varchar(20), code int, name varchar(50), score float8, longitude float8,"
            " latitude float8, parent_id varchar(20), geom geometry(Point, 4326)); CREATE SCHEMA flux_versions"
        )
        yield session
        for (name,) in session.execute("SELECT subname FROM pg_subscription").fetchall():
            session.execute(f"ALTER SUBSCRIPTION {name} DISABLE")
            session.execute(f"ALTER SUBSCRIPTION {name} SET (slot_name = NONE); DROP SUBSCRIPTION {name}")


def eventually(question: Callable[[], object], answer: object) -> None:
    deadline = monotonic() + _DEADLINE_SECONDS
    while (found := question()) != answer and monotonic() < deadline:
        sleep(0.05)
    assert found == answer


def test_what_a_subscriber_gets(publisher: Cluster, elsewhere: psycopg.Connection, tmp_path: Path) -> None:
    target = Target(conninfo=publisher.conninfo("maps"))
    loader = Loader(target, ReleaseFolder(tmp_path / "v1"))
    loader.load(POLES, rows(40))

    known = conninfo_to_dict(publisher.conninfo("maps", admin=True))
    where = make_conninfo(**{name: known[name] for name in ("host", "port", "user", "password", "dbname")})

    def subscribed(publication: str) -> None:
        with publisher.admin_session("maps") as admin:
            admin.execute(f"SELECT pg_create_logical_replication_slot('{publication}', 'pgoutput')")
        elsewhere.execute(
            f"CREATE SUBSCRIPTION {publication} CONNECTION '{where}'"
            f" PUBLICATION {publication} WITH (create_slot = false)"
        )

    with publisher.admin_session("maps") as admin:
        for name, what in PUBLICATIONS.items():
            admin.execute(f"CREATE PUBLICATION {name} {what}")
        admin.execute(f"CREATE TABLE beat (n int); ALTER TABLE beat OWNER TO {OWNER}")
        admin.execute("ALTER PUBLICATION by_root ADD TABLE beat")
    elsewhere.execute("CREATE TABLE beat (n int)")

    def counted(table: str) -> Callable[[], object]:
        return lambda: elsewhere.execute(f"SELECT count(*) FROM {table}").fetchone()

    subscribed("by_root")
    eventually(counted("poles"), (40,))
    eventually(lambda: elsewhere.execute("SELECT DISTINCT srsubstate FROM pg_subscription_rel").fetchall(), [("r",)])
    loader.load(POLES, rows(41))
    with publisher.admin_session("maps") as admin:
        admin.execute("INSERT INTO beat VALUES (1)")
    eventually(counted("beat"), (1,))
    assert counted("poles")() == (40,)  # what was committed before the beat is not coming any more

    def versions_made() -> str:
        """Every version's table made there, without which a subscription is refused; the published one's name."""
        with publisher.admin_session("maps") as admin:
            for (name,) in admin.execute(
                "SELECT oid::regclass::text FROM pg_class"
                " WHERE relkind = 'r' AND relnamespace = 'flux_versions'::regnamespace"
            ):
                elsewhere.execute(f"CREATE TABLE IF NOT EXISTS {name} (LIKE poles)")
            query = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'poles'::regclass"
            (published,) = admin.execute(query).fetchone() or ("",)
        return str(published)

    version = versions_made()
    subscribed("versions")
    eventually(counted(version), (41,))
    loader.load(POLES, rows(42))
    newer = versions_made()
    elsewhere.execute("ALTER SUBSCRIPTION versions REFRESH PUBLICATION")
    eventually(counted(newer), (42,))
    assert counted("poles")() == (40,)
    elsewhere.execute("ALTER SUBSCRIPTION by_root DISABLE; ALTER SUBSCRIPTION by_root SET (slot_name = NONE)")
    elsewhere.execute("DROP SUBSCRIPTION by_root; TRUNCATE poles, beat")
    with publisher.admin_session("maps") as admin:
        slot = "SELECT active FROM pg_replication_slots WHERE slot_name = 'by_root'"
        eventually(lambda: admin.execute(slot).fetchone(), (False,))
        admin.execute("SELECT pg_drop_replication_slot('by_root')")
    subscribed("by_root")
    eventually(counted("poles"), (42,))

    with target.session("doctor") as session:
        every = layers.findings(session, "public", [POLES])
        found = {each.message.split()[1]: each for each in every if each.message.startswith("publication ")}
    assert {name: each.outcome for name, each in found.items()} == {
        "by_root": "warning", "by_leaf": "warning", "by_schema": "warning", "everything": "warning", "versions": "note",
    }  # fmt: skip
    assert "keeps the rows that it had" in found["by_root"].message
    assert "FOR TABLES IN SCHEMA flux_versions" in found["by_root"].remedy
