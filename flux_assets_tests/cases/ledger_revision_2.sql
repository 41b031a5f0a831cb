-- The ledger, the register of versions and the leases, in schema postgres_sync; the versions themselves in flux_versions.
-- Safe to run again: everything is made only where it is missing, views are replaced.
-- The comment on the schema, written last, tells later runs which revision of this script has been applied.

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
CREATE INDEX IF NOT EXISTS sync_status_layer_idx ON postgres_sync.sync_status (layer_name, started_at DESC);
CREATE INDEX IF NOT EXISTS sync_status_running_idx ON postgres_sync.sync_status (layer_name) WHERE status = 'RUNNING';

COMMENT ON TABLE postgres_sync.sync_status IS 'One row for every load, sync or rollback of a table, also those that failed or changed nothing.';
COMMENT ON COLUMN postgres_sync.sync_status.sync_type IS 'FULL: loaded from a release. PUBLISH: an audited version published without loading. UNCHANGED: nothing to do. ROLLBACK: an earlier version published again. DELTA: the differences from Snowflake written.';
COMMENT ON COLUMN postgres_sync.sync_status.source_instant IS 'The instant as of which the source was read.';
COMMENT ON COLUMN postgres_sync.sync_status.source_changed_at IS 'When the source last changed: as its rows say, else when a sync first saw the change.';
COMMENT ON COLUMN postgres_sync.sync_status.status IS 'RUNNING until the process is done; a RUNNING row whose process is gone is closed by the next run of its table.';

CREATE TABLE IF NOT EXISTS postgres_sync.layer_leases (
    schema_name text NOT NULL,
    layer_name  text NOT NULL,
    lease       bigint NOT NULL,
    PRIMARY KEY (schema_name, layer_name)
);
COMMENT ON TABLE postgres_sync.layer_leases IS 'The newest lease of each layer; only its holder may publish.';

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
CREATE UNIQUE INDEX IF NOT EXISTS layer_versions_current_idx
    ON postgres_sync.layer_versions (schema_name, layer_name) WHERE current;

COMMENT ON TABLE postgres_sync.layer_versions IS 'The register: every version of every layer, which one is current, which can be rolled back to.';
COMMENT ON COLUMN postgres_sync.layer_versions.version IS 'SHA-256 over the release file''s digest and the declaration''s digest.';
COMMENT ON COLUMN postgres_sync.layer_versions.relation IS 'The version''s table in schema flux_versions; gone when the state is dropped.';
COMMENT ON COLUMN postgres_sync.layer_versions.bytes IS 'Bytes on disk of the version''s table with its indexes.';
COMMENT ON COLUMN postgres_sync.layer_versions.extent IS 'West, south, east, north in degrees (EPSG:4326).';

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
COMMENT ON TABLE postgres_sync.sync_state IS 'What the last sync that wrote a dynamic table left, and from what: the next one does nothing when all of it still holds.';
COMMENT ON COLUMN postgres_sync.sync_state.declaration IS 'SHA-256 over the declaration with its overrides and the columns found in the source.';
COMMENT ON COLUMN postgres_sync.sync_state.token IS 'The source''s change token, read before its rows; none where it has none.';
COMMENT ON COLUMN postgres_sync.sync_state.fingerprint IS 'SHA-256 over the rows read, in the order of their keys.';
COMMENT ON COLUMN postgres_sync.sync_state.origins IS 'Versions of the tables that columns were derived from.';
COMMENT ON COLUMN postgres_sync.sync_state.mark IS 'Row count and an order-free hash over where each row lies and which transaction wrote it: any write by others changes it.';
COMMENT ON COLUMN postgres_sync.sync_state.shape IS 'Hash over the table''s columns, key and indexes as last found fit.';

CREATE OR REPLACE VIEW postgres_sync.v_sync_status AS
SELECT sync_id, layer_name, sync_type, started_at, completed_at, rows_synced, status, duration_seconds,
       left(error_message, 200) AS error_preview, schema_name, version, run_id
FROM postgres_sync.sync_status
ORDER BY started_at DESC, sync_id DESC
LIMIT 100;
COMMENT ON VIEW postgres_sync.v_sync_status IS 'The 100 newest rows of the ledger, newest first.';

CREATE OR REPLACE VIEW postgres_sync.v_sync_summary AS
SELECT layer_name,
       count(*) AS total_syncs,
       count(*) FILTER (WHERE status = 'SUCCESS') AS successful_syncs,
       count(*) FILTER (WHERE status = 'FAILED') AS failed_syncs,
       max(started_at) AS last_sync,
       avg(duration_seconds) AS avg_duration_seconds,
       sum(rows_synced) AS total_rows_synced,
       schema_name
FROM postgres_sync.sync_status
WHERE started_at >= now() - interval '7 days'
GROUP BY schema_name, layer_name
ORDER BY max(started_at) DESC;
COMMENT ON VIEW postgres_sync.v_sync_summary IS 'One row for each table over the last 7 days, the latest first.';

COMMENT ON SCHEMA flux_versions IS 'Versions of the published layers, made and dropped by flux_assets. Read the public tables instead.';
COMMENT ON SCHEMA postgres_sync IS 'flux_assets: ledger, register and leases, revision 2.';
