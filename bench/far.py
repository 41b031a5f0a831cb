"""A release of small layers with PostgreSQL 20 ms away: seconds, and round trips of each layer."""

from __future__ import annotations

from functools import partial

from bench import ways
from bench.distance import EACH_WAY, Distance, distant
from bench.ground import Ground
from bench.results import Section
from bench.timing import Side, alternated
from flux_assets.release.release import Release
from flux_assets.tables import static_tables

SCALE = 0.002
FIRST, FORCED, UNCHANGED = "first load", "forced reload", "unchanged"
DATABASE = "bench_far"


def far(ground: Ground) -> Section:
    """Load all layers into an empty database, load them again, and once more with nothing changed."""
    release, names = ground.city(SCALE), [table.name for table in static_tables()]

    def ready(kind: str) -> None:
        if kind == FIRST:
            ground.fresh_database(DATABASE)
        ground.settle()

    with distant(ground, ground.fresh_database(DATABASE), len(names)) as distance:
        sides = {
            kind: Side(run=partial(_load, release, distance, kind), ready=partial(ready, kind))
            for kind in (FIRST, FORCED, UNCHANGED)
        }
        runs = alternated(ground, sides, ground.wanted.few)
    steps = {
        kind: {name: [runs.step(kind, f"{name} {what}") for what in ("seconds", "round trips")] for name in names}
        for kind in runs
    }
    total = [
        cell for kind in runs for cell in
        (f"{runs.seconds(kind):.2f}", f"{sum(trips.median for _, trips in steps[kind].values()):.0f}")
    ]  # fmt: skip
    return Section(
        title=f"A release of {len(names)} small layers (scale {SCALE:g}), two at once, PostgreSQL"
        f" {EACH_WAY * 2e3:.0f} ms away, {ground.wanted.few} rounds in turn",
        columns=["layer", *(f"{kind}: {what}" for kind in runs for what in ("seconds", "round trips"))],
        rows=[
            *(
                [name, *(cell for kind in runs for cell in
                         (f"{steps[kind][name][0].median:.2f}", f"{steps[kind][name][1].median:.0f}"))]
                for name in names
            ),
            ["all", *total],
        ],
        notes=["a round trip: something is sent and then waited for; opening a session takes some too"],
        values={
            **runs.values(),
            "round trips": {kind: {name: list(found[1]) for name, found in steps[kind].items()} for kind in runs},
        },
    )  # fmt: skip


def _load(release: Release, distance: Distance, kind: str) -> dict[str, float]:
    tables, before = static_tables(), distance.trips()
    targets = dict(zip((table.name for table in tables), distance.targets, strict=True))
    found = ways.load_all(tables, release, lambda table: targets[table.name], force=kind == FORCED)
    outcomes = {name: each.outcome for name, (_, each) in found.items()}
    if any((outcome == "unchanged") != (kind == UNCHANGED) for outcome in outcomes.values()):
        raise RuntimeError(f"{kind}: {outcomes}")
    trips = {name: after - seen for name, after, seen in zip(targets, distance.trips(), before, strict=True)}
    steps: dict[str, dict[str, float]] = {
        "seconds": {name: took for name, (took, _) in found.items()},
        "round trips": trips,
    }
    return {f"{name} {what}": value for what, values in steps.items() for name, value in values.items()}
