-- Roles and rights in one map database. Run by an administrator while connected to it; running it again changes nothing.
-- flux         the loader: logs in, owns what it creates; needs no superuser. Give it a password yourself.
-- flux_reader  a group for map servers and people: GRANT flux_reader TO somebody. It reads the public tables and has
--              no right on the schema of versions, so that map tools list each layer once.

CREATE EXTENSION IF NOT EXISTS postgis;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'flux') THEN
        CREATE ROLE flux LOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'flux_reader') THEN
        CREATE ROLE flux_reader;
    END IF;
    EXECUTE format('GRANT CONNECT, CREATE, TEMPORARY ON DATABASE %I TO flux', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO flux_reader', current_database());
END
$$;

-- The loader names who blocks a publish, and may look at a layer as a reader sees it.
GRANT pg_read_all_stats TO flux;
GRANT flux_reader TO flux;

GRANT USAGE, CREATE ON SCHEMA public TO flux;
GRANT USAGE ON SCHEMA public TO flux_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO flux_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE flux IN SCHEMA public GRANT SELECT ON TABLES TO flux_reader;

-- What the loader has made by now for readers; what it makes later it grants itself.
DO $$
BEGIN
    IF to_regclass('postgres_sync.v_table_status') IS NOT NULL THEN
        GRANT USAGE ON SCHEMA postgres_sync TO flux_reader;
        GRANT SELECT ON postgres_sync.v_sync_status, postgres_sync.v_sync_summary, postgres_sync.v_table_status
            TO flux_reader;
    END IF;
END
$$;
