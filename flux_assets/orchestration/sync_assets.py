"""The dynamic tables as assets: one step that syncs any of them together, audits them and records what it did.

Dagster counts an evaluation only from the newest materialisation on, so every tick reports every check; outcomes of an
unchanged table are repeated for an hour. Annotations are evaluated here: Dagster reads config and resources from them.
"""

import time
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from flux_assets.checks.audit import AuditResult, Numbers
from flux_assets.checks.sync_audits import ALWAYS_JUDGED, refusal, sync_audits
from flux_assets.compare.match import MATCHES_SOURCE
from flux_assets.errors import FluxError, SourceError, SyncError
from flux_assets.orchestration.checks import (
    JUDGED_AT,
    as_evaluation,
    check_results,
    check_specs,
    failed_attempt,
    log_outcomes,
    recorded_outcome,
    repeat_outcomes,
    without_outcome,
)
from flux_assets.orchestration.dagster_internals import Interrupted, LayerFailure
from flux_assets.orchestration.executor import stop_of
from flux_assets.orchestration.names import Names
from flux_assets.orchestration.resources import PostgisResource, WarehouseResource
from flux_assets.orchestration.shown.metadata import declared_metadata, describe_result, synced_metadata
from flux_assets.orchestration.shown.pictures import sync_pictures
from flux_assets.postgis.session import Target
from flux_assets.spec import DynamicTable
from flux_assets.sync.result import SyncOptions, TableResult

if TYPE_CHECKING:
    from flux_assets.sync.live_audit import AuditRequest, LiveAudit
    from flux_assets.sync.table import Family

GROUP = "dynamic_operations"
STEP = "sync_dynamic_tables"
_SECONDS_BETWEEN_JUDGEMENTS = 3600
_Event = (
    dg.MaterializeResult[None] | dg.AssetObservation | dg.Output[None] | dg.AssetCheckResult | dg.AssetCheckEvaluation
)
_Events = Iterator[_Event]


class _SyncConfig(dg.Config):
    """What one run may ask of a sync beyond syncing what has changed."""

    force: bool = Field(
        default=False, description="Read and compare the sources even when nothing seems to have changed."
    )
    accept_vanished: bool = Field(
        default=False, description="Accept, this once, that many rows of the sources have vanished."
    )
    take_over: bool = Field(
        default=False,
        description="Adopt a plain table whose columns do not fit: a new one takes its name, its rows and what hangs on"
        " it.",
    )
    drop_foreign_keys: bool = Field(
        default=False,
        description="With take_over: drop foreign keys of other tables that point at the table that is adopted.",
    )


def dynamic_assets(tables: Sequence[DynamicTable], names: Names) -> dg.AssetsDefinition:
    """Return all dynamic tables with their checks; any of either can be selected, and is synced together."""

    @dg.multi_asset(
        name=names.named(STEP),
        specs=[_dynamic_spec(table, names) for table in tables],
        check_specs=[spec for table in tables for spec in check_specs(table, names)],
        can_subset=True,
        required_resource_keys={PostgisResource.key(names), WarehouseResource.key(names)},
    )
    def sync_dynamic_tables(context: dg.AssetExecutionContext, config: _SyncConfig) -> _Events:
        snowflake = WarehouseResource.of(context, names)
        run_id = context.run.run_id
        options = SyncOptions(
            force=config.force,
            accept_vanished=config.accept_vanished,
            take_over=config.take_over,
            drop_foreign_keys=config.drop_foreign_keys,
            run_id=run_id,
            stop=stop_of(run_id),
        )
        try:
            with LayerFailure.translated():
                target = PostgisResource.of(context, names).target()
                wanted = {name for key in context.selected_asset_keys if (name := names.table(key))}
                family = _family(context, snowflake, target, tables, wanted)
                yield from _SyncStep(context, options, snowflake, target, family, names).run()
        except dg.DagsterExecutionInterruptedError:
            raise Interrupted from None

    return sync_dynamic_tables


def _dynamic_spec(table: DynamicTable, names: Names) -> dg.AssetSpec:
    left_out = names.catalogue.left_out
    return dg.AssetSpec(
        names.key(table.name),
        description=table.description,
        group_name=names.group(GROUP),
        owners=[table.owner],
        kinds={"postgres", "snowflake", *(["postgis"] if table.spatial_columns else [])},
        code_version=table.digest[:12],
        deps=[names.origin(table), *(names.key(name) for name in table.origins if name not in left_out)],
        freshness_policy=dg.FreshnessPolicy.time_window(
            fail_window=table.freshness.fail, warn_window=table.freshness.warn
        ),
        metadata=declared_metadata(table, names),
        skippable=True,
    )


def _family(
    context: dg.AssetExecutionContext,
    snowflake: WarehouseResource,
    target: Target,
    tables: Sequence[DynamicTable],
    wanted: Collection[str],
) -> "Family":
    """Return the tables as configured; an illegal configuration is recorded as a failed sync of the wanted ones."""
    try:
        return snowflake.family(tables)
    except FluxError as error:
        from flux_assets.sync.record import refuse

        if refused := [table for table in tables if table.name in wanted]:
            refuse(refused, target, error, context.run.run_id, context.log.info)
        raise


class _SyncStep:
    """The step of one run: a sync of the selected tables, and audits of those of which only checks are selected."""

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        options: SyncOptions,
        snowflake: WarehouseResource,
        target: Target,
        family: "Family",
        names: Names,
    ) -> None:
        self._context = context
        self._options = options
        self._target = target
        self._family = family
        self._tables = {table.name: table for table in family.tables}
        self._names = {table.name: frozenset(audit.name for audit in sync_audits(table)) for table in family.tables}
        self._deployment = names
        self._keys = {table.name: names.key(table.name) for table in family.tables}
        self._wanted = {name for name, key in self._keys.items() if key in context.selected_asset_keys}
        self._selected = context.selected_asset_check_keys
        self._checked = {name for name in self._keys if self._selected_of(name)}
        self._opening = snowflake.opening(context.run.run_id, self._wanted | self._checked, context.log.info)
        keys = [self._key(table, name) for table, checks in self._names.items() for name in checks]
        records = context.instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
        self._last = {key: last for key, record in records.items() if (last := recorded_outcome(record))}

    def run(self) -> _Events:
        """Yield what is recorded; raises FluxError at the end when a table failed."""
        failed = (yield from self._synced()) if self._wanted else {}
        if alone := sorted(self._checked - self._wanted):
            failed |= yield from self._audited(alone)
        if failed:
            raise _join_errors(failed)

    def _synced(self) -> Generator[_Event, None, dict[str, FluxError]]:
        """Sync the wanted tables and yield what is recorded of each; returns why those that failed did."""
        from flux_assets.sync.sync import sync_tables

        log = self._context.log
        result = sync_tables(self._wanted, self._family, self._opening, self._target, self._options, log.info)
        if result.busy:
            (log.warning if self._options.once else log.info)(result.busy)
            skipped = [key for key in self._selected if key.asset_key in self._context.selected_asset_keys]
            yield from without_outcome(self._context.job_def, skipped)
            return {}
        for warning in result.warnings:
            log.warning(warning)
        failed = {each.table: each.error for each in result.tables if each.error is not None}
        self._log_results(result.tables, failed)
        # The tables that others are computed from first: Dagster insists.
        done = [each for each in result.tables if each.table in self._wanted]
        done.sort(key=lambda each: bool(self._tables.keys() & self._tables[each.table].origins))
        audited = self._audit_changed(done)
        for each in done:
            yield from self._recorded(each, audited.get(each.table))
        return {name: error for name, error in failed.items() if name in self._wanted}

    def _log_results(self, results: Sequence[TableResult], failed: Mapping[str, FluxError]) -> None:
        for cause, names in _by_cause(failed).items():
            # What several share, the failure of the step says, once.
            several = f"{', '.join(names)} are unchanged; the step's failure says why"
            self._context.log.error(several if len(names) > 1 else f"{names[0]} is unchanged: {cause}")
        for each in results:
            if each.error is None:
                follows = (
                    f"{each.table}: {each.updated:,} rows follow the tables that they are computed from;"
                    " not selected, so nothing is recorded of it"
                )
                self._context.log.info(describe_result(each) if each.table in self._wanted else follows)

    def _recorded(self, done: TableResult, audit: "LiveAudit | None") -> _Events:
        table, audits = self._tables[done.table], audit.audits if audit else ()
        if done.error is not None:
            yield from self._after_failure(table, done, done.error, audits)
            return
        yield dg.MaterializeResult(
            asset_key=self._keys[table.name],
            data_version=dg.DataVersion(audit.version) if audit and audit.version else None,
            metadata={
                **sync_pictures(self._context, self._deployment, table, self._target, done),
                **synced_metadata(done),
            },
        )
        yield from self._results(table, audits)
        for name in sorted(self._names[table.name] - {audit.name for audit in audits}):
            key = self._key(table.name, name)
            if key in self._last and key not in self._selected:
                yield as_evaluation(self._keys[table.name], self._last[key], self._last[key].description)

    def _after_failure(
        self, table: DynamicTable, done: TableResult, error: FluxError, audits: Sequence[AuditResult]
    ) -> _Events:
        """Yield what the attempt found of the source, and the earlier outcomes for the published rows."""
        found = _refused(table, done, error)
        yield failed_attempt("sync", self._keys[table.name], error, found)
        judged = [*(audit for audit in found if audit.name == "columns"), *audits]
        yield from self._results(table, judged)
        left = self._selected_of(table.name) - {audit.name for audit in judged}
        yield from repeat_outcomes(self._context, self._keys[table.name], left, MATCHES_SOURCE)

    def _results(self, table: DynamicTable, audits: Iterable[AuditResult]) -> _Events:
        """Yield what was judged just now; an unselected check has its claim already, and a pass does not repeat it."""
        for result in check_results(self._keys[table.name], audits, self._names[table.name]):
            if self._key(table.name, str(result.check_name)) in self._selected:
                yield result
            else:
                yield as_evaluation(self._keys[table.name], result, None if result.passed else result.description)

    def _key(self, table: str, check: str) -> dg.AssetCheckKey:
        return dg.AssetCheckKey(self._keys[table], check)

    def _selected_of(self, table: str) -> frozenset[str]:
        return frozenset(key.name for key in self._selected if key.asset_key == self._keys[table])

    def _audit_changed(self, done: Sequence[TableResult]) -> "Mapping[str, LiveAudit]":
        """Audit the tables after the sync. It has ended, so an error here is logged only."""
        from flux_assets.sync.live_audit import audit_tables

        try:
            changed = {each.table for each in done if each.outcome == "changed"}
            questions = [self._question(each, changed) for each in done]
            audited = audit_tables(questions, self._target, self._opening, self._options.stop)
        except FluxError as error:
            self._context.log.warning(f"The sync is done, but its checks could not run: {error}")
            return {}
        for audit in audited.values():
            if audit.error is not None:
                self._context.log.warning(f"The sync is done, but checks of its rows could not run: {audit.error}")
        return audited

    def _question(self, done: TableResult, changed: Collection[str]) -> "AuditRequest":
        """Return the audits to run: all of a table that changed, else those that are due, and always its lag.

        Rows that nobody wrote may lose what they belong to, when that is among the `changed`. Reading the source has
        shown its columns, as of this sync: the source need not be asked again.
        """
        from flux_assets.sync.live_audit import AuditRequest

        table, is_read = self._tables[done.table], done.was_read
        if done.error is not None:
            return AuditRequest(table=table, names=ALWAYS_JUDGED, missing=())
        names = self._names[table.name] if done.outcome == "changed" else self._due(table) | ALWAYS_JUDGED
        if any(each.to_table in changed for each in table.assignments):
            names |= {"all_assigned"}
        if is_read:
            names |= {"columns"}
        elif "columns" not in self._selected_of(table.name):
            names -= {"columns"}
        return AuditRequest(
            table=table,
            names=names,
            vanished=done.vanished,
            missing=done.missing if is_read or "columns" not in names else None,
            allowed=table.may_vanish(done.rows - done.inserted + done.deleted),
        )

    def _due(self, table: DynamicTable) -> frozenset[str]:
        """Return the names of the checks that are judged also when nobody wrote the table."""
        oldest = time.time() - _SECONDS_BETWEEN_JUDGEMENTS
        last = {key.name: outcome for key, outcome in self._last.items() if key.asset_key == self._keys[table.name]}
        young = {name for name, outcome in last.items() if float(str(outcome.metadata[JUDGED_AT].value)) >= oldest}
        return self._selected_of(table.name) | self._names[table.name] - young

    def _audited(self, names: Iterable[str]) -> Generator[_Event, None, dict[str, FluxError]]:
        """Run the selected checks alone, on the published rows; returns why those of a table could not be run."""
        from flux_assets.sync.live_audit import AuditRequest, audit_tables

        tables = [self._tables[name] for name in names]
        questions = [AuditRequest(table=table, names=self._selected_of(table.name)) for table in tables]
        audited = audit_tables(questions, self._target, self._opening, self._options.stop)
        for table in tables:
            log_outcomes(table.name, audited[table.name].audits, self._context.log)
            yield from self._results(table, audited[table.name].audits)
        return {name: audit.error for name, audit in audited.items() if audit.error is not None}


def _refused(table: DynamicTable, done: TableResult, error: FluxError) -> tuple[AuditResult, ...]:
    """Return what a failed sync found of rows that it did not write; nothing for other faults."""
    if isinstance(error, SyncError) and error.audits:
        return error.audits
    if done.vanished:
        allowed = table.may_vanish(done.rows)
        numbers: Numbers = {"rows": done.rows, "vanished": done.vanished, "allowed_to_vanish": int(allowed)}
        return (refusal(table, "row_count", error.problem, numbers),)
    return (refusal(table, "columns", error.problem),) if isinstance(error, SourceError) else ()


def _join_errors(failed: Mapping[str, FluxError]) -> FluxError:
    """Return one error for all tables that failed; a cause that several share is reported once."""
    tables = _by_cause(failed)
    if len(tables) == 1:
        return next(iter(failed.values()))
    return SyncError("\n".join(f"{', '.join(names)}: {message}" for message, names in tables.items()))


def _by_cause(failed: Mapping[str, FluxError]) -> dict[str, list[str]]:
    """Return the tables that failed, by their error's message."""
    tables: dict[str, list[str]] = {}
    for name, error in failed.items():
        tables.setdefault(str(error), []).append(name)
    return tables
