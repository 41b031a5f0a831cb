-- What Dagster's API does not remove from its PostgreSQL storage: parameters are a naive UTC time `before` and a `batch`.
-- The newest of each kind stays, whoever it belongs to: the UI, the freshness daemon and our own steps look it up.

-- runs_of_latest_checks --
SELECT DISTINCT run_id FROM asset_check_executions
WHERE id IN (SELECT max(id) FROM asset_check_executions GROUP BY asset_key, check_name, execution_status);

-- check_evaluations --
DELETE FROM asset_check_executions
WHERE id IN (
    SELECT id FROM asset_check_executions AS leftover
    WHERE (
        run_id <> '' AND NOT EXISTS (SELECT FROM runs WHERE runs.run_id = leftover.run_id)
        OR run_id = '' AND create_timestamp < %(before)s
    )
    AND id NOT IN (SELECT max(id) FROM asset_check_executions GROUP BY asset_key, check_name, execution_status)
    LIMIT %(batch)s
);

-- events_of_deleted_runs --
-- Where a deletion was interrupted between the run and its events.
DELETE FROM event_logs
WHERE id IN (
    SELECT id FROM event_logs AS leftover
    WHERE run_id <> '' AND NOT EXISTS (SELECT FROM runs WHERE runs.run_id = leftover.run_id)
    AND timestamp < %(before)s
    LIMIT %(batch)s
);

-- events_of_no_run --
DELETE FROM event_logs
WHERE id IN (
    SELECT id FROM event_logs
    WHERE run_id = '' AND timestamp < %(before)s
    AND id NOT IN (SELECT max(id) FROM event_logs WHERE run_id = '' GROUP BY asset_key, dagster_event_type)
    LIMIT %(batch)s
);

-- tags_of_events --
DELETE FROM asset_event_tags
WHERE id IN (
    SELECT id FROM asset_event_tags AS leftover
    WHERE NOT EXISTS (SELECT FROM event_logs WHERE event_logs.id = leftover.event_id)
    LIMIT %(batch)s
);

-- ticks --
DELETE FROM job_ticks
WHERE id IN (
    SELECT id FROM job_ticks AS leftover
    WHERE timestamp < %(before)s
    AND NOT EXISTS (SELECT FROM instigators WHERE instigators.selector_id = leftover.selector_id)
    LIMIT %(batch)s
);

-- vacuum --
VACUUM (ANALYZE) runs, run_tags, event_logs, asset_event_tags, asset_check_executions, job_ticks, asset_keys;

-- size --
SELECT pg_database_size(current_database());
