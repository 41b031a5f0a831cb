-- What a server makes of sessions that keep us waiting.

-- sessions --
SELECT pg_postmaster_start_time(), session.pid, session.application_name, session.state, session.wait_event_type,
       session.state_change::text,
       copied.bytes_processed
FROM (VALUES (1)) AS always
LEFT JOIN pg_stat_activity AS session ON session.pid = ANY (%s)
LEFT JOIN pg_stat_progress_copy AS copied ON copied.pid = session.pid;
