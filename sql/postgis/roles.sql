-- Roles and rights in one map database. Run by an administrator while connected to it; running it again changes nothing.
-- Whoever may create roles and owns the database, or is a member of its owner, is administrator enough; where PostGIS
-- is not there yet, it has to be allowed to install that too.
-- flux         the loader: logs in, owns what it creates; needs no superuser. Give it a password yourself.
-- flux_reader  a group for map servers and people: GRANT flux_reader TO somebody. It reads the public tables and has
--              no right on the schema of versions, so that map tools list each layer once.
-- For another schema than public: PGOPTIONS='-c flux.schema=gis' psql -f sql/postgis/roles.sql

CREATE EXTENSION IF NOT EXISTS postgis;

DO $$
DECLARE
    published text := coalesce(nullif(current_setting('flux.schema', true), ''), 'public');
    of_postgis text := (SELECT nspname FROM pg_extension JOIN pg_namespace AS n ON n.oid = extnamespace
                        WHERE extname = 'postgis');
    acts_for_loader bool;
    relation regclass;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'flux') THEN
        CREATE ROLE flux LOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'flux_reader') THEN
        CREATE ROLE flux_reader;
    END IF;
    IF NOT pg_has_role('flux', 'flux_reader', 'USAGE') THEN
        GRANT flux_reader TO flux;  -- the loader may look at a layer as a reader sees it
    END IF;
    EXECUTE format('GRANT CONNECT, CREATE, TEMPORARY ON DATABASE %I TO flux', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO flux_reader', current_database());

    IF to_regnamespace(quote_ident(published)) IS NULL THEN
        EXECUTE format('CREATE SCHEMA %I', published);
    END IF;
    EXECUTE format('GRANT USAGE, CREATE ON SCHEMA %I TO flux', published);
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO flux_reader', published);
    IF NOT has_schema_privilege('flux_reader', of_postgis, 'USAGE') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO flux, flux_reader', of_postgis);
    END IF;

    -- The loader names who blocks a publish. Services give their administrators the wider role to pass on.
    IF NOT pg_has_role('flux', 'pg_read_all_stats', 'USAGE') THEN
        BEGIN
            GRANT pg_read_all_stats TO flux;
        EXCEPTION WHEN insufficient_privilege THEN
            BEGIN
                GRANT pg_monitor TO flux;
            EXCEPTION WHEN insufficient_privilege THEN
                RAISE WARNING 'flux cannot see the sessions of others: % may grant neither pg_read_all_stats nor pg_monitor',
                    current_user;
            END;
        END;
    END IF;

    -- Only a superuser and members of the loader may say what becomes of its tables. A membership made here ends here.
    acts_for_loader := pg_has_role('flux', 'USAGE');
    IF NOT acts_for_loader THEN
        EXECUTE format('GRANT flux TO %I', current_user);
    END IF;
    EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE flux IN SCHEMA %I GRANT SELECT ON TABLES TO flux_reader', published);
    FOR relation IN
        SELECT oid FROM pg_class
        WHERE relnamespace = to_regnamespace(quote_ident(published)) AND relkind IN ('r', 'p', 'v', 'm', 'f')
            AND NOT has_table_privilege('flux_reader', oid, 'SELECT')
    LOOP
        IF has_table_privilege(relation, 'SELECT WITH GRANT OPTION') THEN
            EXECUTE format('GRANT SELECT ON %s TO flux_reader', relation);
        ELSE
            RAISE WARNING 'flux_reader cannot read %; its owner can run GRANT SELECT ON % TO flux_reader', relation, relation;
        END IF;
    END LOOP;
    -- What the loader has made by now for readers; what it makes later it grants itself.
    IF to_regclass('postgres_sync.v_table_status') IS NOT NULL THEN
        GRANT USAGE ON SCHEMA postgres_sync TO flux_reader;
        GRANT SELECT ON postgres_sync.v_sync_status, postgres_sync.v_sync_summary, postgres_sync.v_table_status
            TO flux_reader;
    END IF;
    IF NOT acts_for_loader THEN
        EXECUTE format('REVOKE flux FROM %I', current_user);
    END IF;
END
$$;
