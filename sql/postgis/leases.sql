-- acquire --
-- The last expression finds the holder that is overtaken: a statement reads what stood there when it began. One that has
-- given the lease back meanwhile, or has died, is none.
INSERT INTO postgres_sync.layer_leases AS held (schema_name, layer_name, lease, holder_pid, holder_start, seen_at)
SELECT {schema}, {name}, 1, pid, backend_start, clock_timestamp() FROM pg_stat_get_activity(pg_backend_pid())
ON CONFLICT (schema_name, layer_name) DO UPDATE SET lease = held.lease + 1, holder_pid = excluded.holder_pid,
    holder_start = excluded.holder_start, seen_at = excluded.seen_at
WHERE CASE WHEN held.holder_pid IS NULL THEN true
           -- Before the past minute, or after the next one where the server's clock was set back.
           WHEN held.seen_at NOT BETWEEN clock_timestamp() - {stale} AND clock_timestamp() + {stale} THEN true
           WHEN (held.holder_pid, held.holder_start) = (excluded.holder_pid, excluded.holder_start) THEN true
           ELSE NOT postgres_sync.is_alive(held.holder_pid, held.holder_start) END
RETURNING lease, (SELECT holder_start FROM postgres_sync.layer_leases
                  WHERE schema_name = {schema} AND layer_name = {name} AND holder_pid <> pg_backend_pid()
                    AND seen_at NOT BETWEEN clock_timestamp() - {stale} AND clock_timestamp() + {stale});

-- hold --
-- The function raises. Calling it loads PL/pgSQL into the session, for 2 ms, which only who was overtaken has to do.
SELECT CASE WHEN (SELECT lease FROM postgres_sync.layer_leases
                  WHERE schema_name = {schema} AND layer_name = {name} FOR UPDATE) IS DISTINCT FROM {lease}
            THEN postgres_sync.hold_lease({schema}, {name}, {lease}) END;

-- beat --
UPDATE postgres_sync.layer_leases SET seen_at = clock_timestamp()
WHERE schema_name = {schema} AND layer_name = {name} AND lease = {lease};

-- release --
UPDATE postgres_sync.layer_leases SET holder_pid = NULL, holder_start = NULL, seen_at = NULL
WHERE schema_name = {schema} AND layer_name = {name} AND lease = {lease};

-- revoke --
UPDATE postgres_sync.layer_leases SET lease = lease + 1, holder_pid = NULL, holder_start = NULL, seen_at = NULL
WHERE schema_name = {schema} AND layer_name = {name} AND lease = {lease};

-- end_holder --
SELECT pg_terminate_backend(session.pid) FROM postgres_sync.layer_leases AS held
JOIN pg_stat_activity AS session ON (session.pid, session.backend_start) = (held.holder_pid, held.holder_start)
WHERE held.schema_name = {schema} AND held.layer_name = {name} AND held.lease = {lease}
  AND session.pid <> pg_backend_pid() AND session.state LIKE 'idle in transaction%';

-- holder --
-- As JSON, so that leases of an earlier revision, which knew no holders, answer too.
SELECT held.holder_pid, session.application_name, session.usename
FROM postgres_sync.layer_leases AS known
CROSS JOIN jsonb_to_record(to_jsonb(known)) AS held (holder_pid integer, holder_start timestamptz)
LEFT JOIN pg_stat_activity AS session ON session.pid = held.holder_pid
WHERE schema_name = %s AND layer_name = %s AND held.holder_pid IS NOT NULL
  AND postgres_sync.is_alive(held.holder_pid, held.holder_start);
