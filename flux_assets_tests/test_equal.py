"""A version must be the equal of its public table before anything is locked; what is missing is named."""

from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from flux_assets.errors import PublishError
from flux_assets.postgis import catalog, equal
from flux_assets.postgis.connect import Target
from flux_assets.postgis.layer import Layer
from flux_assets_tests.conftest import Sql
from flux_assets_tests.layers import Loader, ReleaseFolder, made_up, rows


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
        public = catalog.find(connection, "public", "poles")
        equal.refuse_unequal(connection, layer, kept, public.oid)
        sql(statement)
        with pytest.raises(PublishError, match=f"lacks {missing}"):
            equal.refuse_unequal(connection, layer, kept, public.oid)


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
