-- standby_wait: a message in the WAL locks nothing and is read by nobody; its commit waits as the session's own do.

-- standby_wait --
SELECT statement_timestamp(),
       CASE WHEN current_setting('synchronous_standby_names') <> ''
                 AND current_setting('synchronous_commit') NOT IN ('off', 'local')
            THEN pg_logical_emit_message(true, 'flux_assets', 'published') END;
