"""The largest layer loaded again and again: by each way, at two sizes, beside its check, and beside geopandas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import geopandas
import pandas as pd
import psycopg
import sqlalchemy as sa
from psycopg import sql

from bench import ways
from bench.ground import Ground
from bench.releases import first_rows, keys_in_order, layer, path_of
from bench.results import Section, goal, section
from bench.timing import Run, Runs, Side, Spread, Work, alternated
from flux_assets.checks.audit import AuditResult
from flux_assets.compare.release import match_release
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.session import Target
from flux_assets.release.release import Release

ALONE = ("stage", "index", "analyze", "publish")
PUBLISHED, OURS, BARE, FLOOR = "published way", "ours, all audits", "ours, audits off", "floor"
LOAD, SAME, EDITED = "load", "check, nothing differs", "check, three rows differ"
GEOPANDAS, PEER_ROWS = "geopandas.to_postgis", 300_000
_EDITS = """
UPDATE {table} SET {column} = 'edited' WHERE {key} IN (SELECT {key} FROM {table} ORDER BY {key} LIMIT 1);
DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} ORDER BY {key} DESC LIMIT 1);
INSERT INTO {table} ({key}) VALUES ('edited')
"""


def buildings(ground: Ground, *, in_order: bool) -> Section:
    """Load the layer by each way into where it has been published already."""
    table, release, keys = layer(), ground.city(), "ids in no order"
    if in_order:
        release, keys = keys_in_order(release), "ids in the file's order"
    ground.say("  encoding the rows for the floor, and a first load of each way")
    encoded = ways.encoded_layer(table, release)
    old, new, low = (ground.fresh_database(name) for name in ("bench_published", "bench_ours", "bench_floor"))
    ours = _loaded(release, new)
    works: dict[str, Work] = {
        PUBLISHED: partial(ways.load_published, [table], release, old), OURS: ours,
        FLOOR: partial(ways.load_floor, table, encoded, low), BARE: ways.without_audits()(ours),
    }  # fmt: skip
    runs, claim = _alternated(ground, works), f"buildings, {keys}, load + index + publish alone"
    floors = Spread(_alone(a) / b.seconds for a, b in zip(runs[BARE], runs[FLOOR], strict=True))
    goals = [
        goal(f"buildings, {keys}, all audits inside: published / ours", "≥ 1.6x", runs.ratio(PUBLISHED, OURS)),
        goal(f"{claim}: published / ours", "≥ 1.8x", runs.ratio(PUBLISHED, BARE, _alone)),
        goal(f"{claim}: ours / floor", "≤ 1.4x", floors),
    ]
    alone = f"alone: {' + '.join(ALONE)} of ours with audits off, for the warning audits take cores from these steps"
    notes = [alone, *map(runs.by_step, (OURS, BARE))]
    return section(f"{table.name}, {keys}, one layer", runs, PUBLISHED, goals=goals, notes=notes)


def linear(ground: Ground) -> Section:
    """Rows a second of a quarter of the layer and of the whole."""
    scales = {f"{scale:g}": scale for scale in (ground.wanted.scale / 4, ground.wanted.scale)}
    works = {name: _loaded(ground.city(scales[name]), ground.fresh_database(f"bench_{name}")) for name in scales}
    runs = _alternated(ground, works)
    (small, slow), (large, fast) = (
        (name, runs.of(name, lambda run: run.steps["rows"] / run.seconds)) for name in runs
    )  # fmt: skip
    shares = Spread(b / a for a, b in zip(slow, fast, strict=True))
    rates = f"rows a second: {slow:.0f} at scale {small}, {fast:.0f} at scale {large}"
    goals = [goal(f"rows/s at scale {large} / at scale {small}", "≥ 0.9x", shares)]
    return section(f"{layer().name} by scale", runs, large, goals=goals, notes=[rates])


def matching(ground: Ground) -> Section:
    """`matches_release` beside the load: of the table as it was loaded, and of one with rows edited."""
    release, table = ground.city(), layer()
    same, edited = (ground.fresh_database(name) for name in ("bench_same", "bench_edited"))
    load, _ = _loaded(release, same), _loaded(release, edited)
    (key,) = table.key
    names = {"key": key, "column": next(name for name in table.column_names if name != key)}
    named = {what: sql.Identifier(name) for what, name in names.items()}
    with psycopg.connect(edited.conninfo, autocommit=True) as session:
        session.execute(sql.SQL(_EDITS).format(table=sql.Identifier(edited.schema, table.name), **named))
    works: dict[str, Work] = {
        LOAD: load,
        SAME: partial(_check, release, same, 0),
        EDITED: partial(_check, release, edited, 3),
    }
    runs = _alternated(ground, works, ground.wanted.few)
    shares = [f"{name} / load: {runs.ratio(name, LOAD):.2f}" for name in (SAME, EDITED)]
    how = "the check decodes the whole file into a temporary table and digests both sides; the keys that differ are"
    notes = [*shares, f"{how} sought only when the digests do"]
    return section(f"matches_release of {table.name} beside its load", runs, LOAD, notes=notes)


def peers(ground: Ground) -> Section:
    """The first rows of the layer, read and written by geopandas, against a load of ours of the same file."""
    part = first_rows(ground.city(), PEER_ROWS)
    other = partial(_geopandas, part, ground.fresh_database("bench_geopandas"))
    works: dict[str, Work] = {GEOPANDAS: other, OURS: _loaded(part, ground.fresh_database("bench_ours"))}
    how = "geopandas: pandas.read_csv with every id as text, from_wkb, to_postgis, then key, GiST, ANALYZE"
    runs = _alternated(ground, works, ground.wanted.few)
    return section(f"Peers: {PEER_ROWS:,} rows of {layer().name} at most", runs, GEOPANDAS, notes=[how])


def _alternated(ground: Ground, works: Mapping[str, Work], pairs: int = 0) -> Runs:
    sides = {name: Side(run=work, ready=ground.settle) for name, work in works.items()}
    return alternated(ground, sides, pairs or ground.wanted.pairs)


def _loaded(release: Release, target: Target) -> Callable[[], dict[str, float]]:
    """Load the layer once, and return what loads it again."""

    def load() -> dict[str, float]:
        found = ways.load(layer(), release, target)
        return {**found.seconds, "rows": found.rows}

    load()
    return load


def _alone(run: Run) -> float:
    """Seconds of load, index and publish in a run of ours."""
    return sum(run.steps[step] for step in ALONE)


def _check(release: Release, target: Target, differing: int) -> None:
    ((_, outcome),) = match_release([layer()], release, target, Stop(), ways.quiet)
    if not isinstance(outcome, AuditResult):
        raise outcome
    found = sum(int(outcome.numbers[kind]) for kind in ("changed", "missing", "extra"))
    if found != differing:
        raise AssertionError(f"{found} rows differ, not {differing}: {outcome.sample}")


def _geopandas(release: Release, target: Target) -> None:
    table = layer()
    engine = sa.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(target.conninfo))
    frame = pd.read_csv(path_of(release, table), dtype=dict.fromkeys(table.key, str))
    (spatial,) = (column.name for column in table.spatial_columns)
    shapes = geopandas.GeoSeries.from_wkb(frame[spatial], crs=4326)
    found = geopandas.GeoDataFrame(frame.drop(columns=spatial), geometry=shapes.rename(spatial))
    found.to_postgis(table.name, engine, if_exists="replace")
    with engine.begin() as session:
        session.execute(sa.text(f"ALTER TABLE {table.name} ADD PRIMARY KEY ({', '.join(table.key)})"))
        session.execute(sa.text(f"ANALYZE {table.name}"))
    engine.dispose()
