-- The ledger, the register of versions and the leases, in schema postgres_sync; the versions themselves in flux_versions.
-- Safe to run again: everything is made only where it is missing, views are replaced.
-- The comment on the schema, written last, tells later runs which revision of this script has been applied.

-- What stands already keeps the rights that somebody gave on it.
SELECT set_config('flux.standing', (
    SELECT coalesce(array_agg(oid), '{}') FROM (
        SELECT oid FROM pg_catalog.pg_namespace WHERE nspname IN ('postgres_sync', 'flux_versions')
        UNION ALL
        SELECT oid FROM pg_catalog.pg_class
        WHERE relnamespace IN (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'postgres_sync')) AS ours
)::text, true);

CREATE SCHEMA IF NOT EXISTS postgres_sync;
CREATE SCHEMA IF NOT EXISTS flux_versions;

CREATE TABLE IF NOT EXISTS postgres_sync.sync_status (
    sync_id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    layer_name       text NOT NULL,
    sync_type        text NOT NULL DEFAULT 'FULL',
    started_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    completed_at     timestamptz,
    rows_synced      bigint,
    status           text NOT NULL DEFAULT 'RUNNING' CHECK (status IN ('RUNNING', 'SUCCESS', 'FAILED')),
    error_message    text,
    duration_seconds numeric,
    schema_name      text NOT NULL DEFAULT 'public',
    version          text,
    run_id           text,
    backend_pid      integer,
    backend_start    timestamptz
);
-- What syncs of the dynamic tables say besides; NULL for static layers.
ALTER TABLE postgres_sync.sync_status
    ADD COLUMN IF NOT EXISTS rows_inserted     bigint,
    ADD COLUMN IF NOT EXISTS rows_updated      bigint,
    ADD COLUMN IF NOT EXISTS rows_deleted      bigint,
    ADD COLUMN IF NOT EXISTS source_instant    timestamptz,
    ADD COLUMN IF NOT EXISTS source_changed_at timestamptz;
-- What a load of a pinned layer left unpublished.
ALTER TABLE postgres_sync.sync_status
    ADD COLUMN IF NOT EXISTS held_version text;
-- The newest run of a table; failures, however many good runs came since; the newest runs of all, and the oldest.
DROP INDEX IF EXISTS postgres_sync.sync_status_layer_idx;
CREATE INDEX IF NOT EXISTS sync_status_table_idx ON postgres_sync.sync_status (schema_name, layer_name, started_at DESC);
CREATE INDEX IF NOT EXISTS sync_status_failed_idx
    ON postgres_sync.sync_status (schema_name, layer_name, started_at DESC) WHERE status = 'FAILED';
CREATE INDEX IF NOT EXISTS sync_status_started_idx ON postgres_sync.sync_status (started_at DESC, sync_id DESC);
CREATE INDEX IF NOT EXISTS sync_status_running_idx ON postgres_sync.sync_status (layer_name) WHERE status = 'RUNNING';

COMMENT ON TABLE postgres_sync.sync_status IS 'One row for every load, sync or rollback of a table, also those that failed or changed nothing.';
COMMENT ON COLUMN postgres_sync.sync_status.sync_type IS 'FULL: loaded from a release. PUBLISH: an audited version published without loading. UNCHANGED: nothing to do. ROLLBACK: an earlier version published again. REPLAY: records from quarantine added. DELTA: the differences from Snowflake written. PINNED: nothing published, because the layer is pinned. EJECT: made a plain table again.';
COMMENT ON COLUMN postgres_sync.sync_status.held_version IS 'The release''s version that a load did not publish, because the layer is pinned to another.';
COMMENT ON COLUMN postgres_sync.sync_status.source_instant IS 'The instant as of which the source was read.';
COMMENT ON COLUMN postgres_sync.sync_status.source_changed_at IS 'When the source last changed: as its rows say, else when a sync first saw the change.';
COMMENT ON COLUMN postgres_sync.sync_status.status IS 'RUNNING until the process is done; a RUNNING row whose process is gone is closed by the next run of its table.';

CREATE TABLE IF NOT EXISTS postgres_sync.layer_leases (
    schema_name text NOT NULL,
    layer_name  text NOT NULL,
    lease       bigint NOT NULL,
    PRIMARY KEY (schema_name, layer_name)
);
ALTER TABLE postgres_sync.layer_leases
    ADD COLUMN IF NOT EXISTS holder_pid   integer,
    ADD COLUMN IF NOT EXISTS holder_start timestamptz,
    ADD COLUMN IF NOT EXISTS seen_at      timestamptz;
COMMENT ON TABLE postgres_sync.layer_leases IS 'The newest lease of each layer, and under the names (sync) and (release) that of all syncs and of all whole releases into a schema; only its holder may write.';
COMMENT ON COLUMN postgres_sync.layer_leases.lease IS 'Grows with every load, rollback or sync. A process that was overtaken finds a newer one, and writes nothing.';
COMMENT ON COLUMN postgres_sync.layer_leases.holder_pid IS 'Server process of the holder''s session; NULL when nobody holds the lease.';
COMMENT ON COLUMN postgres_sync.layer_leases.seen_at IS 'When the holder last gave a sign of life. One that is silent for a minute may be overtaken, alive or not.';

CREATE TABLE IF NOT EXISTS postgres_sync.layer_versions (
    schema_name  text NOT NULL,
    layer_name   text NOT NULL,
    lease        bigint NOT NULL,
    version      text NOT NULL,
    sha256       text NOT NULL,
    release_tag  text NOT NULL,
    relation     text NOT NULL,
    state        text NOT NULL CHECK (state IN ('staging', 'staged', 'rejected', 'published', 'dropped')),
    current      boolean NOT NULL DEFAULT false,
    rows         bigint,
    bytes        bigint,
    extent       double precision[],
    audits       jsonb NOT NULL DEFAULT '[]',
    staged_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    published_at timestamptz,
    run_id       text,
    PRIMARY KEY (schema_name, layer_name, lease)
);
-- A file that did not change belongs to several releases.
ALTER TABLE postgres_sync.layer_versions
    ADD COLUMN IF NOT EXISTS further_tags text[] NOT NULL DEFAULT '{}';
CREATE UNIQUE INDEX IF NOT EXISTS layer_versions_current_idx
    ON postgres_sync.layer_versions (schema_name, layer_name) WHERE current;

COMMENT ON TABLE postgres_sync.layer_versions IS 'The register: every version of every layer, which one is current, which can be rolled back to.';
COMMENT ON COLUMN postgres_sync.layer_versions.version IS 'SHA-256 over the release file''s digest and the declaration''s digest.';
COMMENT ON COLUMN postgres_sync.layer_versions.relation IS 'The version''s table in schema flux_versions; gone when the state is dropped.';
COMMENT ON COLUMN postgres_sync.layer_versions.bytes IS 'Bytes on disk of the version''s table with its indexes.';
COMMENT ON COLUMN postgres_sync.layer_versions.further_tags IS 'Releases besides release_tag in which a load found this version.';
COMMENT ON COLUMN postgres_sync.layer_versions.extent IS 'West, south, east, north in degrees (EPSG:4326).';

DO $$
BEGIN
    IF to_regclass('postgres_sync.layer_pins') IS NULL THEN
        CREATE TABLE postgres_sync.layer_pins (
            schema_name text NOT NULL,
            layer_name  text NOT NULL,
            version     text NOT NULL,
            pinned_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
            pinned_by   text NOT NULL DEFAULT session_user,
            reason      text NOT NULL DEFAULT '',
            PRIMARY KEY (schema_name, layer_name)
        );
        -- A rollback of an earlier revision did not pin. Nothing has been loaded since: it is held as one of today is.
        INSERT INTO postgres_sync.layer_pins (schema_name, layer_name, version, pinned_at, reason)
        SELECT live.schema_name, live.layer_name, live.version, live.published_at, 'rolled back'
        FROM postgres_sync.layer_versions AS live
        CROSS JOIN LATERAL (
            SELECT entry.sync_type, entry.version FROM postgres_sync.sync_status AS entry
            WHERE entry.schema_name = live.schema_name AND entry.layer_name = live.layer_name
              AND entry.status = 'SUCCESS' ORDER BY entry.started_at DESC LIMIT 1) AS newest
        WHERE live.current AND newest.sync_type = 'ROLLBACK' AND newest.version = live.version;
    END IF;
END
$$;
COMMENT ON TABLE postgres_sync.layer_pins IS 'Layers that stay at the version that they have: no load publishes another one.';
COMMENT ON COLUMN postgres_sync.layer_pins.version IS 'The version that was live when the layer was pinned; loads of this one go on as ever.';
COMMENT ON COLUMN postgres_sync.layer_pins.pinned_by IS 'Database role that pinned the layer.';

-- For the transaction that publishes. Its own SQLSTATE, so that the caller knows it for a refusal and no fault.
CREATE OR REPLACE FUNCTION postgres_sync.refuse_pinned(wanted_schema text, wanted_layer text, wanted_version text)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    pinned text;
BEGIN
    SELECT version INTO pinned FROM postgres_sync.layer_pins
    WHERE schema_name = wanted_schema AND layer_name = wanted_layer AND version <> wanted_version;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'FXPIN', MESSAGE = format('pinned to version %s', pinned),
            SCHEMA = wanted_schema, TABLE = wanted_layer, CONSTRAINT = wanted_version;
    END IF;
END
$$;
COMMENT ON FUNCTION postgres_sync.refuse_pinned IS 'Fails with FXPIN where the layer is pinned to a version other than the wanted one.';

CREATE TABLE IF NOT EXISTS postgres_sync.sync_state (
    schema_name       text NOT NULL,
    layer_name        text NOT NULL,
    declaration       text NOT NULL,
    token             text,
    fingerprint       text NOT NULL,
    origins           jsonb NOT NULL,
    mark              text NOT NULL,
    shape             text NOT NULL,
    rows              bigint NOT NULL,
    source_instant    timestamptz NOT NULL,
    source_changed_at timestamptz NOT NULL,
    changed_at        timestamptz NOT NULL,
    PRIMARY KEY (schema_name, layer_name)
);
ALTER TABLE postgres_sync.sync_state
    ADD COLUMN IF NOT EXISTS mapping text,
    ADD COLUMN IF NOT EXISTS read_at timestamptz,
    ADD COLUMN IF NOT EXISTS relation oid,
    ADD COLUMN IF NOT EXISTS others_wrote_at timestamptz,
    ADD COLUMN IF NOT EXISTS others_wrote text;
COMMENT ON TABLE postgres_sync.sync_state IS 'What the last sync that wrote a dynamic table left, and from what: the next one does nothing when all of it still holds.';
COMMENT ON COLUMN postgres_sync.sync_state.declaration IS 'SHA-256 over the declaration and the configuration that decide which rows with which values the table holds.';
COMMENT ON COLUMN postgres_sync.sync_state.token IS 'The source''s change token, read before its rows; none where it has none, or one that is not believed.';
COMMENT ON COLUMN postgres_sync.sync_state.mapping IS 'SHA-256 over how the columns found in the source feed the table; none where no sync has noted it yet.';
COMMENT ON COLUMN postgres_sync.sync_state.fingerprint IS 'XXH3 (128 bits) over the rows read, in the order of their keys.';
COMMENT ON COLUMN postgres_sync.sync_state.origins IS 'Versions and shapes of the tables that columns were derived from.';
COMMENT ON COLUMN postgres_sync.sync_state.mark IS 'Row count and an order-free hash over where each row lies and which transaction wrote it: any write by others changes it.';
COMMENT ON COLUMN postgres_sync.sync_state.shape IS 'Hash over the table''s columns, key and indexes as last found fit.';
COMMENT ON COLUMN postgres_sync.sync_state.read_at IS 'When the source''s rows were last read, by this database''s clock; noted where the next reading depends on it.';
COMMENT ON COLUMN postgres_sync.sync_state.relation IS 'The table, by number: another one of the name was put in its place by others.';
COMMENT ON COLUMN postgres_sync.sync_state.others_wrote_at IS 'When a sync last found that others had written the table.';
COMMENT ON COLUMN postgres_sync.sync_state.others_wrote IS 'What it found.';
COMMENT ON COLUMN postgres_sync.sync_state.changed_at IS 'When a sync last wrote a row of the table.';

-- Earlier revisions counted in rows_synced the rows that a run had written.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_attribute
                   WHERE attrelid = 'postgres_sync.sync_status'::regclass AND attname = 'rows_changed') THEN
        ALTER TABLE postgres_sync.sync_status ADD COLUMN rows_changed bigint;
        UPDATE postgres_sync.sync_status AS entry SET rows_changed = rows_synced, rows_synced = coalesce(counted.rows, rows_synced)
        FROM (SELECT run.sync_id, CASE WHEN run.source_instant IS NOT NULL THEN greatest(0, state.rows - coalesce(sum(
                         run.rows_inserted - run.rows_deleted) OVER later, 0)) END AS rows
              FROM postgres_sync.sync_status AS run
              LEFT JOIN postgres_sync.sync_state AS state USING (schema_name, layer_name)
              WHERE run.rows_synced IS NOT NULL
              WINDOW later AS (PARTITION BY run.schema_name, run.layer_name ORDER BY run.sync_id DESC
                               ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)) AS counted
        WHERE counted.sync_id = entry.sync_id;
    END IF;
END
$$;
COMMENT ON COLUMN postgres_sync.sync_status.rows_synced IS 'Rows of the table that were in step with its source when the run ended, written by it or not; of a pinned layer those of the version that it is pinned to.';
COMMENT ON COLUMN postgres_sync.sync_status.rows_changed IS 'Rows that the run inserted, updated or deleted; all rows of a version that it published.';

CREATE TABLE IF NOT EXISTS postgres_sync.tables (
    schema_name text NOT NULL,
    layer_name  text NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('static', 'dynamic')),
    place       integer NOT NULL,
    late_after  interval,
    still_after interval,
    PRIMARY KEY (schema_name, layer_name)
);
COMMENT ON TABLE postgres_sync.tables IS 'The declared tables, kept as the declarations have them by every load and sync, so that SQL can judge a table.';
COMMENT ON COLUMN postgres_sync.tables.kind IS 'static: loaded from a release. dynamic: synced from Snowflake.';
COMMENT ON COLUMN postgres_sync.tables.place IS 'Where the table stands in lists.';
COMMENT ON COLUMN postgres_sync.tables.late_after IS 'How old the picture that a dynamic table gives of its source may become.';
COMMENT ON COLUMN postgres_sync.tables.still_after IS 'For how long the source of a dynamic table may stand still without being worth a look.';

-- Quarantine: records of a release file that a load refused and went on without, and what a replay made of them.
CREATE TABLE IF NOT EXISTS postgres_sync.quarantine (
    schema_name    text NOT NULL,
    layer_name     text NOT NULL,
    lease          bigint NOT NULL,
    record         bigint NOT NULL,
    version        text NOT NULL,
    file           text NOT NULL,
    line           bigint NOT NULL,
    column_name    text,
    reason         text NOT NULL,
    header         text[] NOT NULL,
    raw_record     text NOT NULL,
    raw_bytes      bigint NOT NULL,
    raw_cut        boolean NOT NULL,
    quarantined_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    run_id         text,
    replayed_at    timestamptz,
    PRIMARY KEY (schema_name, layer_name, lease, record)
);
CREATE INDEX IF NOT EXISTS quarantine_waiting_idx
    ON postgres_sync.quarantine (schema_name, layer_name, lease) WHERE replayed_at IS NULL;
COMMENT ON TABLE postgres_sync.quarantine IS 'Records that are missing from a version because they were refused, and those that a replay has added. They go with their version.';
COMMENT ON COLUMN postgres_sync.quarantine.lease IS 'With schema and layer: the version, as in layer_versions. A replay makes a new version, with rows of its own here.';
COMMENT ON COLUMN postgres_sync.quarantine.record IS 'Number of the record in the file; 1 is the first after the header.';
COMMENT ON COLUMN postgres_sync.quarantine.header IS 'The columns of raw_record, in its order.';
COMMENT ON COLUMN postgres_sync.quarantine.raw_record IS 'The record as the file has it, without its line end; the first 64 kB where raw_cut. Correct it here and replay.';
COMMENT ON COLUMN postgres_sync.quarantine.raw_cut IS 'raw_record is not the whole record, or it is not UTF-8: a replay needs it corrected, and this set to false.';
COMMENT ON COLUMN postgres_sync.quarantine.replayed_at IS 'When a replay made a row of this version of it; NULL while it waits.';
ALTER TABLE postgres_sync.sync_status ADD COLUMN IF NOT EXISTS rows_quarantined bigint;
ALTER TABLE postgres_sync.layer_versions
    ADD COLUMN IF NOT EXISTS base_version text,
    ADD COLUMN IF NOT EXISTS rows_replayed bigint,
    ADD COLUMN IF NOT EXISTS inputs jsonb;
COMMENT ON COLUMN postgres_sync.layer_versions.inputs IS 'Of a computed layer: the version of each layer that it was made of.';
-- What monitoring asks: see docs/monitoring.md.
ALTER TABLE postgres_sync.sync_status
    ADD COLUMN IF NOT EXISTS step_seconds jsonb,
    ADD COLUMN IF NOT EXISTS lock_seconds double precision;
CREATE INDEX IF NOT EXISTS sync_status_locked_idx
    ON postgres_sync.sync_status (schema_name, layer_name, started_at DESC) WHERE lock_seconds IS NOT NULL;
COMMENT ON COLUMN postgres_sync.sync_status.step_seconds IS 'Seconds by step of a run that succeeded; steps may overlap. A sync notes them in its commit, which is not among them.';
COMMENT ON COLUMN postgres_sync.sync_status.lock_seconds IS 'For how long a publish locked readers out; none where there was nothing to lock.';
COMMENT ON COLUMN postgres_sync.sync_status.rows_quarantined IS 'Records of the release file that the published version lacks because they are in quarantine.';
COMMENT ON COLUMN postgres_sync.layer_versions.base_version IS 'Of a version that a replay made: the version of the release file that it contains.';
COMMENT ON COLUMN postgres_sync.layer_versions.rows_replayed IS 'Rows that were once in quarantine and that replays added.';

CREATE TABLE IF NOT EXISTS postgres_sync.dropped_keys (
    schema_name     text NOT NULL,
    layer_name      text NOT NULL,
    referring       text NOT NULL,
    constraint_name text NOT NULL,
    columns         text[] NOT NULL,
    key_columns     text[] NOT NULL,
    definition      text NOT NULL,
    dropped_at      timestamptz NOT NULL DEFAULT clock_timestamp()
);
ALTER TABLE postgres_sync.dropped_keys
    ADD COLUMN IF NOT EXISTS orphans bigint;
COMMENT ON TABLE postgres_sync.dropped_keys IS 'Foreign keys that pointed at a table that was taken over, and were dropped for that; the check of this name counts the rows that lead nowhere.';
COMMENT ON COLUMN postgres_sync.dropped_keys.orphans IS 'How many rows led nowhere when the check was made last.';

-- pg_stat_activity hides from a reader when the sessions of others began; the owner of the ledger began them. A replica
-- knows nothing of the sessions of its primary: there a run counts as alive until its row says otherwise.
CREATE OR REPLACE FUNCTION postgres_sync.is_alive(process integer, begun timestamptz) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT pg_is_in_recovery()
        OR EXISTS (SELECT FROM pg_stat_activity WHERE pid = process AND coalesce(backend_start, begun) = begun)
$$;
COMMENT ON FUNCTION postgres_sync.is_alive IS 'Whether the server process that a row of the ledger names is still the one that wrote it.';

-- Only who owns the ledger can lock a row of it: no reader can keep a load or a sync from its lease.
CREATE OR REPLACE FUNCTION postgres_sync.hold_lease(of_schema text, of_layer text, expected bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    newest bigint;
BEGIN
    SELECT lease INTO newest FROM postgres_sync.layer_leases
    WHERE schema_name = of_schema AND layer_name = of_layer FOR UPDATE;
    IF newest IS DISTINCT FROM expected THEN
        RAISE EXCEPTION 'lease % was overtaken by lease %', expected, newest
            USING ERRCODE = 'FX001', TABLE = format('%s.%s', of_schema, of_layer);
    END IF;
END
$$;
COMMENT ON FUNCTION postgres_sync.hold_lease IS 'Keeps a lease from being overtaken until the transaction ends; raises FX001 when it has been.';

-- PostgreSQL's own is volatile, and a view with that works out all tables for whoever asks about one.
CREATE OR REPLACE FUNCTION postgres_sync.has_no_pages(relation oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT pg_relation_size(relation) = 0
$$;
COMMENT ON FUNCTION postgres_sync.has_no_pages IS 'Whether a table has never had a row, or was truncated since; none where it is gone.';

CREATE OR REPLACE FUNCTION postgres_sync.in_words(seconds double precision) RETURNS text
LANGUAGE sql IMMUTABLE
AS $$
    SELECT CASE WHEN seconds < 60 THEN 'just now' ELSE (
        SELECT format('%s %s%s ago', count, unit, CASE WHEN count > 1 THEN 's' END)
        FROM (VALUES (86400, 'day'), (3600, 'hour'), (60, 'minute')) AS units (size, unit),
             LATERAL (SELECT floor(seconds / size)::bigint) AS counted (count)
        WHERE count >= 1 ORDER BY size DESC LIMIT 1) END
$$;
COMMENT ON FUNCTION postgres_sync.in_words IS 'An age as people say it: just now, 5 minutes ago, 2 days ago.';

-- Views grow at their end alone, so that views of others on them stay.
CREATE OR REPLACE VIEW postgres_sync.v_sync_status AS
SELECT sync_id, layer_name, sync_type, started_at, completed_at, rows_synced, status, duration_seconds,
       left(error_message, 200) AS error_preview, schema_name, version, run_id,
       rows_inserted, rows_updated, rows_deleted, source_instant, source_changed_at,
       CASE WHEN status = 'RUNNING' THEN NOT postgres_sync.is_alive(backend_pid, backend_start) ELSE false END AS died,
       held_version, rows_quarantined, rows_changed, step_seconds, lock_seconds
FROM postgres_sync.sync_status
ORDER BY started_at DESC, sync_id DESC
LIMIT 100;
COMMENT ON VIEW postgres_sync.v_sync_status IS 'The 100 newest rows of the ledger, newest first.';
COMMENT ON COLUMN postgres_sync.v_sync_status.layer_name IS 'The table, in schema schema_name.';
COMMENT ON COLUMN postgres_sync.v_sync_status.sync_type IS 'What was done: FULL, PUBLISH, UNCHANGED, ROLLBACK, DELTA.';
COMMENT ON COLUMN postgres_sync.v_sync_status.status IS 'RUNNING, SUCCESS or FAILED.';
COMMENT ON COLUMN postgres_sync.v_sync_status.error_preview IS 'How the message of a failed run begins.';
COMMENT ON COLUMN postgres_sync.v_sync_status.version IS 'The version of a layer that the run was about.';
COMMENT ON COLUMN postgres_sync.v_sync_status.run_id IS 'Its run of Dagster.';
COMMENT ON COLUMN postgres_sync.v_sync_status.source_instant IS 'The instant as of which the source was read.';
COMMENT ON COLUMN postgres_sync.v_sync_status.source_changed_at IS 'When the source last changed: as its rows say, else when a sync first saw the change.';
COMMENT ON COLUMN postgres_sync.v_sync_status.rows_quarantined IS 'Records of the file that were refused and set aside.';
COMMENT ON COLUMN postgres_sync.v_sync_status.step_seconds IS 'Seconds by step.';
COMMENT ON COLUMN postgres_sync.v_sync_status.lock_seconds IS 'For how long the publish locked readers out.';
COMMENT ON COLUMN postgres_sync.v_sync_status.rows_synced IS 'Rows of the table in step with its source when the run ended; an unchanged sync has them too.';
COMMENT ON COLUMN postgres_sync.v_sync_status.rows_changed IS 'Rows that the run wrote.';
COMMENT ON COLUMN postgres_sync.v_sync_status.held_version IS 'The release''s version that a load left unpublished, because the layer is pinned.';
COMMENT ON COLUMN postgres_sync.v_sync_status.died IS 'The row is RUNNING and its process is gone: the next run of the table closes it as FAILED.';

CREATE OR REPLACE VIEW postgres_sync.v_sync_summary AS
SELECT layer_name,
       count(*) AS total_syncs,
       count(*) FILTER (WHERE status = 'SUCCESS') AS successful_syncs,
       count(*) FILTER (WHERE status = 'FAILED') AS failed_syncs,
       max(started_at) AS last_sync,
       round(avg(duration_seconds), 2) AS avg_duration_seconds,
       sum(rows_synced) AS total_rows_synced,
       schema_name,
       count(*) FILTER (WHERE status = 'SUCCESS' AND sync_type = 'UNCHANGED') AS unchanged_syncs,
       count(*) FILTER (WHERE CASE WHEN status = 'RUNNING' THEN NOT postgres_sync.is_alive(backend_pid, backend_start)
                                   ELSE false END) AS died_syncs,
       max(started_at) FILTER (WHERE status = 'SUCCESS') AS last_success,
       max(started_at) FILTER (WHERE status = 'FAILED') AS last_failure,
       sum(rows_changed) AS total_rows_changed
FROM postgres_sync.sync_status
WHERE started_at >= now() - interval '7 days'
GROUP BY schema_name, layer_name
ORDER BY max(started_at) DESC;
COMMENT ON VIEW postgres_sync.v_sync_summary IS 'One row for each table over the last 7 days, the latest first.';
COMMENT ON COLUMN postgres_sync.v_sync_summary.total_syncs IS 'Loads, syncs and rollbacks.';
COMMENT ON COLUMN postgres_sync.v_sync_summary.total_rows_synced IS 'The sum of rows_synced.';
COMMENT ON COLUMN postgres_sync.v_sync_summary.unchanged_syncs IS 'Those that found nothing to do.';
COMMENT ON COLUMN postgres_sync.v_sync_summary.died_syncs IS 'Those whose process is gone, and whose row is still RUNNING.';
COMMENT ON COLUMN postgres_sync.v_sync_summary.total_rows_changed IS 'Rows written.';

-- Read without locking any table: a dashboard that keeps its transaction open must not keep a version from being
-- published. Only where the catalog cannot tell an empty table from one without statistics is its size asked for,
-- which locks it for that moment.
CREATE OR REPLACE VIEW postgres_sync.v_table_status AS
WITH known AS (
    SELECT declared.schema_name, declared.layer_name, declared.kind, declared.place, declared.late_after,
           declared.still_after, format('%s.%s', declared.schema_name, declared.layer_name) AS title,
           relation.oid AS relation, relation.relkind AS relation_kind, relation.reltuples AS relation_rows,
           attached.oid AS attached, attached.reltuples AS attached_rows, attached.relname AS attached_name,
           attached.relnamespace::regnamespace::text AS attached_schema,
           live.version, live.lease, live.release_tag, live.relation AS version_relation, live.sha256,
           live.bytes AS version_bytes, relation.reltoastrelid AS relation_toast,
           left(live.version, 12) AS short_version,
           CASE declared.kind WHEN 'static' THEN live.rows ELSE state.rows END AS rows,
           CASE declared.kind WHEN 'static' THEN live.published_at ELSE state.changed_at END AS published_at,
           state.layer_name IS NOT NULL AS synced, state.relation AS synced_relation,
           CASE WHEN state.others_wrote_at > statement_timestamp() - interval '1 hour' THEN state.others_wrote_at END
               AS others_wrote_at, state.others_wrote AS found_written,
           -- A version is filled once, and never written again; copies of it are other tables.
           CASE WHEN declared.kind = 'static' THEN greatest(0, pg_stat_get_tuples_inserted(attached.oid) - live.rows) END
               AS rows_added,
           CASE WHEN declared.kind = 'static' THEN
               pg_stat_get_tuples_updated(attached.oid) + pg_stat_get_tuples_deleted(attached.oid) END AS rows_edited,
           pin.pinned_at, pin.pinned_by, pin.reason AS pin_reason
    FROM postgres_sync.tables AS declared
    LEFT JOIN postgres_sync.layer_versions AS live
        ON declared.kind = 'static' AND live.current
        AND live.schema_name = declared.schema_name AND live.layer_name = declared.layer_name
    LEFT JOIN postgres_sync.sync_state AS state
        ON declared.kind = 'dynamic'
        AND state.schema_name = declared.schema_name AND state.layer_name = declared.layer_name
    LEFT JOIN postgres_sync.layer_pins AS pin
        ON declared.kind = 'static'
        AND pin.schema_name = declared.schema_name AND pin.layer_name = declared.layer_name
    LEFT JOIN pg_catalog.pg_namespace AS namespace ON namespace.nspname = declared.schema_name
    LEFT JOIN pg_catalog.pg_class AS relation
        ON relation.relnamespace = namespace.oid AND relation.relname = declared.layer_name
    LEFT JOIN pg_catalog.pg_partitioned_table AS partitioned ON partitioned.partrelid = relation.oid
    LEFT JOIN pg_catalog.pg_class AS attached ON attached.oid = partitioned.partdefid
), looked AS (
    SELECT known.*, run.sync_id, run.run_id, run.sync_type, run.status, run.alive, run.error_message,
           coalesce(run.completed_at, run.started_at) AS attempted_at,
           extract(epoch FROM statement_timestamp() - run.started_at)::float8 AS begun_seconds,
           extract(epoch FROM statement_timestamp() - coalesce(run.completed_at, run.started_at))::float8
               AS ended_seconds,
           checked.completed_at AS checked_at, checked.source_instant, checked.duration_seconds, checked.rows_changed,
           checked.step_seconds, kept.versions AS kept_versions, kept.bytes AS kept_bytes,
           CASE WHEN checked.source_instant IS NOT NULL
               THEN greatest(0, extract(epoch FROM statement_timestamp() - checked.source_instant))::float8 END
               AS lag_seconds,
           CASE known.kind WHEN 'dynamic' THEN checked.source_changed_at ELSE (
               SELECT min(staged_at) FROM postgres_sync.layer_versions AS seen
               WHERE seen.schema_name = known.schema_name AND seen.layer_name = known.layer_name
                 AND seen.sha256 = known.sha256) END AS source_changed_at,
           failure.completed_at AS last_error_at,
           split_part(ltrim(failure.error_message, E' \r\n\t'), E'\n', 1) AS last_error,
           recent.failures AS failures_last_hour, held.held_version,
           CASE run.sync_type WHEN 'ROLLBACK' THEN (
               SELECT entry.version FROM postgres_sync.sync_status AS entry
               WHERE entry.schema_name = known.schema_name AND entry.layer_name = known.layer_name
                 AND entry.status = 'SUCCESS' AND entry.sync_id < run.sync_id
               ORDER BY entry.started_at DESC LIMIT 1) END AS gone_back_from,
           (SELECT string_agg(partition.inhrelid::regclass::text, ', ' ORDER BY partition.inhrelid)
            FROM pg_catalog.pg_inherits AS partition
            WHERE partition.inhparent = known.relation HAVING count(*) > 1) AS partitions,
           CASE relation_kind WHEN 'r' THEN 'a plain table' WHEN 'p' THEN 'a partitioned table' WHEN 'v' THEN 'a view'
                WHEN 'm' THEN 'a materialized view' WHEN 'f' THEN 'a foreign table'
                ELSE 'a relation of another kind' END AS kind_in_words,
           CASE WHEN kind = 'static' AND attached_rows > 0 OR kind = 'dynamic' AND relation_rows > 0 THEN false
                ELSE postgres_sync.has_no_pages(CASE kind WHEN 'static' THEN attached ELSE relation END) END AS is_empty
    FROM known
    -- Runs of one table can overlap (one waits, or gives up, while another loads): one under way comes first, then the
    -- one that ended last. A rollback that was refused has changed nothing and says nothing about the table; a replay,
    -- whatever became of it, says nothing about the release.
    LEFT JOIN LATERAL (
        SELECT * FROM (
            SELECT entry.*, CASE entry.status WHEN 'RUNNING'
                       THEN postgres_sync.is_alive(entry.backend_pid, entry.backend_start) ELSE false END AS alive
            FROM postgres_sync.sync_status AS entry
            WHERE entry.schema_name = known.schema_name AND entry.layer_name = known.layer_name
            ORDER BY entry.started_at DESC LIMIT 20) AS recent
        WHERE recent.alive OR recent.sync_type <> 'REPLAY'
          AND (recent.status = 'SUCCESS' OR recent.sync_type <> 'ROLLBACK')
        ORDER BY recent.alive DESC, coalesce(recent.completed_at, recent.started_at) DESC, recent.sync_id DESC
        LIMIT 1) AS run ON true
    LEFT JOIN LATERAL (
        SELECT CASE WHEN entry.sync_type <> 'EJECT' THEN entry.completed_at END AS completed_at, entry.source_instant,
               entry.source_changed_at, entry.duration_seconds, entry.rows_changed, entry.step_seconds
        FROM postgres_sync.sync_status AS entry
        WHERE entry.schema_name = known.schema_name AND entry.layer_name = known.layer_name
          AND entry.status = 'SUCCESS' AND entry.sync_type NOT IN ('ROLLBACK', 'REPLAY', 'PINNED')
        ORDER BY entry.started_at DESC LIMIT 1) AS checked ON true
    -- What the newest load of the pinned layer met: none where the release holds the very version that it is pinned to.
    LEFT JOIN LATERAL (
        SELECT entry.held_version FROM postgres_sync.sync_status AS entry
        WHERE known.pinned_at IS NOT NULL
          AND entry.schema_name = known.schema_name AND entry.layer_name = known.layer_name
          AND entry.status = 'SUCCESS' AND entry.completed_at > known.pinned_at
        ORDER BY entry.started_at DESC LIMIT 1) AS held ON true
    LEFT JOIN LATERAL (
        SELECT entry.completed_at, entry.error_message FROM postgres_sync.sync_status AS entry
        WHERE entry.schema_name = known.schema_name AND entry.layer_name = known.layer_name
          AND entry.status = 'FAILED' AND entry.sync_type NOT IN ('ROLLBACK', 'REPLAY')
        ORDER BY entry.started_at DESC LIMIT 1) AS failure ON true
    LEFT JOIN LATERAL (
        SELECT count(*) AS failures FROM postgres_sync.sync_status AS entry
        WHERE entry.schema_name = known.schema_name AND entry.layer_name = known.layer_name
          AND entry.status = 'FAILED' AND entry.sync_type NOT IN ('ROLLBACK', 'REPLAY')
          AND entry.started_at > statement_timestamp() - interval '1 hour') AS recent ON true
    LEFT JOIN LATERAL (
        SELECT count(*) AS versions, coalesce(sum(other.bytes), 0)::bigint AS bytes
        FROM postgres_sync.layer_versions AS other
        WHERE other.schema_name = known.schema_name AND other.layer_name = known.layer_name
          AND NOT other.current AND other.state <> 'dropped'
          -- What to_regclass asks a reader has no right to.
          AND EXISTS (SELECT FROM pg_catalog.pg_class AS own JOIN pg_catalog.pg_namespace AS place
                          ON place.oid = own.relnamespace AND place.nspname = 'flux_versions'
                      WHERE own.relname = other.relation)) AS kept ON known.kind = 'static'
), damaged AS (
    SELECT looked.*,
           CASE WHEN version IS NULL AND NOT synced THEN NULL
                WHEN relation IS NULL THEN format('table %s is gone', title)
                WHEN relation_kind <> CASE kind WHEN 'static' THEN 'p' ELSE 'r' END
                    THEN format('%s is %s now', title, kind_in_words)
                WHEN kind = 'dynamic' THEN
                    CASE WHEN relation <> synced_relation
                        THEN format('%s is another table than the one that the last sync left', title)
                        WHEN is_empty AND rows > 0
                        THEN format('%s is empty, and the last sync left %s rows', title,
                                    to_char(rows, 'FM999,999,999,999')) END
                WHEN attached IS NULL
                    THEN format('version %s is not attached to %s: readers see none of its rows', short_version, title)
                WHEN (attached_schema, attached_name) <> ('flux_versions', version_relation)
                    THEN format('%s.%s is attached where version %s should be', attached_schema, attached_name,
                                short_version)
                WHEN is_empty <> (coalesce(rows, 0) = 0)
                    THEN format('%s is %s, but its version had %s rows', title,
                                CASE WHEN is_empty THEN 'empty' ELSE 'not empty' END,
                                to_char(coalesce(rows, 0), 'FM999,999,999,990'))
                WHEN partitions IS NOT NULL
                    THEN format('%s has partitions that flux_assets did not make: %s', title, partitions)
                WHEN rows_added + rows_edited > 0
                    THEN format('others wrote into %s since it was published: %s rows added, %s changed or deleted',
                                title, to_char(rows_added, 'FM999,999,999,990'),
                                to_char(rows_edited, 'FM999,999,999,990'))
           END AS damage,
           CASE WHEN source_instant IS NOT NULL
                    THEN format('it shows the source of %s', postgres_sync.in_words(lag_seconds))
                WHEN version IS NULL THEN 'nothing was published before'
                ELSE format('still serving version %s', short_version) END AS serving,
           CASE WHEN pinned_at IS NOT NULL THEN concat(
               'pinned ', postgres_sync.in_words(extract(epoch FROM statement_timestamp() - pinned_at)::float8),
               ' (' || nullif(pin_reason, '') || ')',
               format(': no load publishes another version before `flux-assets unpin %s`', layer_name),
               '; version ' || left(held_version, 12) || ' waits') END AS pinned,
           CASE failures_last_hour WHEN 0 THEN ''
                -- What is over is told in short; last_error has all of it.
                WHEN 1 THEN format('failed once in the last hour: %s', regexp_replace(last_error, '^(.{120}).+$', '\1 …'))
                ELSE format('failed %s times in the last hour, at last: %s', failures_last_hour,
                            regexp_replace(last_error, '^(.{120}).+$', '\1 …')) END AS history
    FROM looked
), judged AS (
    SELECT damaged.*,
           CASE WHEN damage IS NOT NULL THEN 'broken'
                WHEN lag_seconds > extract(epoch FROM late_after) THEN 'late'
                WHEN checked_at IS NOT NULL AND kind = 'static' AND version IS NULL THEN 'broken'
                WHEN version IS NULL AND NOT synced
                    THEN CASE kind WHEN 'static' THEN 'never loaded' ELSE 'not synced' END
                WHEN statement_timestamp() - source_changed_at > still_after THEN 'still'
                ELSE 'live' END AS state,
           CASE WHEN alive THEN 'under way'
                WHEN status = 'RUNNING' THEN 'interrupted'
                WHEN status = 'FAILED' THEN 'failed'
                WHEN status = 'SUCCESS' THEN 'succeeded' END AS last_attempt
    FROM damaged
)
SELECT schema_name, layer_name, kind, state,
       CASE WHEN state IN ('live', 'still') THEN true
            WHEN state IN ('late', 'broken') THEN false END AS trusted,
       concat_ws('; ', nullif(CASE state
           WHEN 'broken' THEN CASE
               WHEN damage IS NULL
                   THEN 'a load succeeded, and the register has no current version; load it again'
               ELSE format('%s; %s', damage, CASE
                   -- Whether a sync can take a table that others made shows only when its columns are looked at.
                   WHEN kind = 'dynamic' AND coalesce(relation_kind, 'r') = 'r'
                       AND relation IS NOT DISTINCT FROM coalesce(synced_relation, relation)
                       OR kind = 'dynamic' AND relation IS NULL THEN 'the next sync fixes it'
                   WHEN kind = 'static' AND NOT is_empty AND relation_kind = 'p' AND partitions IS NULL
                       AND attached_name = version_relation AND rows_added + rows_edited > 0
                       THEN 'load it again with force: true'
                   WHEN kind = 'static' AND (relation IS NULL OR relation_kind = 'p' AND partitions IS NULL
                       AND coalesce(attached_schema, 'flux_versions') = 'flux_versions') THEN 'load it again'
                   ELSE '`flux-assets doctor` says what to do' END) END
           WHEN 'late' THEN format('expected within %s; %s',
               replace(postgres_sync.in_words(extract(epoch FROM late_after)::float8), ' ago', ''),
               CASE last_attempt WHEN 'under way'
                        THEN format('a sync is under way, begun %s', postgres_sync.in_words(begun_seconds))
                    WHEN 'failed' THEN 'its last sync failed'
                    ELSE 'is dynamic_sync_schedule running?' END)
           WHEN 'still' THEN format('its source has not changed for %s', replace(postgres_sync.in_words(
               extract(epoch FROM statement_timestamp() - source_changed_at)::float8), ' ago', ''))
           WHEN 'live' THEN CASE WHEN last_attempt = 'succeeded' AND sync_type = 'ROLLBACK' AND pinned IS NULL
               THEN format('rolled back %s from version %s; the next load publishes what the release holds',
                    postgres_sync.in_words(ended_seconds), left(gone_back_from, 12)) END
           ELSE CASE WHEN relation IS NOT NULL AND kind = 'static' AND relation_kind <> 'p'
                    THEN format('%s of another origin has its name', kind_in_words) ELSE '' END
       END, ''), pinned, (
           SELECT string_agg(format('%s of %s lead nowhere, which the dropped foreign key %s would have refused',
                                    CASE orphans WHEN 1 THEN '1 row' ELSE to_char(orphans, 'FM999,999,999,999') || ' rows' END,
                                    referring, constraint_name), '; ' ORDER BY referring, constraint_name)
           FROM postgres_sync.dropped_keys AS dropped
           WHERE dropped.schema_name = judged.schema_name AND dropped.layer_name = judged.layer_name AND orphans > 0)
       ) AS detail,
       rows, version, release_tag, source_changed_at, checked_at, published_at, source_instant, lag_seconds,
       nullif(last_error, '') AS last_error, last_error_at, failures_last_hour, sync_id, run_id, place,
       pinned_at, pinned_by, nullif(pin_reason, '') AS pin_reason, held_version,
       (SELECT count(*) FROM postgres_sync.quarantine AS held
        WHERE held.schema_name = judged.schema_name AND held.layer_name = judged.layer_name
          AND held.lease = judged.lease AND held.replayed_at IS NULL) AS rows_quarantined,
       last_attempt, attempted_at AS last_attempt_at,
       CASE last_attempt
           WHEN 'failed' THEN format('%s: %s (%s)', postgres_sync.in_words(ended_seconds),
               split_part(coalesce(nullif(ltrim(error_message, E' \r\n\t'), ''), 'no reason given'), E'\n', 1), serving)
           WHEN 'interrupted' THEN format('the run begun %s died without finishing; %s; run it again',
               postgres_sync.in_words(begun_seconds), serving)
           WHEN 'under way' THEN format('%s, begun %s; %s',
               CASE sync_type WHEN 'ROLLBACK' THEN 'rolling back' ELSE 'under way' END,
               postgres_sync.in_words(begun_seconds), serving)
           WHEN 'succeeded' THEN nullif(history, '') END AS last_attempt_detail,
       others_wrote_at,
       CASE WHEN others_wrote_at IS NOT NULL
                THEN format('others wrote it besides the syncs, as was found %s (%s)', postgres_sync.in_words(
                    extract(epoch FROM statement_timestamp() - others_wrote_at)::float8), found_written)
            WHEN damage IS NOT NULL THEN 'others did that' END
       || ': stop the old loader, and suspend the old task (' || CASE kind
              WHEN 'dynamic' THEN 'ALTER TASK POSTGRES_SYNC.TASK_DYNAMIC_POSTGRES_SYNC SUSPEND' ELSE 'ALTER TASK … SUSPEND' END
       || '), where they still run' AS others_wrote,
       duration_seconds, rows_changed, step_seconds,
       CASE kind WHEN 'static' THEN (
           SELECT entry.lock_seconds FROM postgres_sync.sync_status AS entry
           WHERE entry.schema_name = judged.schema_name AND entry.layer_name = judged.layer_name
             AND entry.lock_seconds IS NOT NULL ORDER BY entry.started_at DESC LIMIT 1) END AS lock_seconds,
       -- Of the catalog: to ask for the size itself would lock the table.
       CASE kind WHEN 'static' THEN version_bytes ELSE (
           SELECT sum(part.relpages)::bigint * current_setting('block_size')::integer FROM pg_catalog.pg_class AS part
           WHERE part.oid IN (relation, relation_toast) OR part.oid IN (
               SELECT indexrelid FROM pg_catalog.pg_index WHERE indrelid IN (relation, relation_toast))) END AS table_bytes,
       kept_versions, kept_bytes
FROM judged
ORDER BY schema_name, place, layer_name;
COMMENT ON VIEW postgres_sync.v_table_status IS 'One row for each declared table: what `flux-assets status` shows.';
COMMENT ON COLUMN postgres_sync.v_table_status.kind IS 'static (a layer) or dynamic (a synced table).';
COMMENT ON COLUMN postgres_sync.v_table_status.version IS 'The version of the layer that is live; release_tag is its release.';
COMMENT ON COLUMN postgres_sync.v_table_status.rows IS 'How many rows readers see.';
COMMENT ON COLUMN postgres_sync.v_table_status.source_instant IS 'The instant as of which the source was last read.';
COMMENT ON COLUMN postgres_sync.v_table_status.failures_last_hour IS 'Loads or syncs that failed within the last hour.';
COMMENT ON COLUMN postgres_sync.v_table_status.place IS 'Its place among the declarations.';
COMMENT ON COLUMN postgres_sync.v_table_status.state IS 'What readers see: live, still (the source has not changed for long), late, broken, never loaded, not synced.';
COMMENT ON COLUMN postgres_sync.v_table_status.trusted IS 'Whether what readers see is what it should be, however the last attempt ended; none where there is nothing yet.';
COMMENT ON COLUMN postgres_sync.v_table_status.detail IS 'What the state means here, in a line.';
COMMENT ON COLUMN postgres_sync.v_table_status.source_changed_at IS 'When the source last changed. Of a static table: when the file that is live was first seen.';
COMMENT ON COLUMN postgres_sync.v_table_status.checked_at IS 'When the table was last found, or made, equal to its source.';
COMMENT ON COLUMN postgres_sync.v_table_status.published_at IS 'When what readers see last changed.';
COMMENT ON COLUMN postgres_sync.v_table_status.lag_seconds IS 'How old the picture is that a dynamic table gives of its source.';
COMMENT ON COLUMN postgres_sync.v_table_status.last_error IS 'First line of the newest failure, however long ago.';
COMMENT ON COLUMN postgres_sync.v_table_status.pinned_at IS 'Since when the layer is pinned: no load publishes another version. None where it is not.';
COMMENT ON COLUMN postgres_sync.v_table_status.pinned_by IS 'Database role that pinned it.';
COMMENT ON COLUMN postgres_sync.v_table_status.pin_reason IS 'What was said when it was pinned, such as from which version it was rolled back.';
COMMENT ON COLUMN postgres_sync.v_table_status.held_version IS 'The release''s version that the newest load left unpublished, because the layer is pinned.';
COMMENT ON COLUMN postgres_sync.v_table_status.rows_quarantined IS 'Records of the release file that the table lacks because they are in quarantine.';
COMMENT ON COLUMN postgres_sync.v_table_status.sync_id IS 'The row of the ledger that last_attempt speaks of; run_id is its Dagster run.';
COMMENT ON COLUMN postgres_sync.v_table_status.last_attempt IS 'How the last load, sync or rollback ended: succeeded, failed, interrupted (its process died), or under way. None before the first.';
COMMENT ON COLUMN postgres_sync.v_table_status.last_attempt_at IS 'When it ended, or began where it has not ended.';
COMMENT ON COLUMN postgres_sync.v_table_status.others_wrote_at IS 'When a sync last found, within the last hour, that others had written the table.';
COMMENT ON COLUMN postgres_sync.v_table_status.others_wrote IS 'That others replace, empty or write the table, and how to stop them; none where nobody does.';
COMMENT ON COLUMN postgres_sync.v_table_status.duration_seconds IS 'How long the newest load or sync took that succeeded; rows_changed are those that it wrote, step_seconds its seconds by step.';
COMMENT ON COLUMN postgres_sync.v_table_status.lock_seconds IS 'For how long the newest publish locked readers out.';
COMMENT ON COLUMN postgres_sync.v_table_status.table_bytes IS 'Bytes on disk with indexes; of a dynamic table as VACUUM or ANALYZE last counted them.';
COMMENT ON COLUMN postgres_sync.v_table_status.kept_versions IS 'Versions of a layer besides the current one that have a table, to roll back to or to look at; kept_bytes is their size.';
COMMENT ON COLUMN postgres_sync.v_table_status.last_attempt_detail IS 'Why it failed and what is still served, or how often others failed in the last hour, in a line.';

-- What was made just now is nobody's but ours, whatever default privileges say.
DO $$
DECLARE
    standing CONSTANT oid[] := current_setting('flux.standing')::oid[];
    made record;
BEGIN
    FOR made IN
        SELECT 'SCHEMA' AS kind, nspname::regnamespace::text AS name, grantee
        FROM pg_catalog.pg_namespace AS n, pg_catalog.aclexplode(nspacl)
        WHERE nspname IN ('postgres_sync', 'flux_versions') AND grantee <> nspowner AND n.oid <> ALL (standing)
        UNION
        SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.oid::regclass::text, grantee
        FROM pg_catalog.pg_class AS c, pg_catalog.aclexplode(relacl)
        WHERE relnamespace = 'postgres_sync'::regnamespace AND grantee <> relowner AND c.oid <> ALL (standing)
    LOOP
        EXECUTE format('REVOKE ALL ON %s %s FROM %s', made.kind, made.name,
                       CASE WHEN made.grantee = 0 THEN 'PUBLIC' ELSE made.grantee::regrole::text END);
    END LOOP;
END
$$;

-- Readers get what applications rely on, and nothing of how it is made. sql/postgis/roles.sql does the same for a role
-- that comes later.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'flux_reader') THEN
        GRANT USAGE ON SCHEMA postgres_sync TO flux_reader;
        GRANT SELECT ON postgres_sync.v_sync_status, postgres_sync.v_sync_summary, postgres_sync.v_table_status
            TO flux_reader;
    END IF;
END
$$;

COMMENT ON SCHEMA flux_versions IS 'Versions of the published layers, made and dropped by flux_assets. Read the public tables instead.';
COMMENT ON SCHEMA postgres_sync IS 'flux_assets: ledger, register and leases, revision 13.';
