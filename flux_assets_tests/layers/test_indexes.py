"""A version must be the equal of its public table before anything is locked; what is missing is named."""

from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest

from flux_assets.errors import PublishError
from flux_assets.layers import load, publish, rollback
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.indexes import refuse_unequal
from flux_assets.layers.publish import Publication
from flux_assets.postgis.catalog import Relation
from flux_assets.postgis.locking import LockRetries
from flux_assets.postgis.relations import Layer
from flux_assets.postgis.session import Target
from flux_assets_tests.conftest import Sql
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows


@pytest.fixture
def loader(target: Target, tmp_path: Path) -> Loader:
    loader = Loader(target, ReleaseFolder(tmp_path / "v1"))
    loader.load(made_up(), rows(50))
    loader.load(made_up(), rows(60))
    return loader


@pytest.mark.parametrize(
    ("statement", "missing"),
    [
        ("CREATE INDEX late ON poles (score)", r"an index like late \(btree \(score\)\)"),
        ("CREATE INDEX late ON poles (lower(name)) WHERE code > 3", r"an index like late \(btree \(lower"),
        ("ALTER TABLE poles ADD CONSTRAINT late CHECK (code >= 0)", r"the constraint late \(CHECK"),
        ("ALTER TABLE poles ALTER COLUMN score SET NOT NULL", r"the column score \(double precision NOT NULL\)"),
        ("ALTER TABLE poles ADD COLUMN late text", r"the column late \(text\)"),
        ("ALTER TABLE poles DROP COLUMN score", "a public column score"),
    ],
)
def test_what_attaching_would_still_have_to_do_is_named(
    loader: Loader, sql: Sql, target: Target, statement: str, missing: str
) -> None:
    ((kept,),) = sql("SELECT relation FROM postgres_sync.layer_versions WHERE NOT current")
    with psycopg.connect(target.conninfo, autocommit=True) as connection:
        layer = Layer("public", made_up())
        public = Relation.find(connection, "public", "poles")
        refuse_unequal(connection, [(layer, kept, public.oid)])
        sql(statement)
        with pytest.raises(PublishError, match=f"lacks {missing}"):
            refuse_unequal(connection, [(layer, kept, public.oid)])


def test_an_index_that_came_while_a_publish_waited_is_not_built_under_its_lock(
    loader: Loader, sql: Sql, target: Target
) -> None:
    """The waiting publish stops; the next run gives the staged version its equal and publishes without loading."""
    with psycopg.connect(target.conninfo) as reader:
        reader.execute("SELECT count(*) FROM poles")

        class Log(list[str]):
            def append(self, line: str) -> None:
                super().append(line)
                if line.startswith("publishing public.poles waits for"):
                    sql("CREATE INDEX late ON poles (score)")
                    reader.rollback()

        loader.log = Log()
        with pytest.raises(PublishError, match="an index like late"):
            loader.load(made_up(), rows(70), publish_wait=timedelta(minutes=1))
    assert sql("SELECT count(*) FROM poles") == [(60,)]
    loader.log = []
    assert loader.load(made_up()).outcome == "published"
    assert any("was staged and audited before" in line for line in loader.log)
    assert sql("SELECT count(*) FROM poles") == [(70,)]
    assert sql("SELECT count(*) FROM pg_inherits WHERE inhparent = 'late'::regclass") == [(1,)]


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE INDEX ON poles (name)"],
        ["CREATE INDEX ON poles (score)", "CREATE INDEX ON poles (score)"],
        ["CREATE UNIQUE INDEX ON poles (id)"],
        ["ALTER TABLE poles ADD UNIQUE (id)"],
        ["CREATE UNIQUE INDEX ON poles (id, code)", "ALTER TABLE poles ADD UNIQUE (id, code)"],
    ],
)
def test_an_index_that_is_like_another_is_not_built_under_the_lock_either(
    loader: Loader, sql: Sql, target: Target, monkeypatch: pytest.MonkeyPatch, statements: list[str]
) -> None:
    """Attaching takes one index of the version for each of the public table, and builds what it does not find."""
    for statement in statements:
        sql(statement)
    counts: list[tuple[int, int]] = []

    def counted(connection: object, target: Target, publications: list[Publication], patience: LockRetries) -> float:
        relation = publications[0].version.relation
        before = indexes(sql, relation)
        locked_ms = publish.publish(connection, target, publications, patience)
        counts.append((before, indexes(sql, relation)))
        return locked_ms

    for module in (load, rollback):
        monkeypatch.setattr(module, "publish", SimpleNamespace(publish=counted, clean_up=publish.clean_up))
    loader.load(made_up(), rows(70))
    rollback.rollback(made_up(), target, LoadOptions(), loader.log.append)
    assert sql("SELECT count(*) FROM poles") == [(60,)]
    assert [before for before, _ in counts] == [after for _, after in counts]


def indexes(sql: Sql, relation: str) -> int:
    ((count,),) = sql("SELECT count(*) FROM pg_index WHERE indrelid = %s::regclass", f"flux_versions.{relation}")
    return count


def test_a_check_that_is_not_valid_keeps_nothing_from_being_published(loader: Loader, sql: Sql, target: Target) -> None:
    sql("ALTER TABLE poles ADD CONSTRAINT low CHECK (code < 65) NOT VALID")
    loader.load(made_up(), rows(65))
    sql("ALTER TABLE poles VALIDATE CONSTRAINT low")
    rollback.rollback(made_up(), target, LoadOptions(), loader.log.append)
    assert sql("SELECT count(*) FROM poles") == [(60,)]


def test_a_version_made_earlier_gets_a_check_as_it_stands_now(loader: Loader, sql: Sql) -> None:
    sql("ALTER TABLE poles ADD CONSTRAINT low CHECK (code < 1000)")
    loader.load(made_up(), rows(70))
    loader.load(made_up(), rows(80))
    sql("ALTER TABLE poles DROP CONSTRAINT low")
    sql("ALTER TABLE poles ADD CONSTRAINT low CHECK (code < 2000)")
    loader.load(made_up(), rows(70))
    assert sql("SELECT count(*) FROM poles") == [(70,)]
    assert sql("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'low' AND coninhcount = 1") == [
        ("CHECK ((code < 2000))",)
    ]


def test_indexes_for_which_postgresql_chooses_one_name_are_built_side_by_side(loader: Loader, sql: Sql) -> None:
    """It makes the name of an index from its columns, and two sessions may choose it in the same moment."""
    alike = "SELECT count(*) FROM pg_indexes WHERE indexdef LIKE '%%(score)' AND tablename = %s"
    for _ in range(8):
        sql("CREATE INDEX ON poles (score)")
    for count in range(10):
        loader.load(made_up(), rows(70 + count), index_sessions=8)
        ((relation,),) = sql("SELECT relation FROM postgres_sync.layer_versions WHERE current")
        assert sql(alike, relation) == [(8,)]
