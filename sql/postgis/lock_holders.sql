-- Who holds locks on tables, and having an autovacuum among them end.
-- holders: a worker of a parallel query stands for its leader. Who may not see another's session sees its number and
-- its user; an autovacuum has none. A prepared transaction has no session, and is known by the lock on its own number.
-- make_way: this mode waits for an autovacuum and for no reader or writer, and none of them waits for it. Who waits for
-- deadlock_timeout has the server end an autovacuum, except one that prevents wraparound.

-- holders --
WITH locks AS MATERIALIZED (SELECT * FROM pg_locks), held AS (
    SELECT DISTINCT coalesce(worker.leader_pid, held.pid) AS pid, held.relation, own.transactionid AS prepared
    FROM locks AS held LEFT JOIN pg_stat_activity AS worker USING (pid)
    LEFT JOIN locks AS own ON held.pid IS NULL AND own.pid IS NULL AND own.locktype = 'transactionid' AND own.granted
                          AND own.virtualtransaction = held.virtualtransaction
    WHERE held.relation = ANY (%(oids)s::oid[])
      AND (held.granted AND %(modes)s::text[] IS NULL
           -- Whoever waits for the table as a whole has everybody else wait behind.
           OR held.mode = ANY (%(modes)s) AND (held.granted OR held.mode = 'AccessExclusiveLock'))
      AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
)
SELECT coalesce(held.pid, 0) AS pid, prepared.gid, coalesce(session.usename, prepared.owner) AS username,
       nullif(session.application_name, '') AS application, session.state,
       coalesce(session.backend_type, CASE WHEN held.pid IS NOT NULL AND session.usesysid IS NULL
                                           THEN 'autovacuum worker' ELSE 'client backend' END) AS backend_type,
       coalesce(session.client_addr::text, CASE WHEN session.client_port = -1 THEN 'a local socket' END) AS client,
       coalesce(greatest(0, extract(epoch FROM statement_timestamp()
                                               - coalesce(prepared.prepared, session.xact_start))), 0)::float8
           AS age_seconds,
       session.query, current_database()::text AS database,
       array_agg(DISTINCT ARRAY[n.nspname, c.relname]::text[]) AS tables
FROM held LEFT JOIN pg_stat_activity AS session ON session.pid = held.pid
LEFT JOIN pg_prepared_xacts AS prepared ON prepared.transaction = held.prepared
JOIN pg_class AS c ON c.oid = held.relation JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE held.pid IS DISTINCT FROM pg_backend_pid() AND (session.pid IS NOT NULL OR prepared.gid IS NOT NULL)
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
ORDER BY age_seconds DESC;

-- make_way --
BEGIN;
SELECT set_config('lock_timeout', 1000 + extract(epoch FROM current_setting('deadlock_timeout')::interval) * 1000
                                  || 'ms', true);
LOCK TABLE ONLY {tables} IN SHARE UPDATE EXCLUSIVE MODE;
COMMIT;

-- give_way --
-- Cancelling would do nothing to one that waits for its client, which may be frozen.
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE pid = ANY (%(pids)s) AND application_name LIKE 'flux\_assets ' || %(purpose)s || ' %%';
