-- What is wrong with the tables and whom it was told, in schema postgres_sync beside the ledger.
-- Safe to run again: everything is made only where it is missing.

CREATE TABLE IF NOT EXISTS postgres_sync.incidents (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    schema_name text NOT NULL,
    kind        text NOT NULL,
    cause       text NOT NULL,
    apart       text NOT NULL,
    problem     text NOT NULL,
    remedy      text NOT NULL,
    tables      text[] NOT NULL,
    failing     text[] NOT NULL,
    since       timestamptz NOT NULL,
    not_before  timestamptz NOT NULL,
    ticks       integer NOT NULL,
    settled     boolean NOT NULL,
    run_id      text,
    told_at     timestamptz,
    told_cause  text,
    resolved_at timestamptz,
    closed_at   timestamptz
);
CREATE INDEX IF NOT EXISTS incidents_unclosed_idx ON postgres_sync.incidents (schema_name, id) WHERE closed_at IS NULL;

COMMENT ON TABLE postgres_sync.incidents IS 'One row for each cause of trouble, from when it was worth a message to its end; pruned 90 days after that.';
COMMENT ON COLUMN postgres_sync.incidents.kind IS 'sync, load: failures in the ledger. layer: readers see another version than the register says. writers: others write a table besides the syncs. check: an asset check of severity ERROR. late: a picture of the source older than its budget. run: a failed run that is not in the ledger. schedule, daemon, dagster: nobody starts syncs.';
COMMENT ON COLUMN postgres_sync.incidents.cause IS 'What is equal in everything that goes wrong for the same reason.';
COMMENT ON COLUMN postgres_sync.incidents.apart IS 'Keeps apart what says the same and has nothing to do with each other.';
COMMENT ON COLUMN postgres_sync.incidents.tables IS 'All tables that ever suffered from it.';
COMMENT ON COLUMN postgres_sync.incidents.failing IS 'The tables that still did when it was last looked at.';
COMMENT ON COLUMN postgres_sync.incidents.not_before IS 'When a message is due at the earliest.';
COMMENT ON COLUMN postgres_sync.incidents.ticks IS 'Failures in a row.';
COMMENT ON COLUMN postgres_sync.incidents.settled IS 'Whether the present cause alone has lasted long enough for a message.';
COMMENT ON COLUMN postgres_sync.incidents.told_at IS 'When the last message about it arrived.';
COMMENT ON COLUMN postgres_sync.incidents.told_cause IS 'The cause that the last message named.';
COMMENT ON COLUMN postgres_sync.incidents.resolved_at IS 'When it was seen to be over.';
COMMENT ON COLUMN postgres_sync.incidents.closed_at IS 'When its end had been told, or needed not to be.';

CREATE TABLE IF NOT EXISTS postgres_sync.alert_mutes (
    schema_name text NOT NULL,
    layer_name  text,
    begun_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    ends_at     timestamptz NOT NULL,
    begun_by    text NOT NULL DEFAULT session_user,
    UNIQUE NULLS NOT DISTINCT (schema_name, layer_name)
);
COMMENT ON TABLE postgres_sync.alert_mutes IS 'Tables of which nothing is told for a while; a row without a table mutes everything. flux-assets mute writes it.';
COMMENT ON COLUMN postgres_sync.alert_mutes.begun_by IS 'The database user who muted it.';
