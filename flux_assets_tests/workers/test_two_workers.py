"""A whole release on workers: spread over two of them, and the large layers first."""

import subprocess

import pytest

from flux_assets.tables import static_tables
from flux_assets_tests.workers.site import PROGRAMS, Readers, settled, wait_until

pytestmark = pytest.mark.celery
_WORKERS = """
SELECT DISTINCT entry->'entry_data'->>'text'
FROM event_logs, json_array_elements(event::json->'dagster_event'->'event_specific_data'->'metadata_entries') AS entry
WHERE dagster_event_type = 'ENGINE_EVENT' AND entry->>'label' = 'Celery worker'
"""
_SUBMITTED = "SELECT count(*) FROM event_logs WHERE event LIKE '%Submitting celery task%'"
_STARTED = """
SELECT step_key FROM event_logs WHERE dagster_event_type = 'STEP_START'
AND run_id = (SELECT run_id FROM runs ORDER BY id DESC LIMIT 1) ORDER BY id
"""


def limit_pool(site, steps):
    limit = [PROGRAMS / "dagster", "instance", "concurrency", "set", "flux_postgis", str(steps)]
    subprocess.run(limit, env=site.environment, check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("scale", [0.01, 0.25])
def test_two_workers_share_a_release(site_of, scale):
    site = site_of(scale, lost_after=600)
    for worker in [site.worker(name) for name in ("first", "second")]:
        worker.wait_until_ready()
    readers = Readers(site.conninfo)
    with readers.reading():
        site.finish(site.run())
    settled(site)
    readers.judge(site)
    assert {name.partition("@")[0] for (name,) in site.history(_WORKERS)} == {"first", "second"}


def test_large_layers_go_first_and_those_behind_all_pictures_next(site_of):
    site = site_of(lost_after=600)
    limit_pool(site, 100)
    run = site.run()
    wait_until(lambda: site.history(_SUBMITTED) == [(len(static_tables()),)], "the last step in its queue")
    site.worker("only", "-c", "1")
    site.finish(run)
    # What is computed from them goes as soon as it can.
    loaded = {table.name for table in static_tables()}
    started = [step for (step,) in site.history(_STARTED) if step in loaded]
    assert started[:4] == ["building_footprints", "grid_assets_cache", "grid_power_lines", "osm_water"]
    assert (
        started.index("topology_connections_cache") < started.index("customers_spatial") < started.index("substations")
    )
    settled(site)


_AT_A_TIME = """
SELECT max(under_way) FROM (
    SELECT sum(CASE dagster_event_type WHEN 'STEP_START' THEN 1 ELSE -1 END) OVER (ORDER BY timestamp, id) AS under_way
    FROM event_logs WHERE dagster_event_type IN ('STEP_START', 'STEP_SUCCESS')
    AND run_id IN (SELECT run_id FROM runs ORDER BY id DESC LIMIT 2)
) AS moments
"""


def test_a_pool_bounds_what_two_runs_load_at_a_time(site_of):
    site = site_of(lost_after=600)
    limit_pool(site, 1)
    site.worker("only", "-c", "4")
    command = [PROGRAMS / "flux-assets", "load", "transformers", "osm_water"]
    runs = [
        subprocess.Popen(command, env=site.environment | {"FLUX_EXECUTOR": "celery"}, stdout=subprocess.DEVNULL)
        for _ in range(2)
    ]
    for run in runs:
        site.finish(run)
    assert site.history(_AT_A_TIME) == [(1,)]
