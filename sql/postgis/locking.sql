-- standby_wait: a message in the WAL locks nothing and is read by nobody; its commit waits as the session's own do.

-- standby_wait --
SELECT statement_timestamp(),
       CASE WHEN current_setting('synchronous_standby_names') <> ''
                 AND current_setting('synchronous_commit') NOT IN ('off', 'local')
            THEN pg_logical_emit_message(true, 'flux_assets', 'published') END;

-- swap --
-- Locks and swaps in one statement, so that one time-out bounds all that readers wait for. A reader of the table that is
-- locked first waits for the locks of all others: together they have the time of one.
DO $$
DECLARE
    asked json := current_setting('flux.swap')::json;
    deadline timestamptz := clock_timestamp() + ((asked ->> 'milliseconds') || ' ms')::interval;
    part text;
BEGIN
    FOR part IN SELECT json_array_elements_text(asked -> 'locks') LOOP
        PERFORM set_config('lock_timeout', ceil(greatest(1, 1000 * extract(epoch FROM deadline - clock_timestamp())))
                           || 'ms', true);
        EXECUTE part;
    END LOOP;
    PERFORM set_config('flux.locked_at', clock_timestamp()::text, true),
            set_config('lock_timeout', (asked ->> 'milliseconds') || 'ms', true);
    FOR part IN SELECT json_array_elements_text(asked -> 'statements') LOOP
        EXECUTE part;
    END LOOP;
END
$$;
