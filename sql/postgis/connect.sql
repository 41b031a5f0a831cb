-- What every session is set to, whatever the environment, a role or a database has set; by statements, since poolers
-- refuse options of the connection.
--   client_encoding: in another the server would convert what COPY sends.
--   timezone, datestyle, intervalstyle, quote_all_identifiers: times, intervals and index definitions are read as text.
--   jit: compiling a query costs more than any of ours gains.
--   default_transaction_isolation: what is asked under a lock must see what was committed until then.
--   row_security: a statement from which a policy would hide rows is refused instead.
--   timeouts: a load that waits for its turn, or whose control session is idle while it stages, must not be cut off;
--   but within a minute the server asks after a silent client, and it ends a transaction that a frozen one left open.
--   the server process: where a pooler reported the number of another one, this fails, and keeps the statements that
--   follow from being run through an unknown pooler. Without a number the pooler is known.
--   search_path: names mean what PostgreSQL and PostGIS mean by them. After those, functions of users' triggers find
--   what they name wherever role and database have them look, except in schemas where anybody may create: a function planted
--   there would run with our rights.

-- settings --
SET client_encoding = 'UTF8'; SET timezone = 'UTC'; SET datestyle = 'ISO'; SET intervalstyle = 'postgres';
SET quote_all_identifiers = off; SET jit = off; SET client_min_messages = warning;
SET default_transaction_isolation = 'read committed'; SET row_security = off;
SET statement_timeout = '4h'; SET lock_timeout = '1min'; SET idle_session_timeout = 0;
SET idle_in_transaction_session_timeout = '2min';
SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3;
SET tcp_user_timeout = '1min'; RESET search_path;
SELECT CASE WHEN {pid}::pg_catalog.int4 IS NULL OR pg_catalog.pg_backend_pid() = {pid} THEN pg_catalog.pg_backend_pid()
            ELSE pg_catalog.current_setting('flux_assets.another_server_process')::pg_catalog.int4 END,
    pg_catalog.pg_postmaster_start_time(),
    pg_catalog.set_config('search_path', pg_catalog.concat_ws(', ', 'pg_catalog',
    (SELECT extnamespace::pg_catalog.regnamespace FROM pg_catalog.pg_extension WHERE extname = 'postgis'),
    'pg_temp', (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(path), ', ')
    FROM pg_catalog.unnest(pg_catalog.current_schemas(false)) AS path
    WHERE NOT pg_catalog.has_schema_privilege('public', path::pg_catalog.text, 'CREATE'))), false);
