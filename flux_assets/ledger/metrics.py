"""What Prometheus is told of every table: view v_table_status, by names that follow those of its columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from threading import Lock
from time import monotonic
from typing import Any, ClassVar

import psycopg
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from psycopg import errors, sql
from psycopg.conninfo import make_conninfo

from flux_assets.errors import FluxError, reported
from flux_assets.postgis.session import Target, open_session
from flux_assets.sqlfiles import query

# The answer comes within milliseconds, and Prometheus waits for ten seconds.
_LIMITS = sql.SQL("SET statement_timeout = '4s'; SET lock_timeout = '1s'")
_CONNECT_SECONDS, _ANSWER_SECONDS = 4, 5.0
_Row = Mapping[str, Any]


@dataclass(frozen=True)
class _Metric:
    """A gauge of each table: the column that it is made from, and the label that tells several values of it apart."""

    name: str
    column: str
    help: str
    label: str | None = None
    values: Callable[[Any], Mapping[str, float]] = field(default=lambda value: {"": float(value)})


def _is_set(value: object) -> Mapping[str, float]:
    return {"": float(bool(value))}


def _named(value: str) -> Mapping[str, float]:
    return {value: 1.0}


@dataclass(kw_only=True, eq=False)
class Exporter(Collector):
    """Asks the database at a scrape, in one round trip, and not again for some seconds.

    Where that does not answer, `flux_up` is 0 and there is nothing of any table; `log` is told why, once a reason.
    `find` returns the database, or raises what is in the way. All has the label `utility` where that is given.
    """

    find: Callable[[], Target]
    log: Callable[[str], object]
    utility: str | None = None
    seconds: float = 5.0
    _lock: Lock = field(default_factory=Lock)
    _asked: float = float("-inf")
    _found: Sequence[_Row] | None = None
    _problem: str | None = None

    ABOUT: ClassVar[Mapping[str, str]] = {
        "flux_up": "1 where the database answered and could be read, else 0",
        "flux_build_info": "1; the label `version` is that of flux_assets",
    }
    METRICS: ClassVar[Sequence[_Metric]] = (
        _Metric("flux_table_rows", "rows", "Rows that readers see"),
        _Metric(
            "flux_table_trusted", "trusted", "1 where what readers see is what it should be, 0 where late or broken"
        ),
        _Metric("flux_table_state", "state", "1 for the present state, such as live, late or broken", "state", _named),
        _Metric("flux_table_age_seconds", "ages", "Seconds since each of the three times of a table", "since", dict),
        _Metric(
            "flux_sync_lag_seconds", "lag_seconds", "How old the picture is that a dynamic table gives of its source"
        ),
        _Metric("flux_table_last_attempt", "last_attempt", "1 for how the last attempt ended", "last_attempt", _named),
        _Metric("flux_table_failures_last_hour", "failures_last_hour", "Loads or syncs that failed in the last hour"),
        _Metric("flux_run_duration_seconds", "duration_seconds", "Duration of the newest load or sync that succeeded"),
        _Metric("flux_run_rows_changed", "rows_changed", "Rows that the newest load or sync wrote that succeeded"),
        _Metric(
            "flux_step_seconds",
            "step_seconds",
            "Seconds by step of the newest load or sync that succeeded; steps may overlap",
            "step",
            dict,
        ),
        _Metric("flux_publish_lock_seconds", "lock_seconds", "For how long the newest publish locked readers out"),
        _Metric("flux_table_bytes", "table_bytes", "Bytes on disk of what readers see, indexes included"),
        _Metric("flux_kept_versions", "kept_versions", "Versions of a layer besides the current one that have a table"),
        _Metric("flux_kept_bytes", "kept_bytes", "Bytes on disk of the versions besides the current one"),
        _Metric("flux_table_rows_quarantined", "rows_quarantined", "Records of the release file that were refused"),
        _Metric("flux_table_pinned", "pinned_at", "1 where no load publishes another version", values=_is_set),
        _Metric("flux_table_others_wrote", "others_wrote", "1 where others wrote the table lately", values=_is_set),
    )

    def text(self) -> str:
        """Return one scrape in Prometheus' text format."""
        registry = CollectorRegistry()
        registry.register(self)
        told: bytes = generate_latest(registry)
        return told.decode()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield what a scrape is made of; it raises nothing that a database may do."""
        with self._lock:
            if monotonic() - self._asked >= self.seconds:
                self._ask()
                self._asked = monotonic()
            found = self._found
        up, build = (GaugeMetricFamily(name, f"{told}.") for name, told in self.ABOUT.items())
        common = {"utility": self.utility} if self.utility else {}
        up.add_sample(up.name, common, float(found is not None))
        build.add_sample(build.name, {**common, "version": version("flux_assets")}, 1.0)
        yield from (up, build)
        yield from (family for metric in self.METRICS if (family := _family(metric, found or (), common)).samples)

    def _ask(self) -> None:
        problem = None
        try:
            self._found = _read(self.find())
        except (FluxError, psycopg.Error) as error:
            self._found, problem = None, reported(error)
        if problem != self._problem:
            self.log(f"No metrics of tables: {problem}" if problem else "The database answers again.")
        self._problem = problem


def _family(metric: _Metric, rows: Sequence[_Row], common: Mapping[str, str]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(metric.name, f"{metric.help}.")
    for row in rows:
        labels = {**common, "table": row["layer_name"], "kind": row["kind"]}
        if (value := row.get(metric.column)) is not None or metric.values is _is_set:
            for label, number in metric.values(value).items():
                family.add_sample(metric.name, labels | ({metric.label: label} if metric.label else {}), number)
    return family


def _read(target: Target) -> list[_Row]:
    """Return what the view says of each table; nothing where no load has made the ledger yet."""
    asking = query("metrics", "tables").format(schema=target.schema)
    hurried = replace(target, conninfo=make_conninfo(target.conninfo, connect_timeout=_CONNECT_SECONDS))
    with hurried.session("metrics", is_set=False) as session:
        session.answer_within = _ANSWER_SECONDS
        try:
            [rows] = open_session(session, [_LIMITS, asking])
        except (errors.UndefinedTable, errors.InvalidSchemaName):
            return []
    clocks = ("source_changed_at", "checked_at", "published_at")
    return [
        told | {"ages": {since: age for since, age in zip(clocks, ages, strict=True) if age is not None}}
        for told, *ages in rows
    ]
