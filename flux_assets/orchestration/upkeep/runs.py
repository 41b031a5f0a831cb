"""Which runs Dagster keeps, and the deletion of the others with their events, files and ticks."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import dagster as dg
from dagster import DagsterRunStatus as Status

_PAGE = 500
# A day's work even where nothing was removed for months: minutes, during which everything else continues.
MOST_AT_ONCE = 20_000


@dataclass(frozen=True, kw_only=True)
class Keep:
    """What is always kept: the newest `runs` of each job, and those younger than `runs_for` or `failures_for`."""

    runs: int
    runs_for: timedelta
    failures_for: timedelta


def outdated_runs(instance: dg.DagsterInstance, keep: Keep, needed: frozenset[str], now: datetime) -> list[str]:
    """Return ids of the runs that nobody needs any more, the oldest first, at most MOST_AT_ONCE.

    A run that is not done stays, whatever its age, and so does one of `needed`. `now` is aware.
    """
    newer: Counter[str] = Counter()
    found = []
    for record in _newest_first(instance):
        run = record.dagster_run
        newer[run.job_name] += 1
        kept_for = max(keep.runs_for, keep.failures_for) if run.status is Status.FAILURE else keep.runs_for
        beyond = newer[run.job_name] > keep.runs and record.create_timestamp < now - kept_for
        if beyond and run.is_finished and run.run_id not in needed:
            found.append(run.run_id)
    return found[::-1][:MOST_AT_ONCE]


def runs_of_latest_events(instance: dg.DagsterInstance) -> frozenset[str]:
    """Return the runs with the latest materialisation or observation of an asset, which the UI shows."""
    keys = instance.all_asset_keys()
    events = list(instance.event_log_storage.get_latest_materialization_events(keys).values())
    for key in keys:
        events += [record.event_log_entry for record in instance.fetch_observations(key, limit=1).records]
    return frozenset(event.run_id for event in events if event is not None)


def delete_runs(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> None:
    """Delete runs and their events, one after another: a stop in between leaves the others for the next time."""
    for run_id in run_ids:
        instance.delete_run(run_id)


def _newest_first(instance: dg.DagsterInstance) -> Iterator[dg.RunRecord]:
    cursor = None
    while page := instance.get_run_records(limit=_PAGE, cursor=cursor):
        yield from page
        cursor = page[-1].dagster_run.run_id


def purge_ticks(instance: dg.DagsterInstance, now: datetime) -> None:
    """Purge the ticks of everything that has ever ticked; `now` is aware."""
    for state in instance.all_instigator_state():
        settings = instance.get_tick_retention_settings(state.instigator_type)
        for status, days in settings.items():
            if days >= 0:  # less means for ever
                before = (now - timedelta(days=days)).timestamp()
                instance.purge_ticks(state.instigator_origin_id, state.selector_id, before, [status])


def remove_files(folder: Path, runs: Container[str], before: datetime) -> int:
    """Remove what lies below `folder` and belongs to no run of `runs`, unless it was written after `before`.

    Returns how many folders of runs and other files went. What cannot be removed stays, for the next time.
    """
    removed = 0
    for path in list(_outermost(folder)):
        if path.name in runs or path.stat().st_mtime >= before.timestamp():
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        removed += not path.exists()
    return removed


def _outermost(folder: Path) -> Iterator[Path]:
    """Yield folders that are named as a run is, and files outside of them; symbolic links are not followed."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink() and not _is_id(path.name):
            yield from _outermost(path)
        elif not path.is_symlink():
            yield path


def _is_id(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False
