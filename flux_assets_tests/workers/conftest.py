"""A deployment on Celery for each test, in which a release was loaded before: what is read meanwhile is its rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from uuid import uuid4

import pytest
from psycopg import sql

from flux_assets.sample.city.release_writer import write_release
from flux_assets.sample.cluster import OWNER, Cluster
from flux_assets.settings import REPOSITORY, load_settings
from flux_assets.tables import static_tables
from flux_assets.wiring.home import Home
from flux_assets_tests.conftest import PREPARED
from flux_assets_tests.workers.site import LOST_AFTER, Redis, Site

_SEEDS = (7, 8)
SiteOf = Callable[..., Site]


@pytest.fixture(scope="session")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[float], list[Path]]:
    """Two releases of a scale, in which no file is the same."""

    @cache
    def of(scale: float) -> list[Path]:
        folders = [tmp_path_factory.mktemp("release") / f"v{seed}" for seed in _SEEDS]
        for folder, seed in zip(folders, _SEEDS, strict=True):
            write_release(folder, static_tables(), scale=scale, seed=seed)
        return folders

    return of


@pytest.fixture(scope="session")
def loaded(cluster: Cluster, releases, tmp_path_factory: pytest.TempPathFactory) -> Callable[[float], list[str]]:
    """The databases of layers and of Dagster in which the first release of a scale is loaded."""

    @cache
    def of(scale: float) -> list[str]:
        names = [_copied(cluster, template) for template in (PREPARED, "template0")]
        site = _site(cluster, names, releases(scale), tmp_path_factory.mktemp("first"))
        site.finish(site.run("threads"))
        return names

    return of


@pytest.fixture
def site_of(cluster: Cluster, tmp_path: Path, releases, loaded) -> Iterator[SiteOf]:
    """`site_of()`: the first release is loaded, the second one is there to be, and Redis runs."""
    with ExitStack() as stack:

        def made(scale: float = 0.01, lost_after: float = LOST_AFTER) -> Site:
            names = [_copied(cluster, name) for name in loaded(scale)]
            stack.callback(_drop, cluster, names)
            site = _site(cluster, names, releases(scale)[::-1], tmp_path, lost_after)
            site.redis.start()
            stack.callback(site.end)
            return site

        yield made


@pytest.fixture
def sync_site(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Nothing is loaded; syncs run on workers, and settings of this process lead there too. Redis runs."""
    names = [_copied(cluster, template) for template in (PREPARED, "template0")]
    site = _site(cluster, names, [Path("sample")], tmp_path, lost_after=600)
    site.environment |= {
        "FLUX_HOME": os.environ["FLUX_HOME"],
        "SNOWFLAKE_ACCOUNT": "stand-in",
        "FLUX_SYNC_RUNS": "worker",
    }
    del site.environment["DAGSTER_HOME"]  # which is the repository's unless it is set
    for name, value in site.environment.items():
        monkeypatch.setenv(name, value)
    load_settings.cache_clear()
    Home(Path(os.environ["FLUX_HOME"])).claim()  # as `flux-assets up` does, so that workers find the stand-in
    site.redis.start()
    yield site
    site.end()
    _drop(cluster, names)


def _site(
    cluster: Cluster, names: list[str], releases: list[Path], folder: Path, lost_after: float = LOST_AFTER
) -> Site:
    layers, history = map(cluster.url, names)
    release, redis = releases[0], Redis(folder / "redis")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("FLUX_", "PG", "SNOWFLAKE_", "DAGSTER_"))}
    environment = kept | {
        "FLUX_HOME": str(folder / "home"), "FLUX_ENV_FILE": "", "FLUX_RELEASE": str(release),
        "FLUX_POSTGRES_URL": layers, "DAGSTER_POSTGRES_URL": history,
        "FLUX_CELERY_BROKER": redis.url, "FLUX_CELERY_LOST_AFTER": str(lost_after),
        "DAGSTER_HOME": str(REPOSITORY), "DAGSTER_DISABLE_TELEMETRY": "1", "PYTHONWARNINGS": "ignore",
    }  # fmt: skip
    return Site(folder, release, environment, cluster.conninfo(names[0]), redis)


def _copied(cluster: Cluster, template: str) -> str:
    name = f"test_{uuid4().hex[:12]}"
    with cluster.admin_session() as admin:
        copy = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {} STRATEGY file_copy")
        admin.execute(copy.format(*map(sql.Identifier, (name, template, OWNER))))
    return name


def _drop(cluster: Cluster, names: list[str]) -> None:
    with cluster.admin_session() as admin:
        for name in names:
            admin.execute(sql.SQL("DROP DATABASE {} (FORCE)").format(sql.Identifier(name)))
