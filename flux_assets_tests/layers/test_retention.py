"""Which earlier versions are kept: so many, and so many bytes."""

import pytest

from flux_assets.errors import SettingError
from flux_assets.layers.context import LoadOptions, VersionContext
from flux_assets.layers.publish import clean_up
from flux_assets.layers.rollback import pin, unpin
from flux_assets.layers.versions import LayerState
from flux_assets.ledger.runs import Entry, leased
from flux_assets.postgis.locking import LockRetries
from flux_assets.postgis.relations import Layer
from flux_assets.settings import load_settings
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows

POLES = made_up()


@pytest.fixture
def loader(target, tmp_path) -> Loader:
    return Loader(target, ReleaseFolder(tmp_path / "v1"))


@pytest.fixture
def kept(loader, sql):
    """Loads so many versions, and tells which leases have a table."""

    def load(count: int, **options: object) -> list[int]:
        for number in range(5, 5 + count):
            loader.load(POLES, rows(number), **options)
        names = sql("SELECT relname FROM pg_class WHERE relnamespace = 'flux_versions'::regnamespace AND relkind = 'r'")
        return sorted(int(name.rpartition("_")[2]) for (name,) in names)

    return load


@pytest.fixture
def size(loader, sql) -> int:
    """Bytes of one version: the others, of a few rows too, have as many pages."""
    loader.load(POLES, rows(4))
    ((found,),) = sql("SELECT bytes FROM postgres_sync.layer_versions")
    return found


@pytest.mark.parametrize(
    ("versions", "room", "expected"),
    [(3, 3.5, [3, 4, 5, 6]), (3, 2.5, [4, 5, 6]), (3, 1, [5, 6]), (1, 2.5, [5, 6]), (3, 0.5, [6]), (3, 0, [6])],
)
def test_earlier_versions_are_bounded_by_number_and_by_bytes(kept, size, versions, room, expected):
    """The newest goes last; the current one always stays."""
    assert kept(5, keep_versions=versions, keep_bytes=int(room * size)) == expected


def test_behind_a_version_that_is_too_large_an_older_one_does_not_stay(kept, loader, sql, size):
    loader.load(POLES, rows(5), keep_versions=9)
    sql("UPDATE postgres_sync.layer_versions SET bytes = 10 * bytes WHERE lease = 2")
    loader.load(POLES, rows(6), keep_versions=9, keep_bytes=2 * size)
    assert kept(0) == [3]


@pytest.mark.parametrize("held", [True, False])
def test_a_pinned_version_is_never_dropped(kept, loader, sql, target, held):
    """Also where it is not the current one any more, whoever brought that about."""
    loader.load(POLES, rows(4))
    first = pin(POLES, target, LoadOptions(), loader.log.append).version
    unpin(POLES, target)
    loader.load(POLES, rows(5))
    with target.session("test") as session:
        layer = Layer("public", POLES)
        if held:
            session.execute(first.pinning(layer, "by hand"))
        with leased(session, target, LockRetries(seconds=0, log=print), layer) as lease:
            options = LoadOptions(keep_versions=0, keep_bytes=0)
            context = VersionContext(
                layer=layer,
                target=target,
                control=session,
                entry=Entry(0, "FULL"),
                options=options,
                log=loader.log.append,
            )
            clean_up(context, lease, LayerState.of(session, layer))
    assert kept(0) == ([1, 2] if held else [2])


def test_the_setting_is_a_size(monkeypatch):
    assert load_settings().flux_keep_bytes is None
    monkeypatch.setenv("FLUX_KEEP_BYTES", "20GB")
    load_settings.cache_clear()
    assert load_settings().flux_keep_bytes == 20 * 10**9
    monkeypatch.setenv("FLUX_KEEP_BYTES", "much")
    load_settings.cache_clear()
    with pytest.raises(SettingError, match="FLUX_KEEP_BYTES = 'much': is not a size such as 500MB or 20GB"):
        load_settings()
