SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
CREATE SCHEMA flux_versions;
COMMENT ON SCHEMA flux_versions IS 'Versions of the published layers, made and dropped by flux_assets. Read the public tables instead.';
CREATE SCHEMA postgres_sync;
COMMENT ON SCHEMA postgres_sync IS 'flux_assets: ledger, register and leases, revision 4.';
CREATE FUNCTION postgres_sync.in_words(seconds double precision) RETURNS text
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT CASE WHEN seconds < 60 THEN 'just now' ELSE (
        SELECT format('%s %s%s ago', count, unit, CASE WHEN count > 1 THEN 's' END)
        FROM (VALUES (86400, 'day'), (3600, 'hour'), (60, 'minute')) AS units (size, unit),
             LATERAL (SELECT floor(seconds / size)::bigint) AS counted (count)
        WHERE count >= 1 ORDER BY size DESC LIMIT 1) END
$$;
COMMENT ON FUNCTION postgres_sync.in_words(seconds double precision) IS 'An age as people say it: just now, 5 minutes ago, 2 days ago.';
CREATE FUNCTION postgres_sync.is_alive(process integer, begun timestamp with time zone) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT pg_is_in_recovery()
        OR EXISTS (SELECT FROM pg_stat_activity WHERE pid = process AND coalesce(backend_start, begun) = begun)
$$;
COMMENT ON FUNCTION postgres_sync.is_alive(process integer, begun timestamp with time zone) IS 'Whether the server process that a row of the ledger names is still the one that wrote it.';
SET default_tablespace = '';
CREATE TABLE public.customers_spatial (
    customer_id character varying(50) NOT NULL,
    full_name character varying(200),
    customer_segment character varying(50),
    service_address character varying(300),
    city character varying(100),
    county character varying(100),
    meter_id character varying(50),
    transformer_id character varying(50),
    latitude double precision,
    longitude double precision,
    geom public.geometry(Point,4326)
)
PARTITION BY LIST (customer_id);
COMMENT ON TABLE public.customers_spatial IS 'Customer service points with the meter and the transformer that supply them.';
COMMENT ON COLUMN public.customers_spatial.customer_id IS 'Identifier of the customer.';
COMMENT ON COLUMN public.customers_spatial.full_name IS 'Name of the person or company supplied.';
COMMENT ON COLUMN public.customers_spatial.customer_segment IS 'Tariff segment, for example RESIDENTIAL.';
COMMENT ON COLUMN public.customers_spatial.service_address IS 'Street address of the service point.';
COMMENT ON COLUMN public.customers_spatial.city IS 'City of the service point.';
COMMENT ON COLUMN public.customers_spatial.county IS 'County of the service point.';
COMMENT ON COLUMN public.customers_spatial.meter_id IS 'Meter that counts the customer''s consumption.';
COMMENT ON COLUMN public.customers_spatial.transformer_id IS 'Transformer that supplies the service point.';
COMMENT ON COLUMN public.customers_spatial.latitude IS 'Latitude in degrees (EPSG:4326).';
COMMENT ON COLUMN public.customers_spatial.longitude IS 'Longitude in degrees (EPSG:4326).';
COMMENT ON COLUMN public.customers_spatial.geom IS 'Position of the service point (EPSG:4326).';
SET default_table_access_method = heap;
CREATE TABLE flux_versions.public__customers_spatial__4f4b7a92_1 (
    customer_id character varying(50) NOT NULL,
    full_name character varying(200),
    customer_segment character varying(50),
    service_address character varying(300),
    city character varying(100),
    county character varying(100),
    meter_id character varying(50),
    transformer_id character varying(50),
    latitude double precision,
    longitude double precision,
    geom public.geometry(Point,4326)
);
CREATE TABLE public.meter_locations_enhanced (
    meter_id character varying(50) NOT NULL,
    transformer_id character varying(50),
    latitude double precision,
    longitude double precision,
    circuit_id character varying(50),
    city character varying(100),
    zip_code character varying(10),
    county_name character varying(100),
    geom public.geometry(Point,4326)
)
PARTITION BY LIST (meter_id);
COMMENT ON TABLE public.meter_locations_enhanced IS 'Smart meter locations with circuit, city and county.';
COMMENT ON COLUMN public.meter_locations_enhanced.meter_id IS 'Identifier of the meter.';
COMMENT ON COLUMN public.meter_locations_enhanced.transformer_id IS 'Transformer that supplies the meter.';
COMMENT ON COLUMN public.meter_locations_enhanced.latitude IS 'Latitude in degrees (EPSG:4326).';
COMMENT ON COLUMN public.meter_locations_enhanced.longitude IS 'Longitude in degrees (EPSG:4326).';
COMMENT ON COLUMN public.meter_locations_enhanced.circuit_id IS 'Circuit that the transformer hangs on.';
COMMENT ON COLUMN public.meter_locations_enhanced.city IS 'City that the meter is in.';
COMMENT ON COLUMN public.meter_locations_enhanced.zip_code IS 'Postal code, as text: leading zeros count.';
COMMENT ON COLUMN public.meter_locations_enhanced.county_name IS 'County that the meter is in.';
COMMENT ON COLUMN public.meter_locations_enhanced.geom IS 'Position of the meter (EPSG:4326).';
CREATE TABLE flux_versions.public__meter_locations_enhanced__c48deda1_1 (
    meter_id character varying(50) NOT NULL,
    transformer_id character varying(50),
    latitude double precision,
    longitude double precision,
    circuit_id character varying(50),
    city character varying(100),
    zip_code character varying(10),
    county_name character varying(100),
    geom public.geometry(Point,4326)
);
CREATE TABLE public.substations (
    substation_id character varying(50) NOT NULL,
    substation_name character varying(200),
    latitude double precision,
    longitude double precision,
    capacity_mva double precision,
    voltage_level character varying(50),
    commissioned_date date,
    operational_status character varying(50),
    geom public.geography(Point,4326)
)
PARTITION BY LIST (substation_id);
COMMENT ON TABLE public.substations IS 'Substations.';
COMMENT ON COLUMN public.substations.substation_id IS 'Identifier of the substation.';
COMMENT ON COLUMN public.substations.substation_name IS 'Name that dispatchers use.';
COMMENT ON COLUMN public.substations.latitude IS 'Latitude in degrees (EPSG:4326).';
COMMENT ON COLUMN public.substations.longitude IS 'Longitude in degrees (EPSG:4326).';
COMMENT ON COLUMN public.substations.capacity_mva IS 'Installed transformer capacity, in MVA.';
COMMENT ON COLUMN public.substations.voltage_level IS 'Voltages of the busbars, as the utility writes them.';
COMMENT ON COLUMN public.substations.commissioned_date IS 'Day the substation went into service.';
COMMENT ON COLUMN public.substations.operational_status IS 'Operating state, for example ACTIVE.';
COMMENT ON COLUMN public.substations.geom IS 'Position, as geography: distances come out in metres.';
CREATE TABLE flux_versions.public__substations__5b075631_2 (
    substation_id character varying(50) NOT NULL,
    substation_name character varying(200),
    latitude double precision,
    longitude double precision,
    capacity_mva double precision,
    voltage_level character varying(50),
    commissioned_date date,
    operational_status character varying(50),
    geom public.geography(Point,4326)
);
CREATE TABLE flux_versions.public__substations__bbcddca1_1 (
    substation_id character varying(50) NOT NULL,
    substation_name character varying(200),
    latitude double precision,
    longitude double precision,
    capacity_mva double precision,
    voltage_level character varying(50),
    commissioned_date date,
    operational_status character varying(50),
    geom public.geography(Point,4326)
);
CREATE TABLE public.transformers (
    transformer_id text NOT NULL,
    latitude double precision,
    longitude double precision,
    substation_id text,
    rated_kva double precision,
    install_year integer,
    health_score double precision,
    age_years integer,
    location_area text,
    feeder_id text
)
PARTITION BY LIST (transformer_id);
COMMENT ON TABLE public.transformers IS 'Distribution transformers; their place is latitude and longitude, without a geometry column.';
COMMENT ON COLUMN public.transformers.transformer_id IS 'Identifier of the transformer.';
COMMENT ON COLUMN public.transformers.latitude IS 'Latitude in degrees (EPSG:4326).';
COMMENT ON COLUMN public.transformers.longitude IS 'Longitude in degrees (EPSG:4326).';
COMMENT ON COLUMN public.transformers.substation_id IS 'Substation that feeds the transformer.';
COMMENT ON COLUMN public.transformers.rated_kva IS 'Rated power, in kVA.';
COMMENT ON COLUMN public.transformers.install_year IS 'Year in which the transformer was installed.';
COMMENT ON COLUMN public.transformers.health_score IS 'Condition, from 0 (failing) to 100 (as new).';
COMMENT ON COLUMN public.transformers.age_years IS 'Age when the release was made, in years.';
COMMENT ON COLUMN public.transformers.location_area IS 'District or area that the transformer stands in.';
COMMENT ON COLUMN public.transformers.feeder_id IS 'Circuit that the transformer hangs on.';
CREATE TABLE flux_versions.public__transformers__5bf1e5dc_1 (
    transformer_id text NOT NULL,
    latitude double precision,
    longitude double precision,
    substation_id text,
    rated_kva double precision,
    install_year integer,
    health_score double precision,
    age_years integer,
    location_area text,
    feeder_id text
);
CREATE TABLE flux_versions.public__transformers__b23e620a_2 (
    transformer_id text NOT NULL,
    latitude double precision,
    longitude double precision,
    substation_id text,
    rated_kva double precision,
    install_year integer,
    health_score double precision,
    age_years integer,
    location_area text,
    feeder_id text
);
CREATE TABLE public.vegetation_risk (
    tree_id character varying(100) NOT NULL,
    class character varying(50),
    subtype character varying(100),
    longitude double precision,
    latitude double precision,
    height_m double precision,
    canopy_radius_m double precision,
    risk_score double precision,
    risk_level character varying(20),
    distance_to_line_m double precision,
    nearest_line_id character varying(100),
    nearest_line_voltage_kv double precision,
    clearance_deficit_m double precision,
    years_to_encroachment double precision,
    data_source character varying(100),
    geom public.geometry(Point,4326)
)
PARTITION BY LIST (tree_id);
COMMENT ON TABLE public.vegetation_risk IS 'Trees near power lines, with clearances and a risk score.';
COMMENT ON COLUMN public.vegetation_risk.tree_id IS 'Identifier of the tree.';
COMMENT ON COLUMN public.vegetation_risk.class IS 'Broad class of the plant, for example deciduous.';
COMMENT ON COLUMN public.vegetation_risk.subtype IS 'Species or finer kind of the plant.';
COMMENT ON COLUMN public.vegetation_risk.longitude IS 'Longitude in degrees (EPSG:4326).';
COMMENT ON COLUMN public.vegetation_risk.latitude IS 'Latitude in degrees (EPSG:4326).';
COMMENT ON COLUMN public.vegetation_risk.height_m IS 'Height of the tree, in metres.';
COMMENT ON COLUMN public.vegetation_risk.canopy_radius_m IS 'Radius of the crown, in metres.';
COMMENT ON COLUMN public.vegetation_risk.risk_score IS 'Risk to the nearest line, from 0 (none) to 1 (highest).';
COMMENT ON COLUMN public.vegetation_risk.risk_level IS 'The risk score as a word, for example high.';
COMMENT ON COLUMN public.vegetation_risk.distance_to_line_m IS 'Distance from the stem to the nearest line, in metres.';
COMMENT ON COLUMN public.vegetation_risk.nearest_line_id IS 'Line segment nearest to the tree.';
COMMENT ON COLUMN public.vegetation_risk.nearest_line_voltage_kv IS 'Nominal voltage of that line, in kV.';
COMMENT ON COLUMN public.vegetation_risk.clearance_deficit_m IS 'Metres of clearance missing between crown and line; 0 when there is enough.';
COMMENT ON COLUMN public.vegetation_risk.years_to_encroachment IS 'Years of growth until the crown enters the clearance zone; 0 when it already has.';
COMMENT ON COLUMN public.vegetation_risk.data_source IS 'Survey or model that the tree was taken from.';
COMMENT ON COLUMN public.vegetation_risk.geom IS 'Position of the stem (EPSG:4326).';
CREATE TABLE flux_versions.public__vegetation_risk__ce73b4fd_1 (
    tree_id character varying(100) NOT NULL,
    class character varying(50),
    subtype character varying(100),
    longitude double precision,
    latitude double precision,
    height_m double precision,
    canopy_radius_m double precision,
    risk_score double precision,
    risk_level character varying(20),
    distance_to_line_m double precision,
    nearest_line_id character varying(100),
    nearest_line_voltage_kv double precision,
    clearance_deficit_m double precision,
    years_to_encroachment double precision,
    data_source character varying(100),
    geom public.geometry(Point,4326)
);
CREATE TABLE postgres_sync.layer_leases (
    schema_name text NOT NULL,
    layer_name text NOT NULL,
    lease bigint NOT NULL
);
COMMENT ON TABLE postgres_sync.layer_leases IS 'The newest lease of each layer; only its holder may publish.';
CREATE TABLE postgres_sync.layer_versions (
    schema_name text NOT NULL,
    layer_name text NOT NULL,
    lease bigint NOT NULL,
    version text NOT NULL,
    sha256 text NOT NULL,
    release_tag text NOT NULL,
    relation text NOT NULL,
    state text NOT NULL,
    current boolean DEFAULT false NOT NULL,
    rows bigint,
    bytes bigint,
    extent double precision[],
    audits jsonb DEFAULT '[]'::jsonb NOT NULL,
    staged_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    published_at timestamp with time zone,
    run_id text,
    CONSTRAINT layer_versions_state_check CHECK ((state = ANY (ARRAY['staging'::text, 'staged'::text, 'rejected'::text, 'published'::text, 'dropped'::text])))
);
COMMENT ON TABLE postgres_sync.layer_versions IS 'The register: every version of every layer, which one is current, which can be rolled back to.';
COMMENT ON COLUMN postgres_sync.layer_versions.version IS 'SHA-256 over the release file''s digest and the declaration''s digest.';
COMMENT ON COLUMN postgres_sync.layer_versions.relation IS 'The version''s table in schema flux_versions; gone when the state is dropped.';
COMMENT ON COLUMN postgres_sync.layer_versions.bytes IS 'Bytes on disk of the version''s table with its indexes.';
COMMENT ON COLUMN postgres_sync.layer_versions.extent IS 'West, south, east, north in degrees (EPSG:4326).';
CREATE TABLE postgres_sync.sync_state (
    schema_name text NOT NULL,
    layer_name text NOT NULL,
    declaration text NOT NULL,
    token text,
    fingerprint text NOT NULL,
    origins jsonb NOT NULL,
    mark text NOT NULL,
    shape text NOT NULL,
    rows bigint NOT NULL,
    source_instant timestamp with time zone NOT NULL,
    source_changed_at timestamp with time zone NOT NULL,
    changed_at timestamp with time zone NOT NULL,
    mapping text
);
COMMENT ON TABLE postgres_sync.sync_state IS 'What the last sync that wrote a dynamic table left, and from what: the next one does nothing when all of it still holds.';
COMMENT ON COLUMN postgres_sync.sync_state.declaration IS 'SHA-256 over the declaration and the configuration that decide which rows with which values the table holds.';
COMMENT ON COLUMN postgres_sync.sync_state.token IS 'The source''s change token, read before its rows; none where it has none.';
COMMENT ON COLUMN postgres_sync.sync_state.fingerprint IS 'XXH3 (128 bits) over the rows read, in the order of their keys.';
COMMENT ON COLUMN postgres_sync.sync_state.origins IS 'Versions and shapes of the tables that columns were derived from.';
COMMENT ON COLUMN postgres_sync.sync_state.mark IS 'Row count and an order-free hash over where each row lies and which transaction wrote it: any write by others changes it.';
COMMENT ON COLUMN postgres_sync.sync_state.shape IS 'Hash over the table''s columns, key and indexes as last found fit.';
COMMENT ON COLUMN postgres_sync.sync_state.changed_at IS 'When a sync last wrote a row of the table.';
COMMENT ON COLUMN postgres_sync.sync_state.mapping IS 'SHA-256 over how the columns found in the source feed the table; none where no sync has noted it yet.';
CREATE TABLE postgres_sync.sync_status (
    sync_id bigint NOT NULL,
    layer_name text NOT NULL,
    sync_type text DEFAULT 'FULL'::text NOT NULL,
    started_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    completed_at timestamp with time zone,
    rows_synced bigint,
    status text DEFAULT 'RUNNING'::text NOT NULL,
    error_message text,
    duration_seconds numeric,
    schema_name text DEFAULT 'public'::text NOT NULL,
    version text,
    run_id text,
    backend_pid integer,
    backend_start timestamp with time zone,
    rows_inserted bigint,
    rows_updated bigint,
    rows_deleted bigint,
    source_instant timestamp with time zone,
    source_changed_at timestamp with time zone,
    CONSTRAINT sync_status_status_check CHECK ((status = ANY (ARRAY['RUNNING'::text, 'SUCCESS'::text, 'FAILED'::text])))
);
COMMENT ON TABLE postgres_sync.sync_status IS 'One row for every load, sync or rollback of a table, also those that failed or changed nothing.';
COMMENT ON COLUMN postgres_sync.sync_status.sync_type IS 'FULL: loaded from a release. PUBLISH: an audited version published without loading. UNCHANGED: nothing to do. ROLLBACK: an earlier version published again. DELTA: the differences from Snowflake written.';
COMMENT ON COLUMN postgres_sync.sync_status.status IS 'RUNNING until the process is done; a RUNNING row whose process is gone is closed by the next run of its table.';
COMMENT ON COLUMN postgres_sync.sync_status.source_instant IS 'The instant as of which the source was read.';
COMMENT ON COLUMN postgres_sync.sync_status.source_changed_at IS 'When the source last changed: as its rows say, else when a sync first saw the change.';
ALTER TABLE postgres_sync.sync_status ALTER COLUMN sync_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME postgres_sync.sync_status_sync_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE postgres_sync.tables (
    schema_name text NOT NULL,
    layer_name text NOT NULL,
    kind text NOT NULL,
    place integer NOT NULL,
    late_after interval,
    still_after interval,
    CONSTRAINT tables_kind_check CHECK ((kind = ANY (ARRAY['static'::text, 'dynamic'::text])))
);
COMMENT ON TABLE postgres_sync.tables IS 'The declared tables, kept as the declarations have them by every load and sync, so that SQL can judge a table.';
COMMENT ON COLUMN postgres_sync.tables.kind IS 'static: loaded from a release. dynamic: synced from Snowflake.';
COMMENT ON COLUMN postgres_sync.tables.place IS 'Where the table stands in lists.';
COMMENT ON COLUMN postgres_sync.tables.late_after IS 'How old the picture that a dynamic table gives of its source may become.';
COMMENT ON COLUMN postgres_sync.tables.still_after IS 'For how long the source of a dynamic table may stand still without being worth a look.';
CREATE VIEW postgres_sync.v_sync_status AS
 SELECT sync_status.sync_id,
    sync_status.layer_name,
    sync_status.sync_type,
    sync_status.started_at,
    sync_status.completed_at,
    sync_status.rows_synced,
    sync_status.status,
    sync_status.duration_seconds,
    "left"(sync_status.error_message, 200) AS error_preview,
    sync_status.schema_name,
    sync_status.version,
    sync_status.run_id,
    sync_status.rows_inserted,
    sync_status.rows_updated,
    sync_status.rows_deleted,
    sync_status.source_instant,
    sync_status.source_changed_at,
        CASE
            WHEN (sync_status.status = 'RUNNING'::text) THEN (NOT postgres_sync.is_alive(sync_status.backend_pid, sync_status.backend_start))
            ELSE false
        END AS died
   FROM postgres_sync.sync_status
  ORDER BY sync_status.started_at DESC, sync_status.sync_id DESC
 LIMIT 100;
COMMENT ON VIEW postgres_sync.v_sync_status IS 'The 100 newest rows of the ledger, newest first.';
COMMENT ON COLUMN postgres_sync.v_sync_status.died IS 'The row is RUNNING and its process is gone: the next run of the table closes it as FAILED.';
CREATE VIEW postgres_sync.v_sync_summary AS
 SELECT sync_status.layer_name,
    count(*) AS total_syncs,
    count(*) FILTER (WHERE (sync_status.status = 'SUCCESS'::text)) AS successful_syncs,
    count(*) FILTER (WHERE (sync_status.status = 'FAILED'::text)) AS failed_syncs,
    max(sync_status.started_at) AS last_sync,
    avg(sync_status.duration_seconds) AS avg_duration_seconds,
    sum(sync_status.rows_synced) AS total_rows_synced,
    sync_status.schema_name,
    count(*) FILTER (WHERE ((sync_status.status = 'SUCCESS'::text) AND (sync_status.sync_type = 'UNCHANGED'::text))) AS unchanged_syncs,
    count(*) FILTER (WHERE
        CASE
            WHEN (sync_status.status = 'RUNNING'::text) THEN (NOT postgres_sync.is_alive(sync_status.backend_pid, sync_status.backend_start))
            ELSE false
        END) AS died_syncs,
    max(sync_status.started_at) FILTER (WHERE (sync_status.status = 'SUCCESS'::text)) AS last_success,
    max(sync_status.started_at) FILTER (WHERE (sync_status.status = 'FAILED'::text)) AS last_failure
   FROM postgres_sync.sync_status
  WHERE (sync_status.started_at >= (now() - '7 days'::interval))
  GROUP BY sync_status.schema_name, sync_status.layer_name
  ORDER BY (max(sync_status.started_at)) DESC;
COMMENT ON VIEW postgres_sync.v_sync_summary IS 'One row for each table over the last 7 days, the latest first.';
CREATE VIEW postgres_sync.v_table_status AS
 WITH known AS (
         SELECT declared.schema_name,
            declared.layer_name,
            declared.kind,
            declared.place,
            declared.late_after,
            declared.still_after,
            format('%s.%s'::text, declared.schema_name, declared.layer_name) AS title,
            relation.oid AS relation,
            relation.relkind AS relation_kind,
            relation.reltuples AS relation_rows,
            attached.oid AS attached,
            attached.reltuples AS attached_rows,
            attached.relname AS attached_name,
            ((attached.relnamespace)::regnamespace)::text AS attached_schema,
            live.version,
            live.release_tag,
            live.relation AS version_relation,
            live.sha256,
            "left"(live.version, 12) AS short_version,
                CASE declared.kind
                    WHEN 'static'::text THEN live.rows
                    ELSE state.rows
                END AS rows,
                CASE declared.kind
                    WHEN 'static'::text THEN live.published_at
                    ELSE state.changed_at
                END AS published_at,
            (state.layer_name IS NOT NULL) AS synced
           FROM ((((((postgres_sync.tables declared
             LEFT JOIN postgres_sync.layer_versions live ON (((declared.kind = 'static'::text) AND live.current AND (live.schema_name = declared.schema_name) AND (live.layer_name = declared.layer_name))))
             LEFT JOIN postgres_sync.sync_state state ON (((declared.kind = 'dynamic'::text) AND (state.schema_name = declared.schema_name) AND (state.layer_name = declared.layer_name))))
             LEFT JOIN pg_namespace namespace ON ((namespace.nspname = declared.schema_name)))
             LEFT JOIN pg_class relation ON (((relation.relnamespace = namespace.oid) AND (relation.relname = declared.layer_name))))
             LEFT JOIN pg_partitioned_table partitioned ON ((partitioned.partrelid = relation.oid)))
             LEFT JOIN pg_class attached ON ((attached.oid = partitioned.partdefid)))
        ), looked AS (
         SELECT known.schema_name,
            known.layer_name,
            known.kind,
            known.place,
            known.late_after,
            known.still_after,
            known.title,
            known.relation,
            known.relation_kind,
            known.relation_rows,
            known.attached,
            known.attached_rows,
            known.attached_name,
            known.attached_schema,
            known.version,
            known.release_tag,
            known.version_relation,
            known.sha256,
            known.short_version,
            known.rows,
            known.published_at,
            known.synced,
            run.sync_id,
            run.run_id,
            run.sync_type,
            run.status,
            run.alive,
            run.error_message,
            (EXTRACT(epoch FROM (statement_timestamp() - run.started_at)))::double precision AS begun_seconds,
            (EXTRACT(epoch FROM (statement_timestamp() - COALESCE(run.completed_at, run.started_at))))::double precision AS ended_seconds,
            checked.completed_at AS checked_at,
            checked.source_instant,
                CASE
                    WHEN (checked.source_instant IS NOT NULL) THEN (GREATEST((0)::numeric, EXTRACT(epoch FROM (statement_timestamp() - checked.source_instant))))::double precision
                    ELSE NULL::double precision
                END AS lag_seconds,
                CASE known.kind
                    WHEN 'dynamic'::text THEN checked.source_changed_at
                    ELSE ( SELECT min(seen.staged_at) AS min
                       FROM postgres_sync.layer_versions seen
                      WHERE ((seen.schema_name = known.schema_name) AND (seen.layer_name = known.layer_name) AND (seen.sha256 = known.sha256)))
                END AS source_changed_at,
            failure.completed_at AS last_error_at,
            split_part(ltrim(failure.error_message, ' 
	'::text), '
'::text, 1) AS last_error,
            recent.failures AS failures_last_hour,
                CASE run.sync_type
                    WHEN 'ROLLBACK'::text THEN ( SELECT entry.version
                       FROM postgres_sync.sync_status entry
                      WHERE ((entry.schema_name = known.schema_name) AND (entry.layer_name = known.layer_name) AND (entry.status = 'SUCCESS'::text) AND (entry.sync_id < run.sync_id))
                      ORDER BY entry.started_at DESC
                     LIMIT 1)
                    ELSE NULL::text
                END AS gone_back_from,
            ( SELECT string_agg(((partition.inhrelid)::regclass)::text, ', '::text ORDER BY partition.inhrelid) AS string_agg
                   FROM pg_inherits partition
                  WHERE (partition.inhparent = known.relation)
                 HAVING (count(*) > 1)) AS partitions,
                CASE known.relation_kind
                    WHEN 'r'::"char" THEN 'a plain table'::text
                    WHEN 'p'::"char" THEN 'a partitioned table'::text
                    WHEN 'v'::"char" THEN 'a view'::text
                    WHEN 'm'::"char" THEN 'a materialized view'::text
                    WHEN 'f'::"char" THEN 'a foreign table'::text
                    ELSE 'a relation of another kind'::text
                END AS kind_in_words,
                CASE
                    WHEN (((known.kind = 'static'::text) AND (known.attached_rows > (0)::double precision)) OR ((known.kind = 'dynamic'::text) AND (known.relation_rows > (0)::double precision))) THEN false
                    ELSE (pg_relation_size((
                    CASE known.kind
                        WHEN 'static'::text THEN known.attached
                        ELSE known.relation
                    END)::regclass) = 0)
                END AS is_empty
           FROM ((((known
             LEFT JOIN LATERAL ( SELECT recent_1.sync_id,
                    recent_1.layer_name,
                    recent_1.sync_type,
                    recent_1.started_at,
                    recent_1.completed_at,
                    recent_1.rows_synced,
                    recent_1.status,
                    recent_1.error_message,
                    recent_1.duration_seconds,
                    recent_1.schema_name,
                    recent_1.version,
                    recent_1.run_id,
                    recent_1.backend_pid,
                    recent_1.backend_start,
                    recent_1.rows_inserted,
                    recent_1.rows_updated,
                    recent_1.rows_deleted,
                    recent_1.source_instant,
                    recent_1.source_changed_at,
                    recent_1.alive
                   FROM ( SELECT entry.sync_id,
                            entry.layer_name,
                            entry.sync_type,
                            entry.started_at,
                            entry.completed_at,
                            entry.rows_synced,
                            entry.status,
                            entry.error_message,
                            entry.duration_seconds,
                            entry.schema_name,
                            entry.version,
                            entry.run_id,
                            entry.backend_pid,
                            entry.backend_start,
                            entry.rows_inserted,
                            entry.rows_updated,
                            entry.rows_deleted,
                            entry.source_instant,
                            entry.source_changed_at,
                                CASE entry.status
                                    WHEN 'RUNNING'::text THEN postgres_sync.is_alive(entry.backend_pid, entry.backend_start)
                                    ELSE false
                                END AS alive
                           FROM postgres_sync.sync_status entry
                          WHERE ((entry.schema_name = known.schema_name) AND (entry.layer_name = known.layer_name))
                          ORDER BY entry.started_at DESC
                         LIMIT 20) recent_1
                  WHERE (recent_1.alive OR (recent_1.status = 'SUCCESS'::text) OR (recent_1.sync_type <> 'ROLLBACK'::text))
                  ORDER BY recent_1.alive DESC, COALESCE(recent_1.completed_at, recent_1.started_at) DESC, recent_1.sync_id DESC
                 LIMIT 1) run ON (true))
             LEFT JOIN LATERAL ( SELECT entry.completed_at,
                    entry.source_instant,
                    entry.source_changed_at
                   FROM postgres_sync.sync_status entry
                  WHERE ((entry.schema_name = known.schema_name) AND (entry.layer_name = known.layer_name) AND (entry.status = 'SUCCESS'::text) AND (entry.sync_type <> 'ROLLBACK'::text))
                  ORDER BY entry.started_at DESC
                 LIMIT 1) checked ON (true))
             LEFT JOIN LATERAL ( SELECT entry.completed_at,
                    entry.error_message
                   FROM postgres_sync.sync_status entry
                  WHERE ((entry.schema_name = known.schema_name) AND (entry.layer_name = known.layer_name) AND (entry.status = 'FAILED'::text) AND (entry.sync_type <> 'ROLLBACK'::text))
                  ORDER BY entry.started_at DESC
                 LIMIT 1) failure ON (true))
             LEFT JOIN LATERAL ( SELECT count(*) AS failures
                   FROM postgres_sync.sync_status entry
                  WHERE ((entry.schema_name = known.schema_name) AND (entry.layer_name = known.layer_name) AND (entry.status = 'FAILED'::text) AND (entry.sync_type <> 'ROLLBACK'::text) AND (entry.started_at > (statement_timestamp() - '01:00:00'::interval)))) recent ON (true))
        ), damaged AS (
         SELECT looked.schema_name,
            looked.layer_name,
            looked.kind,
            looked.place,
            looked.late_after,
            looked.still_after,
            looked.title,
            looked.relation,
            looked.relation_kind,
            looked.relation_rows,
            looked.attached,
            looked.attached_rows,
            looked.attached_name,
            looked.attached_schema,
            looked.version,
            looked.release_tag,
            looked.version_relation,
            looked.sha256,
            looked.short_version,
            looked.rows,
            looked.published_at,
            looked.synced,
            looked.sync_id,
            looked.run_id,
            looked.sync_type,
            looked.status,
            looked.alive,
            looked.error_message,
            looked.begun_seconds,
            looked.ended_seconds,
            looked.checked_at,
            looked.source_instant,
            looked.lag_seconds,
            looked.source_changed_at,
            looked.last_error_at,
            looked.last_error,
            looked.failures_last_hour,
            looked.gone_back_from,
            looked.partitions,
            looked.kind_in_words,
            looked.is_empty,
                CASE
                    WHEN ((looked.version IS NULL) AND (NOT looked.synced)) THEN NULL::text
                    WHEN (looked.relation IS NULL) THEN format('table %s is gone'::text, looked.title)
                    WHEN ((looked.relation_kind)::text <>
                    CASE looked.kind
                        WHEN 'static'::text THEN 'p'::text
                        ELSE 'r'::text
                    END) THEN format('%s is %s now'::text, looked.title, looked.kind_in_words)
                    WHEN (looked.kind = 'dynamic'::text) THEN
                    CASE
                        WHEN (looked.is_empty AND (looked.rows > 0)) THEN format('%s is empty, and the last sync left %s rows'::text, looked.title, to_char(looked.rows, 'FM999,999,999,999'::text))
                        ELSE NULL::text
                    END
                    WHEN (looked.attached IS NULL) THEN format('version %s is not attached to %s: readers see none of its rows'::text, looked.short_version, looked.title)
                    WHEN ((looked.attached_schema <> 'flux_versions'::text) OR (looked.attached_name <> looked.version_relation)) THEN format('%s.%s is attached where version %s should be'::text, looked.attached_schema, looked.attached_name, looked.short_version)
                    WHEN (looked.is_empty <> (COALESCE(looked.rows, (0)::bigint) = 0)) THEN format('%s is %s, but its version had %s rows'::text, looked.title,
                    CASE
                        WHEN looked.is_empty THEN 'empty'::text
                        ELSE 'not empty'::text
                    END, to_char(COALESCE(looked.rows, (0)::bigint), 'FM999,999,999,990'::text))
                    WHEN (looked.partitions IS NOT NULL) THEN format('%s has partitions that flux_assets did not make: %s'::text, looked.title, looked.partitions)
                    ELSE NULL::text
                END AS damage,
                CASE
                    WHEN (looked.source_instant IS NOT NULL) THEN format('it shows the source of %s'::text, postgres_sync.in_words(looked.lag_seconds))
                    WHEN (looked.version IS NULL) THEN 'nothing was published before'::text
                    ELSE format('still serving version %s'::text, looked.short_version)
                END AS serving,
                CASE looked.failures_last_hour
                    WHEN 0 THEN ''::text
                    WHEN 1 THEN format('failed once in the last hour: %s'::text, regexp_replace(looked.last_error, '^(.{120}).+$'::text, '\1 …'::text))
                    ELSE format('failed %s times in the last hour, at last: %s'::text, looked.failures_last_hour, regexp_replace(looked.last_error, '^(.{120}).+$'::text, '\1 …'::text))
                END AS history
           FROM looked
        ), judged AS (
         SELECT damaged.schema_name,
            damaged.layer_name,
            damaged.kind,
            damaged.place,
            damaged.late_after,
            damaged.still_after,
            damaged.title,
            damaged.relation,
            damaged.relation_kind,
            damaged.relation_rows,
            damaged.attached,
            damaged.attached_rows,
            damaged.attached_name,
            damaged.attached_schema,
            damaged.version,
            damaged.release_tag,
            damaged.version_relation,
            damaged.sha256,
            damaged.short_version,
            damaged.rows,
            damaged.published_at,
            damaged.synced,
            damaged.sync_id,
            damaged.run_id,
            damaged.sync_type,
            damaged.status,
            damaged.alive,
            damaged.error_message,
            damaged.begun_seconds,
            damaged.ended_seconds,
            damaged.checked_at,
            damaged.source_instant,
            damaged.lag_seconds,
            damaged.source_changed_at,
            damaged.last_error_at,
            damaged.last_error,
            damaged.failures_last_hour,
            damaged.gone_back_from,
            damaged.partitions,
            damaged.kind_in_words,
            damaged.is_empty,
            damaged.damage,
            damaged.serving,
            damaged.history,
                CASE
                    WHEN (damaged.damage IS NOT NULL) THEN 'broken'::text
                    WHEN (damaged.status = 'FAILED'::text) THEN 'failed'::text
                    WHEN ((damaged.status = 'RUNNING'::text) AND (NOT damaged.alive)) THEN 'interrupted'::text
                    WHEN (damaged.lag_seconds > (EXTRACT(epoch FROM damaged.late_after))::double precision) THEN 'late'::text
                    WHEN damaged.alive THEN 'loading'::text
                    WHEN ((damaged.status IS NOT NULL) AND (damaged.kind = 'static'::text) AND (damaged.version IS NULL)) THEN 'broken'::text
                    WHEN ((damaged.version IS NULL) AND (NOT damaged.synced)) THEN
                    CASE damaged.kind
                        WHEN 'static'::text THEN 'never loaded'::text
                        ELSE 'not synced'::text
                    END
                    WHEN ((statement_timestamp() - damaged.source_changed_at) > damaged.still_after) THEN 'still'::text
                    ELSE 'live'::text
                END AS state
           FROM damaged
        )
 SELECT judged.schema_name,
    judged.layer_name,
    judged.kind,
    judged.state,
        CASE
            WHEN (judged.state = ANY (ARRAY['live'::text, 'still'::text])) THEN true
            WHEN (judged.state = 'loading'::text) THEN
            CASE
                WHEN ((judged.version IS NOT NULL) OR judged.synced) THEN true
                ELSE NULL::boolean
            END
            WHEN (judged.state = ANY (ARRAY['never loaded'::text, 'not synced'::text])) THEN NULL::boolean
            ELSE false
        END AS trusted,
        CASE judged.state
            WHEN 'broken'::text THEN
            CASE
                WHEN (judged.damage IS NULL) THEN 'its last load succeeded, and the register has no current version; load it again'::text
                ELSE format('%s; %s'::text, judged.damage,
                CASE
                    WHEN ((judged.kind = 'dynamic'::text) AND (COALESCE(judged.relation_kind, 'r'::"char") = 'r'::"char")) THEN 'the next sync mends it'::text
                    WHEN ((judged.kind = 'static'::text) AND ((judged.relation IS NULL) OR ((judged.relation_kind = 'p'::"char") AND (judged.partitions IS NULL) AND (COALESCE(judged.attached_schema, 'flux_versions'::text) = 'flux_versions'::text)))) THEN 'load it again'::text
                    ELSE '`flux-assets doctor` says what to do'::text
                END)
            END
            WHEN 'failed'::text THEN format('%s: %s (%s)'::text, postgres_sync.in_words(judged.ended_seconds), split_part(COALESCE(NULLIF(ltrim(judged.error_message, ' 
	'::text), ''::text), 'no reason given'::text), '
'::text, 1), judged.serving)
            WHEN 'interrupted'::text THEN format('the run begun %s died without finishing; %s; run it again'::text, postgres_sync.in_words(judged.begun_seconds), judged.serving)
            WHEN 'late'::text THEN format('expected within %s; %s'::text, replace(postgres_sync.in_words((EXTRACT(epoch FROM judged.late_after))::double precision), ' ago'::text, ''::text),
            CASE
                WHEN judged.alive THEN format('a sync is under way, begun %s'::text, postgres_sync.in_words(judged.begun_seconds))
                ELSE 'is dynamic_sync_schedule running?'::text
            END)
            WHEN 'loading'::text THEN format('%s, begun %s; %s'::text,
            CASE judged.sync_type
                WHEN 'ROLLBACK'::text THEN 'rolling back'::text
                ELSE 'under way'::text
            END, postgres_sync.in_words(judged.begun_seconds), judged.serving)
            WHEN 'still'::text THEN concat_ws('; '::text, format('its source has not changed for %s'::text, replace(postgres_sync.in_words((EXTRACT(epoch FROM (statement_timestamp() - judged.source_changed_at)))::double precision), ' ago'::text, ''::text)), NULLIF(judged.history, ''::text))
            WHEN 'live'::text THEN concat_ws('; '::text,
            CASE
                WHEN (judged.sync_type = 'ROLLBACK'::text) THEN format('rolled back %s from version %s; the next load publishes what the release holds'::text, postgres_sync.in_words(judged.ended_seconds), "left"(judged.gone_back_from, 12))
                ELSE NULL::text
            END, NULLIF(judged.history, ''::text))
            ELSE
            CASE
                WHEN ((judged.relation IS NOT NULL) AND (judged.kind = 'static'::text) AND (judged.relation_kind <> 'p'::"char")) THEN format('%s of another origin has its name'::text, judged.kind_in_words)
                ELSE ''::text
            END
        END AS detail,
    judged.rows,
    judged.version,
    judged.release_tag,
    judged.source_changed_at,
    judged.checked_at,
    judged.published_at,
    judged.source_instant,
    judged.lag_seconds,
    NULLIF(judged.last_error, ''::text) AS last_error,
    judged.last_error_at,
    judged.failures_last_hour,
    judged.sync_id,
    judged.run_id,
    judged.place
   FROM judged
  ORDER BY judged.schema_name, judged.place, judged.layer_name;
COMMENT ON VIEW postgres_sync.v_table_status IS 'One row for each declared table: what `flux-assets status` shows.';
COMMENT ON COLUMN postgres_sync.v_table_status.state IS 'live, loading, still (the source has not changed for long), late, failed, interrupted, broken, never loaded, not synced.';
COMMENT ON COLUMN postgres_sync.v_table_status.trusted IS 'Whether the table is what it should be; none where there is nothing yet.';
COMMENT ON COLUMN postgres_sync.v_table_status.detail IS 'What the state means here, in a line.';
COMMENT ON COLUMN postgres_sync.v_table_status.source_changed_at IS 'When the source last changed. Of a static table: when the file that is live was first seen.';
COMMENT ON COLUMN postgres_sync.v_table_status.checked_at IS 'When the table was last found, or made, equal to its source.';
COMMENT ON COLUMN postgres_sync.v_table_status.published_at IS 'When what readers see last changed.';
COMMENT ON COLUMN postgres_sync.v_table_status.lag_seconds IS 'How old the picture is that a dynamic table gives of its source.';
COMMENT ON COLUMN postgres_sync.v_table_status.last_error IS 'First line of the newest failure, however long ago.';
COMMENT ON COLUMN postgres_sync.v_table_status.sync_id IS 'The row of the ledger that the state speaks of; run_id is its Dagster run.';
CREATE TABLE public.circuit_status_realtime (
    circuit_id character varying(50) NOT NULL,
    circuit_name character varying(200),
    substation_id character varying(50),
    voltage_class character varying(20),
    status character varying(20),
    load_percent double precision,
    customers_served integer,
    outage_count integer,
    last_updated timestamp without time zone,
    substation_name character varying(200),
    avg_load_percent double precision,
    avg_health_score double precision,
    centroid_lat double precision,
    centroid_lon double precision
)
WITH (fillfactor='85');
COMMENT ON TABLE public.circuit_status_realtime IS 'Every circuit with its state, its open outages, and the load and health of its assets.';
COMMENT ON COLUMN public.circuit_status_realtime.circuit_id IS 'Identifier of the circuit.';
COMMENT ON COLUMN public.circuit_status_realtime.circuit_name IS 'Name that dispatchers use.';
COMMENT ON COLUMN public.circuit_status_realtime.substation_id IS 'Substation that feeds the circuit.';
COMMENT ON COLUMN public.circuit_status_realtime.voltage_class IS 'Nominal voltage as the utility writes it.';
COMMENT ON COLUMN public.circuit_status_realtime.status IS 'State of the circuit; ENERGIZED where the source has none.';
COMMENT ON COLUMN public.circuit_status_realtime.load_percent IS 'Mean load of the circuit''s assets in grid_assets_cache, in percent; none when none has a load.';
COMMENT ON COLUMN public.circuit_status_realtime.customers_served IS 'Number of customers on the circuit.';
COMMENT ON COLUMN public.circuit_status_realtime.outage_count IS 'Number of the circuit''s outages that are active, assigned or in progress.';
COMMENT ON COLUMN public.circuit_status_realtime.last_updated IS 'When the sync wrote the row (UTC).';
COMMENT ON COLUMN public.circuit_status_realtime.substation_name IS 'Name of the substation that feeds the circuit.';
COMMENT ON COLUMN public.circuit_status_realtime.avg_load_percent IS 'Mean load of the circuit''s assets, in percent.';
COMMENT ON COLUMN public.circuit_status_realtime.avg_health_score IS 'Mean condition of the circuit''s assets, from 0 to 100.';
COMMENT ON COLUMN public.circuit_status_realtime.centroid_lat IS 'Mean latitude of the circuit''s assets, in degrees (EPSG:4326).';
COMMENT ON COLUMN public.circuit_status_realtime.centroid_lon IS 'Mean longitude of the circuit''s assets, in degrees (EPSG:4326).';
CREATE TABLE public.outage_restoration_tracker (
    outage_id character varying(50) NOT NULL,
    circuit_id character varying(50),
    substation_id character varying(50),
    outage_type character varying(50),
    cause_category character varying(100),
    start_time timestamp without time zone,
    estimated_restoration timestamp without time zone,
    actual_restoration timestamp without time zone,
    customers_affected integer,
    customers_restored integer,
    status character varying(20),
    priority character varying(20),
    crew_assigned character varying(100),
    latitude double precision,
    longitude double precision,
    geom public.geometry(Point,4326),
    created_at timestamp without time zone,
    updated_at timestamp without time zone
)
WITH (fillfactor='85');
COMMENT ON TABLE public.outage_restoration_tracker IS 'Open outages, and those that began within the last 7 days.';
COMMENT ON COLUMN public.outage_restoration_tracker.outage_id IS 'Identifier of the outage.';
COMMENT ON COLUMN public.outage_restoration_tracker.circuit_id IS 'Circuit that is out, wholly or in part.';
COMMENT ON COLUMN public.outage_restoration_tracker.substation_id IS 'Substation that feeds the circuit.';
COMMENT ON COLUMN public.outage_restoration_tracker.outage_type IS 'Planned or not, as the outage system names it.';
COMMENT ON COLUMN public.outage_restoration_tracker.cause_category IS 'Kind of cause, for example weather.';
COMMENT ON COLUMN public.outage_restoration_tracker.start_time IS 'When the outage began (UTC).';
COMMENT ON COLUMN public.outage_restoration_tracker.estimated_restoration IS 'When supply is expected to be back (UTC).';
COMMENT ON COLUMN public.outage_restoration_tracker.actual_restoration IS 'When supply was back (UTC); none while it is out.';
COMMENT ON COLUMN public.outage_restoration_tracker.customers_affected IS 'Number of customers without supply at the worst.';
COMMENT ON COLUMN public.outage_restoration_tracker.customers_restored IS 'Number of those who have supply again.';
COMMENT ON COLUMN public.outage_restoration_tracker.status IS 'State of the outage, for example ACTIVE.';
COMMENT ON COLUMN public.outage_restoration_tracker.priority IS 'Urgency that operations gave it.';
COMMENT ON COLUMN public.outage_restoration_tracker.crew_assigned IS 'Crew at work on it.';
COMMENT ON COLUMN public.outage_restoration_tracker.latitude IS 'Latitude in degrees (EPSG:4326).';
COMMENT ON COLUMN public.outage_restoration_tracker.longitude IS 'Longitude in degrees (EPSG:4326).';
COMMENT ON COLUMN public.outage_restoration_tracker.geom IS 'Position made from longitude and latitude (EPSG:4326); none when either is missing.';
COMMENT ON COLUMN public.outage_restoration_tracker.created_at IS 'When the row first arrived here (UTC).';
COMMENT ON COLUMN public.outage_restoration_tracker.updated_at IS 'When the row last changed here (UTC).';
CREATE TABLE public.work_orders (
    work_order_id character varying(50) NOT NULL,
    work_order_type character varying(50),
    priority character varying(20),
    status character varying(20),
    assigned_crew character varying(100),
    circuit_id character varying(50),
    substation_id character varying(50),
    transformer_id character varying(50),
    description text,
    scheduled_start timestamp without time zone,
    scheduled_end timestamp without time zone,
    actual_start timestamp without time zone,
    actual_end timestamp without time zone,
    latitude double precision,
    longitude double precision,
    geom public.geometry(Point,4326),
    created_at timestamp without time zone,
    updated_at timestamp without time zone
)
WITH (fillfactor='85');
COMMENT ON TABLE public.work_orders IS 'Open work orders, and those scheduled to start within the last 30 days or later.';
COMMENT ON COLUMN public.work_orders.work_order_id IS 'Identifier of the work order.';
COMMENT ON COLUMN public.work_orders.work_order_type IS 'Kind of work, for example INSPECTION.';
COMMENT ON COLUMN public.work_orders.priority IS 'Urgency of the work.';
COMMENT ON COLUMN public.work_orders.status IS 'State of the order, for example OPEN.';
COMMENT ON COLUMN public.work_orders.assigned_crew IS 'Crew that is to do it.';
COMMENT ON COLUMN public.work_orders.circuit_id IS 'Circuit that is worked on.';
COMMENT ON COLUMN public.work_orders.substation_id IS 'Substation that is worked on, or that feeds the circuit.';
COMMENT ON COLUMN public.work_orders.transformer_id IS 'Transformer that is worked on, where it is one.';
COMMENT ON COLUMN public.work_orders.description IS 'What is to be done, in the planner''s words.';
COMMENT ON COLUMN public.work_orders.scheduled_start IS 'When the work is to begin (UTC).';
COMMENT ON COLUMN public.work_orders.scheduled_end IS 'When the work is to be done (UTC).';
COMMENT ON COLUMN public.work_orders.actual_start IS 'When the work began (UTC).';
COMMENT ON COLUMN public.work_orders.actual_end IS 'When the work was done (UTC).';
COMMENT ON COLUMN public.work_orders.latitude IS 'Latitude in degrees (EPSG:4326).';
COMMENT ON COLUMN public.work_orders.longitude IS 'Longitude in degrees (EPSG:4326).';
COMMENT ON COLUMN public.work_orders.geom IS 'Position made from longitude and latitude (EPSG:4326); none when either is missing.';
COMMENT ON COLUMN public.work_orders.created_at IS 'When the row first arrived here (UTC).';
COMMENT ON COLUMN public.work_orders.updated_at IS 'When the row last changed here (UTC).';
ALTER TABLE ONLY public.customers_spatial ATTACH PARTITION flux_versions.public__customers_spatial__4f4b7a92_1 DEFAULT;
ALTER TABLE ONLY public.meter_locations_enhanced ATTACH PARTITION flux_versions.public__meter_locations_enhanced__c48deda1_1 DEFAULT;
ALTER TABLE ONLY public.substations ATTACH PARTITION flux_versions.public__substations__5b075631_2 DEFAULT;
ALTER TABLE ONLY public.transformers ATTACH PARTITION flux_versions.public__transformers__5bf1e5dc_1 DEFAULT;
ALTER TABLE ONLY public.vegetation_risk ATTACH PARTITION flux_versions.public__vegetation_risk__ce73b4fd_1 DEFAULT;
INSERT INTO flux_versions.public__customers_spatial__4f4b7a92_1 VALUES
	('CUST-00000001', 'Oscar Chen', 'RESIDENTIAL', '240 Sabine Ct', 'Bayou City', 'Fort Tejas', 'MTR-00000001', 'XFMR-0000001', 29.7557841, -95.3976188, '0101000020E610000096911F9672D957C0385618117BC13D40'),
	('CUST-00000002', 'Clara Okafor', 'RESIDENTIAL', '336 Sabine Ct', 'Bayou City', 'Fort Tejas', 'MTR-00000002', 'XFMR-0000002', 29.7571391, -95.3979165, '0101000020E61000007B82C47677D957C0DB0539DED3C13D40'),
	('CUST-00000003', 'Beatriz García', 'RESIDENTIAL', '302 Kirby Blvd', 'Bayou City', 'Fort Tejas', 'MTR-00000003', 'XFMR-0000006', 29.7556458, -95.3971713, '0101000020E61000003A1A2C416BD957C0195CCE0072C13D40'),
	('CUST-00000004', 'Sofía Quintanilla', 'RESIDENTIAL', '302 Kirby Blvd', 'Bayou City', 'Fort Tejas', 'MTR-00000004', 'XFMR-0000006', 29.7559199, -95.3972191, '0101000020E61000002EF6A8096CD957C045E570F783C13D40'),
	('CUST-00000005', 'Yolanda Martínez', 'RESIDENTIAL', '398 Kirby Blvd', 'Bayou City', 'Fort Tejas', 'MTR-00000005', 'XFMR-0000007', 29.7555082, -95.3959767, '0101000020E6100000981EA8AE57D957C01EDC42FC68C13D40'),
	('CUST-00000006', 'Laura O''Brien', 'RESIDENTIAL', '399 Kirby Blvd', 'Bayou City', 'Fort Tejas', 'MTR-00000006', 'XFMR-0000007', 29.755825, -95.3959603, '0101000020E6100000EBC0DE6957D957C0CC7F48BF7DC13D40'),
	('CUST-00000007', 'Caleb Hernández', 'RESIDENTIAL', '398 Kirby Blvd', 'Bayou City', 'Fort Tejas', 'MTR-00000007', 'XFMR-0000007', 29.7554971, -95.3958406, '0101000020E610000075DBCF7355D957C00CB9084268C13D40'),
	('CUST-00000008', 'Jesús Weiß', 'RESIDENTIAL', '398 Kirby Blvd', 'Bayou City', 'Galvez', 'MTR-00000008', 'XFMR-0000007', 29.7558127, -95.3957292, '0101000020E6100000A00491A053D957C0C666ECF07CC13D40'),
	('CUST-00000009', 'Anh Broussard', 'RESIDENTIAL', '495 Kirby Blvd', 'Bayou City', 'Galvez', 'MTR-00000009', 'XFMR-0000008', 29.7557403, -95.3946209, '0101000020E61000005CF4047841D957C0ECC4403278C13D40'),
	('CUST-00000010', 'Oscar Abernathy', 'RESIDENTIAL', '591 Kirby Blvd', 'Bayou City', 'Galvez', 'MTR-00000010', 'XFMR-0000009', 29.7557141, -95.3936832, '0101000020E6100000043F051B32D957C046A0B07A76C13D40'),
	('CUST-00000011', 'Andre Adeyemi', 'RESIDENTIAL', '671 Kirby Blvd, Unit 39', 'Bayou City', 'Galvez', 'MTR-00000011', 'XFMR-0000010', 29.7560268, -95.392899, '0101000020E610000064E8D84125D957C048E6ECF88AC13D40'),
	('CUST-00000012', 'Grace Fontenot', 'RESIDENTIAL', '390 Uvalde Way', 'Bayou City', 'Harrow', 'MTR-00000012', 'XFMR-0000014', 29.7583011, -95.391015, '0101000020E6100000B54FC76306D957C05505590520C23D40'),
	('CUST-00000013', 'Grace Patel', 'RESIDENTIAL', '272 Heights Dr', 'Bayou City', 'Fort Tejas', 'MTR-00000013', 'XFMR-0000016', 29.7561803, -95.3977132, '0101000020E610000000CC102274D957C025613A0895C13D40'),
	('CUST-00000014', 'Laura Barrientos', 'RESIDENTIAL', '369 Heights Dr', 'Bayou City', 'Fort Tejas', 'MTR-00000014', 'XFMR-0000017', 29.7573676, -95.3977648, '0101000020E610000000E07DFA74D957C0CD0CD1D7E2C13D40'),
	('CUST-00000015', 'Mei Cruz', 'RESIDENTIAL', '465 Heights Dr', 'Bayou City', 'Fort Tejas', 'MTR-00000015', 'XFMR-0000018', 29.7583677, -95.3980608, '0101000020E6100000747401D479D957C0BED7B56224C23D40'),
	('CUST-00000016', 'Ruth Broussard', 'RESIDENTIAL', '835 Heights Dr', 'Bayou City', 'Fort Tejas', 'MTR-00000016', 'XFMR-0000022', 29.7615156, -95.3972572, '0101000020E61000006F8676A96CD957C0D164B5AFF2C23D40'),
	('CUST-00000017', 'Noor Dubois', 'RESIDENTIAL', '835 Heights Dr', 'Bayou City', 'Fort Tejas', 'MTR-00000017', 'XFMR-0000022', 29.7615235, -95.3975397, '0101000020E610000025975A4A71D957C0ADA23F34F3C23D40'),
	('CUST-00000018', 'Panadería La Estrella', 'COMMERCIAL', '834 Heights Dr', 'Bayou City', 'Fort Tejas', 'MTR-00000018', 'XFMR-0000022', 29.7614695, -95.3975703, '0101000020E61000001917B3CA71D957C0C76647AAEFC23D40'),
	('CUST-00000019', 'Félix Kowalski', 'RESIDENTIAL', '931 Heights Dr', 'Bayou City', 'Fort Tejas', 'MTR-00000019', 'XFMR-0000023', 29.762718, -95.3973409, '0101000020E61000003FB786086ED957C00E12A27C41C33D40'),
	('CUST-00000020', 'Hargrove & Sons', 'INDUSTRIAL', '272 Fannin Ln', 'Bayou City', 'Harrow', 'MTR-00000020', 'XFMR-0000024', 29.7561929, -95.3903142, '0101000020E6100000860A69E8FAD857C0A7F79EDB95C13D40'),
	('CUST-00000021', 'Deborah Moreau', 'RESIDENTIAL', '369 Fannin Ln', 'Bayou City', 'Galvez', 'MTR-00000021', 'XFMR-0000025', 29.7560036, -95.3888173, '0101000020E61000009EE7F461E2D857C084A8B17389C13D40'),
	('CUST-00000022', 'Inés Zapata', 'RESIDENTIAL', '467 Fannin Ln', 'Bayou City', 'Harrow', 'MTR-00000022', 'XFMR-0000026', 29.7562279, -95.3876101, '0101000020E61000005BC6979ACED857C0A0D2D22698C13D40'),
	('CUST-00000023', 'José Adeyemi', 'RESIDENTIAL', '467 Fannin Ln', 'Bayou City', 'Galvez', 'MTR-00000023', 'XFMR-0000026', 29.755984, -95.3878788, '0101000020E6100000F3339A01D3D857C09D4CDC2A88C13D40'),
	('CUST-00000024', 'Thảo Nguyễn', 'RESIDENTIAL', '661 Fannin Ln', 'Bayou City', 'Galvez', 'MTR-00000024', 'XFMR-0000028', 29.7552399, -95.3866149, '0101000020E61000005DE96B4CBED857C06222EF6657C13D40'),
	('CUST-00000025', 'Patricia Hinojosa', 'RESIDENTIAL', '740 Fannin Ln', 'Bayou City', 'Galvez', 'MTR-00000025', 'XFMR-0000029', 29.755145, -95.3856051, '0101000020E6100000EF6A03C1ADD857C0E8BCC62E51C13D40'),
	('CUST-00000026', 'José Salinas', 'RESIDENTIAL', '740 Fannin Ln, Unit 15', 'Bayou City', 'Galvez', 'MTR-00000026', 'XFMR-0000029', 29.755399, -95.3853775, '0101000020E610000050C76306AAD857C05D6E30D461C13D40'),
	('CUST-00000027', 'Félix Robinson', 'RESIDENTIAL', '838 Fannin Ln, Unit 55', 'Bayou City', 'Galvez', 'MTR-00000027', 'XFMR-0000030', 29.7552982, -95.384321, '0101000020E6100000A08A1BB798D857C048BA0B395BC13D40'),
	('CUST-00000028', 'Malik Santos', 'RESIDENTIAL', '839 Fannin Ln', 'Bayou City', 'Galvez', 'MTR-00000028', 'XFMR-0000030', 29.7556253, -95.384421, '0101000020E610000052B9895A9AD857C0BA87DFA870C13D40'),
	('CUST-00000029', 'Elena Guidry', 'RESIDENTIAL', '838 Fannin Ln', 'Bayou City', 'Galvez', 'MTR-00000029', 'XFMR-0000030', 29.7553391, -95.3846224, '0101000020E6100000C75345A79DD857C0DCE33BE75DC13D40'),
	('CUST-00000030', 'Clara García', 'RESIDENTIAL', '934 Fannin Ln', 'Bayou City', 'Galvez', 'MTR-00000030', 'XFMR-0000031', 29.7557071, -95.3834288, '0101000020E61000000D16F3188AD857C0E1DA3F0576C13D40'),
	('CUST-00000031', 'Patricia Jackson', 'RESIDENTIAL', '287 Cottonwood Rd', 'Bayou City', 'Harrow', 'MTR-00000031', 'XFMR-0000032', 29.7570844, -95.3912538, '0101000020E6100000E3DB604D0AD957C0D14F8248D0C13D40'),
	('CUST-00000032', 'Daniel Nguyễn', 'RESIDENTIAL', '558 Cottonwood Rd', 'Bayou City', 'Harrow', 'MTR-00000032', 'XFMR-0000035', 29.7594765, -95.3905544, '0101000020E6100000C5D3E1D7FED857C09F94490D6DC23D40'),
	('CUST-00000033', 'Taller Mecánico Núñez', 'COMMERCIAL', '558 Cottonwood Rd', 'Bayou City', 'Harrow', 'MTR-00000033', 'XFMR-0000035', 29.7595112, -95.3907007, '0101000020E61000008E41823D01D957C01AF274536FC23D40'),
	('CUST-00000034', 'Hassan Hinojosa', 'RESIDENTIAL', '655 Cottonwood Rd', 'Bayou City', 'Harrow', 'MTR-00000034', 'XFMR-0000036', 29.7601785, -95.390357, '0101000020E6100000F030ED9BFBD857C0519FE40E9BC23D40'),
	('CUST-00000035', 'Oscar Núñez', 'RESIDENTIAL', '654 Cottonwood Rd', 'Bayou City', 'Harrow', 'MTR-00000035', 'XFMR-0000036', 29.759922, -95.3902846, '0101000020E61000007A48426CFAD857C0CB82893F8AC23D40'),
	('CUST-00000036', 'Linh Chen', 'RESIDENTIAL', '751 Cottonwood Rd', 'Bayou City', 'Harrow', 'MTR-00000036', 'XFMR-0000037', 29.7609001, -95.3901969, '0101000020E61000000A206BFCF8D857C0EC055559CAC23D40'),
	('CUST-00000037', 'Andre Martínez', 'RESIDENTIAL', '750 Cottonwood Rd', 'Bayou City', 'Harrow', 'MTR-00000037', 'XFMR-0000037', 29.7609237, -95.3905723, '0101000020E61000004ECEF522FFD857C0564046E5CBC23D40'),
	('CUST-00000038', 'Hargrove & Sons', 'COMMERCIAL', '831 Cottonwood Rd', 'Bayou City', 'Harrow', 'MTR-00000038', 'XFMR-0000038', 29.7618336, -95.3905083, '0101000020E610000042548616FED857C073FEDC8607C33D40'),
	('CUST-00000039', 'Naomi Santos', 'RESIDENTIAL', '927 Cottonwood Rd', 'Bayou City', 'Harrow', 'MTR-00000039', 'XFMR-0000039', 29.7628114, -95.3904926, '0101000020E61000001F95ACD4FDD857C01704A09B47C33D40'),
	('CUST-00000040', 'Lone Oak Clinic', 'COMMERCIAL', '926 Cottonwood Rd', 'Bayou City', 'Harrow', 'MTR-00000040', 'XFMR-0000039', 29.7628678, -95.3901972, '0101000020E6100000693FADFDF8D857C0E52BDC4D4BC33D40'),
	('CUST-00000041', 'Emeka Weiß', 'RESIDENTIAL', '289 Franklin St', 'Bayou City', 'Harrow', 'MTR-00000041', 'XFMR-0000040', 29.7563011, -95.3831529, '0101000020E610000086B7BD9385D857C0C86DEAF29CC13D40'),
	('CUST-00000042', 'Karen Peña', 'RESIDENTIAL', '288 Franklin St', 'Bayou City', 'Harrow', 'MTR-00000042', 'XFMR-0000040', 29.7563556, -95.3834578, '0101000020E61000005A9995928AD857C07E254685A0C13D40'),
	('CUST-00000043', 'Anh Ebrahimi', 'RESIDENTIAL', '563 Franklin St', 'Bayou City', 'Harrow', 'MTR-00000043', 'XFMR-0000043', 29.7592084, -95.3830435, '0101000020E6100000815CE2C883D857C036D9507B5BC23D40'),
	('CUST-00000044', 'Rosa Adeyemi', 'RESIDENTIAL', '659 Franklin St', 'Bayou City', 'Harrow', 'MTR-00000044', 'XFMR-0000044', 29.7602258, -95.3829515, '0101000020E6100000111D024782D857C0509374289EC23D40'),
	('CUST-00000045', 'Noor Abernathy', 'RESIDENTIAL', '658 Franklin St', 'Bayou City', 'Harrow', 'MTR-00000045', 'XFMR-0000044', 29.7601462, -95.3832522, '0101000020E6100000AF473C3487D857C0BE2DFDF098C23D40'),
	('CUST-00000046', 'Chidi St. Julien', 'RESIDENTIAL', '659 Franklin St', 'Bayou City', 'Harrow', 'MTR-00000046', 'XFMR-0000044', 29.7601947, -95.3829918, '0101000020E6100000B7E809F082D857C0B017AF1E9CC23D40'),
	('CUST-00000047', 'Oscar St. Julien', 'RESIDENTIAL', '659 Franklin St', 'Bayou City', 'Harrow', 'MTR-00000047', 'XFMR-0000044', 29.7603381, -95.3832691, '0101000020E610000050841E7B87D857C01C678984A5C23D40'),
	('CUST-00000048', 'Malik Adeyemi', 'RESIDENTIAL', '754 Franklin St', 'Bayou City', 'Harrow', 'MTR-00000048', 'XFMR-0000045', 29.7611496, -95.3834002, '0101000020E6100000E911FEA089D857C00D5D3FB3DAC23D40'),
	('CUST-00000049', 'José Núñez', 'RESIDENTIAL', '755 Franklin St', 'Bayou City', 'Harrow', 'MTR-00000049', 'XFMR-0000045', 29.7612642, -95.3831153, '0101000020E6100000390609F684D857C0989DEA35E2C23D40'),
	('CUST-00000050', 'Terrence Zapata', 'RESIDENTIAL', '853 Franklin St', 'Bayou City', 'Harrow', 'MTR-00000050', 'XFMR-0000046', 29.7624366, -95.3835739, '0101000020E610000059068B798CD857C00046860B2FC33D40');
INSERT INTO flux_versions.public__meter_locations_enhanced__c48deda1_1 VALUES
	('MTR-00000001', 'XFMR-0000001', 29.7557841, -95.3976188, 'CKT-00001-01', 'Bayou City', '77001', 'Fort Tejas', '0101000020E610000096911F9672D957C0385618117BC13D40'),
	('MTR-00000002', 'XFMR-0000002', 29.7571391, -95.3979165, 'CKT-00001-01', 'Bayou City', '77001', 'Fort Tejas', '0101000020E61000007B82C47677D957C0DB0539DED3C13D40'),
	('MTR-00000003', 'XFMR-0000006', 29.7556458, -95.3971713, 'CKT-00001-02', 'Bayou City', '77001', 'Fort Tejas', '0101000020E61000003A1A2C416BD957C0195CCE0072C13D40'),
	('MTR-00000004', 'XFMR-0000006', 29.7559199, -95.3972191, 'CKT-00001-02', 'Bayou City', '77001', 'Fort Tejas', '0101000020E61000002EF6A8096CD957C045E570F783C13D40'),
	('MTR-00000005', 'XFMR-0000007', 29.7555082, -95.3959767, 'CKT-00001-02', 'Bayou City', '77001', 'Fort Tejas', '0101000020E6100000981EA8AE57D957C01EDC42FC68C13D40'),
	('MTR-00000006', 'XFMR-0000007', 29.755825, -95.3959603, 'CKT-00001-02', 'Bayou City', '77001', 'Fort Tejas', '0101000020E6100000EBC0DE6957D957C0CC7F48BF7DC13D40'),
	('MTR-00000007', 'XFMR-0000007', 29.7554971, -95.3958406, 'CKT-00001-02', 'Bayou City', '77001', 'Fort Tejas', '0101000020E610000075DBCF7355D957C00CB9084268C13D40'),
	('MTR-00000008', 'XFMR-0000007', 29.7558127, -95.3957292, 'CKT-00001-02', 'Bayou City', '77001', 'Galvez', '0101000020E6100000A00491A053D957C0C666ECF07CC13D40'),
	('MTR-00000009', 'XFMR-0000008', 29.7557403, -95.3946209, 'CKT-00001-02', 'Bayou City', '77001', 'Galvez', '0101000020E61000005CF4047841D957C0ECC4403278C13D40'),
	('MTR-00000010', 'XFMR-0000009', 29.7557141, -95.3936832, 'CKT-00001-02', 'Bayou City', '77001', 'Galvez', '0101000020E6100000043F051B32D957C046A0B07A76C13D40'),
	('MTR-00000011', 'XFMR-0000010', 29.7560268, -95.392899, 'CKT-00001-02', 'Bayou City', '77001', 'Galvez', '0101000020E610000064E8D84125D957C048E6ECF88AC13D40'),
	('MTR-00000012', 'XFMR-0000014', 29.7583011, -95.391015, 'CKT-00001-02', 'Bayou City', '77001', 'Harrow', '0101000020E6100000B54FC76306D957C05505590520C23D40'),
	('MTR-00000013', 'XFMR-0000016', 29.7561803, -95.3977132, 'CKT-00001-03', 'Bayou City', '77001', 'Fort Tejas', '0101000020E610000000CC102274D957C025613A0895C13D40'),
	('MTR-00000014', 'XFMR-0000017', 29.7573676, -95.3977648, 'CKT-00001-03', 'Bayou City', '77001', 'Fort Tejas', '0101000020E610000000E07DFA74D957C0CD0CD1D7E2C13D40'),
	('MTR-00000015', 'XFMR-0000018', 29.7583677, -95.3980608, 'CKT-00001-03', 'Bayou City', '77001', 'Fort Tejas', '0101000020E6100000747401D479D957C0BED7B56224C23D40'),
	('MTR-00000016', 'XFMR-0000022', 29.7615156, -95.3972572, 'CKT-00001-03', 'Bayou City', '77001', 'Fort Tejas', '0101000020E61000006F8676A96CD957C0D164B5AFF2C23D40'),
	('MTR-00000017', 'XFMR-0000022', 29.7615235, -95.3975397, 'CKT-00001-03', 'Bayou City', '77001', 'Fort Tejas', '0101000020E610000025975A4A71D957C0ADA23F34F3C23D40'),
	('MTR-00000018', 'XFMR-0000022', 29.7614695, -95.3975703, 'CKT-00001-03', 'Bayou City', '77001', 'Fort Tejas', '0101000020E61000001917B3CA71D957C0C76647AAEFC23D40'),
	('MTR-00000019', 'XFMR-0000023', 29.762718, -95.3973409, 'CKT-00001-03', 'Bayou City', '77001', 'Fort Tejas', '0101000020E61000003FB786086ED957C00E12A27C41C33D40'),
	('MTR-00000020', 'XFMR-0000024', 29.7561929, -95.3903142, 'CKT-00001-02', 'Bayou City', '77001', 'Harrow', '0101000020E6100000860A69E8FAD857C0A7F79EDB95C13D40'),
	('MTR-00000021', 'XFMR-0000025', 29.7560036, -95.3888173, 'CKT-00001-02', 'Bayou City', '77001', 'Galvez', '0101000020E61000009EE7F461E2D857C084A8B17389C13D40'),
	('MTR-00000022', 'XFMR-0000026', 29.7562279, -95.3876101, 'CKT-00001-02', 'Bayou City', '77001', 'Harrow', '0101000020E61000005BC6979ACED857C0A0D2D22698C13D40'),
	('MTR-00000023', 'XFMR-0000026', 29.755984, -95.3878788, 'CKT-00001-02', 'Bayou City', '77001', 'Galvez', '0101000020E6100000F3339A01D3D857C09D4CDC2A88C13D40'),
	('MTR-00000024', 'XFMR-0000028', 29.7552399, -95.3866149, 'CKT-00001-02', 'Bayou City', '77001', 'Galvez', '0101000020E61000005DE96B4CBED857C06222EF6657C13D40'),
	('MTR-00000025', 'XFMR-0000029', 29.755145, -95.3856051, 'CKT-00001-02', 'Bayou City', '77001', 'Galvez', '0101000020E6100000EF6A03C1ADD857C0E8BCC62E51C13D40'),
	('MTR-00000026', 'XFMR-0000029', 29.755399, -95.3853775, 'CKT-00001-02', 'Bayou City', '77001', 'Galvez', '0101000020E610000050C76306AAD857C05D6E30D461C13D40'),
	('MTR-00000027', 'XFMR-0000030', 29.7552982, -95.384321, 'CKT-00001-02', 'Bayou City', '77001', 'Galvez', '0101000020E6100000A08A1BB798D857C048BA0B395BC13D40'),
	('MTR-00000028', 'XFMR-0000030', 29.7556253, -95.384421, 'CKT-00001-02', 'Bayou City', '77001', 'Galvez', '0101000020E610000052B9895A9AD857C0BA87DFA870C13D40'),
	('MTR-00000029', 'XFMR-0000030', 29.7553391, -95.3846224, 'CKT-00001-02', 'Bayou City', '77001', 'Galvez', '0101000020E6100000C75345A79DD857C0DCE33BE75DC13D40'),
	('MTR-00000030', 'XFMR-0000031', 29.7557071, -95.3834288, 'CKT-00001-02', 'Bayou City', '77001', 'Galvez', '0101000020E61000000D16F3188AD857C0E1DA3F0576C13D40'),
	('MTR-00000031', 'XFMR-0000032', 29.7570844, -95.3912538, 'CKT-00001-02', 'Bayou City', '77001', 'Harrow', '0101000020E6100000E3DB604D0AD957C0D14F8248D0C13D40'),
	('MTR-00000032', 'XFMR-0000035', 29.7594765, -95.3905544, 'CKT-00001-02', 'Bayou City', '77001', 'Harrow', '0101000020E6100000C5D3E1D7FED857C09F94490D6DC23D40'),
	('MTR-00000033', 'XFMR-0000035', 29.7595112, -95.3907007, 'CKT-00001-02', 'Bayou City', '77001', 'Harrow', '0101000020E61000008E41823D01D957C01AF274536FC23D40'),
	('MTR-00000034', 'XFMR-0000036', 29.7601785, -95.390357, 'CKT-00001-02', 'Bayou City', '77001', 'Harrow', '0101000020E6100000F030ED9BFBD857C0519FE40E9BC23D40'),
	('MTR-00000035', 'XFMR-0000036', 29.759922, -95.3902846, 'CKT-00001-02', 'Bayou City', '77001', 'Harrow', '0101000020E61000007A48426CFAD857C0CB82893F8AC23D40'),
	('MTR-00000036', 'XFMR-0000037', 29.7609001, -95.3901969, 'CKT-00001-02', 'Bayou City', '77001', 'Harrow', '0101000020E61000000A206BFCF8D857C0EC055559CAC23D40'),
	('MTR-00000037', 'XFMR-0000037', 29.7609237, -95.3905723, 'CKT-00001-02', 'Bayou City', '77001', 'Harrow', '0101000020E61000004ECEF522FFD857C0564046E5CBC23D40'),
	('MTR-00000038', 'XFMR-0000038', 29.7618336, -95.3905083, 'CKT-00001-02', 'Bayou City', '77001', 'Harrow', '0101000020E610000042548616FED857C073FEDC8607C33D40'),
	('MTR-00000039', 'XFMR-0000039', 29.7628114, -95.3904926, 'CKT-00001-02', 'Bayou City', '77001', 'Harrow', '0101000020E61000001F95ACD4FDD857C01704A09B47C33D40'),
	('MTR-00000040', 'XFMR-0000039', 29.7628678, -95.3901972, 'CKT-00001-02', 'Bayou City', '77001', 'Harrow', '0101000020E6100000693FADFDF8D857C0E52BDC4D4BC33D40'),
	('MTR-00000041', 'XFMR-0000040', 29.7563011, -95.3831529, 'CKT-00001-02', 'Bayou City', '77001', 'Harrow', '0101000020E610000086B7BD9385D857C0C86DEAF29CC13D40'),
	('MTR-00000042', 'XFMR-0000040', 29.7563556, -95.3834578, 'CKT-00001-02', 'Bayou City', '77001', 'Harrow', '0101000020E61000005A9995928AD857C07E254685A0C13D40'),
	('MTR-00000043', 'XFMR-0000043', 29.7592084, -95.3830435, 'CKT-00001-02', 'Bayou City', '77001', 'Harrow', '0101000020E6100000815CE2C883D857C036D9507B5BC23D40'),
	('MTR-00000044', 'XFMR-0000044', 29.7602258, -95.3829515, 'CKT-00001-02', 'Bayou City', '77001', 'Harrow', '0101000020E6100000111D024782D857C0509374289EC23D40'),
	('MTR-00000045', 'XFMR-0000044', 29.7601462, -95.3832522, 'CKT-00001-02', 'Bayou City', '77001', 'Harrow', '0101000020E6100000AF473C3487D857C0BE2DFDF098C23D40'),
	('MTR-00000046', 'XFMR-0000044', 29.7601947, -95.3829918, 'CKT-00001-02', 'Bayou City', '77001', 'Harrow', '0101000020E6100000B7E809F082D857C0B017AF1E9CC23D40'),
	('MTR-00000047', 'XFMR-0000044', 29.7603381, -95.3832691, 'CKT-00001-02', 'Bayou City', '77001', 'Harrow', '0101000020E610000050841E7B87D857C01C678984A5C23D40'),
	('MTR-00000048', 'XFMR-0000045', 29.7611496, -95.3834002, 'CKT-00001-02', 'Bayou City', '77001', 'Harrow', '0101000020E6100000E911FEA089D857C00D5D3FB3DAC23D40'),
	('MTR-00000049', 'XFMR-0000045', 29.7612642, -95.3831153, 'CKT-00001-02', 'Bayou City', '77001', 'Harrow', '0101000020E6100000390609F684D857C0989DEA35E2C23D40'),
	('MTR-00000050', 'XFMR-0000046', 29.7624366, -95.3835739, 'CKT-00001-02', 'Bayou City', '77001', 'Harrow', '0101000020E610000059068B798CD857C00046860B2FC33D40');
INSERT INTO flux_versions.public__substations__5b075631_2 VALUES
	('SUB-00001', 'O''Connor Substation', 29.7561473, -95.3974114, 10, '138/34.5 kV', '1979-07-26', 'ACTIVE', '0101000020E6100000AF8339306FD957C06D7594DE92C13D40');
INSERT INTO flux_versions.public__substations__bbcddca1_1 VALUES
	('SUB-00001', 'Heights Substation', 29.7638107, -95.3972828, 10, '138/4.16 kV', '1972-11-20', 'ACTIVE', '0101000020E6100000DA50D6146DD957C0BAD5181989C33D40');
INSERT INTO flux_versions.public__transformers__5bf1e5dc_1 VALUES
	('XFMR-0000001', 29.7635412, -95.3976256, 'SUB-00001', 100, 2020, 88.1, 5, 'Bayou City', 'CKT-00001-01'),
	('XFMR-0000002', 29.7646121, -95.397658, 'SUB-00001', 25, 1994, 63.7, 31, 'Bayou City', 'CKT-00001-01'),
	('XFMR-0000003', 29.7656834, -95.3976389, 'SUB-00001', 50, 1992, 71.1, 33, 'Bayou City', 'CKT-00001-01'),
	('XFMR-0000004', 29.7667538, -95.3975946, 'SUB-00001', 37.5, 2006, 82.1, 19, 'Bayou City', 'CKT-00001-01'),
	('XFMR-0000005', 29.7631545, -95.3975761, 'SUB-00001', 25, 1990, 54.7, 35, 'Bayou City', 'CKT-00001-01'),
	('XFMR-0000006', 29.7622968, -95.3974883, 'SUB-00001', 50, 1994, 71.3, 31, 'Bayou City', 'CKT-00001-01'),
	('XFMR-0000007', 29.7612701, -95.397354, 'SUB-00001', 37.5, 2013, 88.7, 12, 'Bayou City', 'CKT-00001-01'),
	('XFMR-0000008', 29.7602435, -95.3972169, 'SUB-00001', 25, 1996, 64.2, 29, 'Bayou City', 'CKT-00001-01'),
	('XFMR-0000009', 29.7636135, -95.3974889, 'SUB-00001', 75, 1996, 78.6, 29, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000010', 29.7634548, -95.3968974, 'SUB-00001', 75, 2022, 91.6, 3, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000011', 29.7634738, -95.3956741, 'SUB-00001', 37.5, 2012, 77.8, 13, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000012', 29.7634649, -95.3944513, 'SUB-00001', 25, 2012, 82, 13, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000013', 29.7636161, -95.3933726, 'SUB-00001', 37.5, 2015, 96.4, 10, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000014', 29.7635782, -95.3921506, 'SUB-00001', 25, 2011, 80.5, 14, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000015', 29.7635026, -95.3911358, 'SUB-00001', 75, 2016, 93.6, 9, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000016', 29.7634996, -95.3976506, 'SUB-00001', 25, 2006, 85.8, 19, 'Bayou City', 'CKT-00001-03'),
	('XFMR-0000017', 29.7625078, -95.3976452, 'SUB-00001', 25, 2000, 70.1, 25, 'Bayou City', 'CKT-00001-03'),
	('XFMR-0000018', 29.7614373, -95.3975113, 'SUB-00001', 37.5, 1987, 55.5, 38, 'Bayou City', 'CKT-00001-03'),
	('XFMR-0000019', 29.760546, -95.3973911, 'SUB-00001', 25, 2018, 85.9, 7, 'Bayou City', 'CKT-00001-03'),
	('XFMR-0000020', 29.7594744, -95.3972668, 'SUB-00001', 300, 2002, 61.4, 23, 'Bayou City', 'CKT-00001-03'),
	('XFMR-0000021', 29.7588255, -95.3977376, 'SUB-00001', 37.5, 2018, 100, 7, 'Bayou City', 'CKT-00001-03'),
	('XFMR-0000022', 29.7577505, -95.3976618, 'SUB-00001', 167, 2017, 88.6, 8, 'Bayou City', 'CKT-00001-03'),
	('XFMR-0000023', 29.756674, -95.3976177, 'SUB-00001', 50, 2010, 86.6, 15, 'Bayou City', 'CKT-00001-03'),
	('XFMR-0000024', 29.7557764, -95.3976062, 'SUB-00001', 37.5, 2001, 78.4, 24, 'Bayou City', 'CKT-00001-03'),
	('XFMR-0000025', 29.7634078, -95.3898396, 'SUB-00001', 37.5, 2020, 90, 5, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000026', 29.7635064, -95.3886136, 'SUB-00001', 167, 2019, 99.8, 6, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000027', 29.7635358, -95.3873831, 'SUB-00001', 1000, 1998, 66.9, 27, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000028', 29.7626475, -95.3870804, 'SUB-00001', 75, 1996, 74.9, 29, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000029', 29.7623288, -95.386348, 'SUB-00001', 15, 2015, 95.3, 10, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000030', 29.7621901, -95.3851268, 'SUB-00001', 37.5, 2010, 72.4, 15, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000031', 29.762063, -95.3839045, 'SUB-00001', 167, 2011, 81.3, 14, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000032', 29.7627878, -95.3905514, 'SUB-00001', 37.5, 2007, 81, 18, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000033', 29.7618893, -95.3905862, 'SUB-00001', 50, 1999, 67.1, 26, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000034', 29.7608281, -95.39043, 'SUB-00001', 25, 1992, 58.9, 33, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000035', 29.7598416, -95.3899279, 'SUB-00001', 15, 1997, 70.5, 28, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000036', 29.759401, -95.390726, 'SUB-00001', 50, 2000, 74.3, 25, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000037', 29.7583255, -95.390747, 'SUB-00001', 50, 2015, 87.3, 10, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000038', 29.7574323, -95.390863, 'SUB-00001', 37.5, 2010, 84.7, 15, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000039', 29.7563545, -95.390916, 'SUB-00001', 37.5, 2010, 75.1, 15, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000040', 29.761184, -95.3835419, 'SUB-00001', 50, 2017, 90, 8, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000041', 29.7601215, -95.3833313, 'SUB-00001', 100, 2012, 90, 13, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000042', 29.7593365, -95.3833665, 'SUB-00001', 37.5, 2014, 74.3, 11, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000043', 29.7587147, -95.3838012, 'SUB-00001', 15, 2012, 77.5, 13, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000044', 29.7576366, -95.3838406, 'SUB-00001', 37.5, 2021, 93.1, 4, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000045', 29.7565597, -95.3838973, 'SUB-00001', 37.5, 2017, 89.1, 8, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000046', 29.7554826, -95.3838873, 'SUB-00001', 15, 2019, 97.8, 6, 'Bayou City', 'CKT-00001-02');
INSERT INTO flux_versions.public__transformers__b23e620a_2 VALUES
	('XFMR-0000001', 29.755968, -95.3977612, 'SUB-00001', 25, 2011, 86.3, 14, 'Bayou City', 'CKT-00001-01'),
	('XFMR-0000002', 29.7570122, -95.3977707, 'SUB-00001', 25, 2012, 93.2, 13, 'Bayou City', 'CKT-00001-01'),
	('XFMR-0000003', 29.7580562, -95.3977924, 'SUB-00001', 25, 2013, 92, 12, 'Bayou City', 'CKT-00001-01'),
	('XFMR-0000004', 29.7590994, -95.3978399, 'SUB-00001', 75, 2006, 76.5, 19, 'Bayou City', 'CKT-00001-01'),
	('XFMR-0000005', 29.75598, -95.397638, 'SUB-00001', 37.5, 2017, 84.2, 8, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000006', 29.7557367, -95.3970357, 'SUB-00001', 15, 2019, 100, 6, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000007', 29.7556539, -95.3958531, 'SUB-00001', 50, 2012, 87.7, 13, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000008', 29.7555977, -95.3946681, 'SUB-00001', 100, 2020, 87.4, 5, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000009', 29.7555508, -95.3934824, 'SUB-00001', 15, 1999, 70.6, 26, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000010', 29.7560324, -95.3930846, 'SUB-00001', 25, 1998, 74.6, 27, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000011', 29.7561423, -95.3920165, 'SUB-00001', 25, 2018, 84.6, 7, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000012', 29.7562474, -95.3909376, 'SUB-00001', 100, 2001, 66.6, 24, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000013', 29.7572449, -95.3909133, 'SUB-00001', 75, 2014, 89, 11, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000014', 29.7582407, -95.3908686, 'SUB-00001', 75, 2001, 64.8, 24, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000015', 29.7590622, -95.3909736, 'SUB-00001', 25, 2013, 92.5, 12, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000016', 29.7562143, -95.3978929, 'SUB-00001', 25, 2018, 87.1, 7, 'Bayou City', 'CKT-00001-03'),
	('XFMR-0000017', 29.7572575, -95.3979043, 'SUB-00001', 50, 2014, 78.2, 11, 'Bayou City', 'CKT-00001-03'),
	('XFMR-0000018', 29.7583002, -95.3979332, 'SUB-00001', 50, 2020, 91.6, 5, 'Bayou City', 'CKT-00001-03'),
	('XFMR-0000019', 29.7591685, -95.3979783, 'SUB-00001', 25, 1994, 64.8, 31, 'Bayou City', 'CKT-00001-03'),
	('XFMR-0000020', 29.7601077, -95.3979288, 'SUB-00001', 15, 2007, 81.6, 18, 'Bayou City', 'CKT-00001-03'),
	('XFMR-0000021', 29.7605161, -95.3973195, 'SUB-00001', 25, 2015, 100, 10, 'Bayou City', 'CKT-00001-03'),
	('XFMR-0000022', 29.7615578, -95.3973869, 'SUB-00001', 300, 2014, 92.5, 11, 'Bayou City', 'CKT-00001-03'),
	('XFMR-0000023', 29.7626002, -95.3974381, 'SUB-00001', 25, 2006, 70, 19, 'Bayou City', 'CKT-00001-03'),
	('XFMR-0000024', 29.7560803, -95.3901622, 'SUB-00001', 50, 2013, 79.1, 12, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000025', 29.7561028, -95.3889599, 'SUB-00001', 37.5, 2006, 87.2, 19, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000026', 29.7561232, -95.3877579, 'SUB-00001', 167, 2012, 76.8, 13, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000027', 29.7561822, -95.3865578, 'SUB-00001', 25, 1992, 61.9, 33, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000028', 29.7551756, -95.3865032, 'SUB-00001', 75, 2007, 86, 18, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000029', 29.7552533, -95.3855812, 'SUB-00001', 50, 1987, 63.4, 38, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000030', 29.7554589, -95.3844019, 'SUB-00001', 50, 2013, 83.6, 12, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000031', 29.7556043, -95.3832111, 'SUB-00001', 25, 2018, 95.9, 7, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000032', 29.7569952, -95.3910616, 'SUB-00001', 167, 2003, 75.8, 22, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000033', 29.7578601, -95.3910257, 'SUB-00001', 25, 1967, 49.9, 58, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000034', 29.7588933, -95.3910723, 'SUB-00001', 167, 2004, 67.7, 21, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000035', 29.7595979, -95.3907798, 'SUB-00001', 50, 1998, 62.7, 27, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000036', 29.7600895, -95.3902188, 'SUB-00001', 25, 2011, 82.4, 14, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000037', 29.7611088, -95.3903971, 'SUB-00001', 25, 2017, 94.1, 8, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000038', 29.7619732, -95.3903566, 'SUB-00001', 15, 2018, 95.7, 7, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000039', 29.7630102, -95.3903191, 'SUB-00001', 25, 2013, 80.3, 12, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000040', 29.756437, -95.3833045, 'SUB-00001', 25, 2002, 82.4, 23, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000041', 29.7574837, -95.3833052, 'SUB-00001', 37.5, 2012, 91, 13, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000042', 29.7583547, -95.3832512, 'SUB-00001', 75, 2018, 97.7, 7, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000043', 29.7593998, -95.3832066, 'SUB-00001', 37.5, 1983, 55.4, 42, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000044', 29.7603345, -95.3831302, 'SUB-00001', 37.5, 1997, 74.2, 28, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000045', 29.7613756, -95.3832506, 'SUB-00001', 15, 2008, 80.6, 17, 'Bayou City', 'CKT-00001-02'),
	('XFMR-0000046', 29.7624163, -95.3833772, 'SUB-00001', 100, 2019, 100, 6, 'Bayou City', 'CKT-00001-02');
INSERT INTO flux_versions.public__vegetation_risk__ce73b4fd_1 VALUES
	('TREE-0000001', 'deciduous', 'American elm', -95.3973619, 29.7560572, 11.2, 4.01, 0.335, 'low', 10.8, 'LINE-000002', 34.5, 0, 3.8, 'Aerial imagery 2023', '0101000020E61000004B4B9B606ED957C0C4E7F3F68CC13D40'),
	('TREE-0000002', 'palm', 'Sabal palm', -95.397627, 29.7576679, 5.4, 0.99, 0.1, 'low', 14.1, 'LINE-000001', 34.5, 0, 40, 'LiDAR survey 2024', '0101000020E61000006C4084B872D957C0A0BA0386F6C13D40'),
	('TREE-0000003', 'evergreen', 'Southern live oak', -95.3976055, 29.7582587, 15.6, 7.37, 0.118, 'low', 17.85, 'LINE-000001', 34.5, 0, 13.3, 'Field inspection', '0101000020E61000006CCD565E72D957C05068FE3D1DC23D40'),
	('TREE-0000004', 'deciduous', 'Water oak', -95.3976471, 29.7584259, 17.7, 4.86, 0.219, 'low', 14.39, 'LINE-000001', 34.5, 0, 7.7, 'Field inspection', '0101000020E61000005A76D20C73D957C07AF0243328C23D40'),
	('TREE-0000005', 'evergreen', 'Loblolly pine', -95.3978881, 29.7587268, 32.5, 4.74, 0.977, 'critical', 5.14, 'LINE-000004', 34.5, 4.1, 0, 'Aerial imagery 2023', '0101000020E6100000ED3DA6FF76D957C0479968EB3BC23D40'),
	('TREE-0000006', 'deciduous', 'Sweetgum', -95.3951256, 29.7556719, 12, 2.98, 0.562, 'medium', 6.96, 'LINE-000002', 34.5, 0.52, 0, 'LiDAR survey 2024', '0101000020E6100000FE73E2BC49D957C09501B1B673C13D40'),
	('TREE-0000007', 'deciduous', 'Crape myrtle', -95.3948517, 29.7557307, 6.5, 2.39, 0.1, 'low', 14.76, 'LINE-000002', 34.5, 0, 22.1, 'Field inspection', '0101000020E61000004891104045D957C04C15319177C13D40'),
	('TREE-0000008', 'evergreen', 'Loblolly pine', -95.3938767, 29.7555012, 21.5, 3.59, 0.771, 'high', 6.39, 'LINE-000002', 34.5, 1.7, 0, 'Aerial imagery 2023', '0101000020E6100000034A9E4635D957C0B916D28668C13D40'),
	('TREE-0000009', 'evergreen', 'Southern live oak', -95.3922989, 29.7561784, 20, 11.23, 0.935, 'critical', 4.61, 'LINE-000002', 34.5, 4.5, 0, 'LiDAR survey 2024', '0101000020E61000006F70D86C1BD957C00DF159E894C13D40'),
	('TREE-0000010', 'deciduous', 'Pecan', -95.3909021, 29.7592917, 11.5, 4.15, 0.327, 'low', 11.1, 'LINE-000003', 34.5, 0, 5.4, 'Field inspection', '0101000020E610000004DC3D8A04D957C0CE9FDBF060C23D40'),
	('TREE-0000011', 'deciduous', 'Water oak', -95.3976229, 29.755935, 14.2, 4.77, 0.784, 'high', 5.72, 'LINE-000002', 34.5, 3.55, 0, 'LiDAR survey 2024', '0101000020E610000001E951A772D957C0DAE6C6F484C13D40'),
	('TREE-0000012', 'deciduous', 'Water oak', -95.3978322, 29.756387, 15.4, 5.27, 0.864, 'critical', 5.09, 'LINE-000004', 34.5, 4.5, 0, 'Aerial imagery 2023', '0101000020E6100000ED12301576D957C09B1E1494A2C13D40'),
	('TREE-0000013', 'evergreen', 'Southern live oak', -95.3976639, 29.7568033, 13.9, 5.84, 0.594, 'medium', 9.19, 'LINE-000001', 34.5, 1.15, 0, 'LiDAR survey 2024', '0101000020E61000003053495373D957C040016FDCBDC13D40'),
	('TREE-0000014', 'evergreen', 'Southern magnolia', -95.3977022, 29.7571396, 15.9, 5.35, 0.831, 'critical', 5.87, 'LINE-000001', 34.5, 3.98, 0, 'LiDAR survey 2024', '0101000020E610000006A3EDF373D957C0AB819CE6D3C13D40'),
	('TREE-0000015', 'deciduous', 'Water oak', -95.3977101, 29.7585666, 21.1, 6.17, 0.743, 'high', 8.78, 'LINE-000001', 34.5, 1.89, 0, 'Aerial imagery 2023', '0101000020E61000007D32101574D957C082D6B26B31C23D40'),
	('TREE-0000016', 'evergreen', 'Southern live oak', -95.3979097, 29.7599207, 8.3, 3.97, 0.58, 'medium', 4.76, 'LINE-000001', 34.5, 1.2, 0, 'Field inspection', '0101000020E6100000B7103F5A77D957C0AD0DBA298AC23D40'),
	('TREE-0000017', 'evergreen', 'Southern live oak', -95.3970713, 29.7616337, 11.9, 5, 0.1, 'low', 30, 'LINE-000004', 34.5, 0, 40, 'LiDAR survey 2024', '0101000020E610000088EBBD9D69D957C00F08196DFAC23D40'),
	('TREE-0000018', 'deciduous', 'Water oak', -95.3839618, 29.755588, 30.9, 8.58, 1, 'critical', 7.66, 'LINE-000005', 34.5, 4.5, 0, 'LiDAR survey 2024', '0101000020E6100000737A83D492D857C0034015376EC13D40'),
	('TREE-0000019', 'evergreen', 'Southern live oak', -95.3911323, 29.7571005, 25.5, 9.97, 0.963, 'critical', 8.13, 'LINE-000006', 34.5, 4.5, 0, 'LiDAR survey 2024', '0101000020E6100000313AC54F08D957C006499F56D1C13D40'),
	('TREE-0000020', 'deciduous', 'Water oak', -95.3909278, 29.7575931, 17, 5.42, 0.902, 'critical', 4, 'LINE-000003', 34.5, 4.5, 0, 'Field inspection', '0101000020E6100000390609F604D957C0DE2C149FF1C13D40'),
	('TREE-0000021', 'deciduous', 'Crape myrtle', -95.3908603, 29.7581983, 4.2, 1.29, 0.357, 'medium', 0.23, 'LINE-000003', 34.5, 0, 7, 'Aerial imagery 2023', '0101000020E61000008173EBDA03D957C0FF61A64819C23D40'),
	('TREE-0000022', 'evergreen', 'Southern live oak', -95.390891, 29.7583846, 11.4, 5.75, 0.838, 'critical', 2.59, 'LINE-000003', 34.5, 4.4, 0, 'Field inspection', '0101000020E61000003F53AF5B04D957C040CA3E7E25C23D40'),
	('TREE-0000023', 'palm', 'Sabal palm', -95.3903334, 29.7595396, 4.4, 0.89, 0.1, 'low', 13.34, 'LINE-000006', 34.5, 0, 40, 'Aerial imagery 2023', '0101000020E610000056E2F038FBD857C05504EE2F71C23D40'),
	('TREE-0000024', 'evergreen', 'Southern live oak', -95.3830157, 29.7589604, 9.9, 5.27, 0.1, 'low', 18.19, 'LINE-000007', 34.5, 0, 18.9, 'Aerial imagery 2023', '0101000020E6100000B156485483D857C086F5903A4BC23D40'),
	('TREE-0000025', 'deciduous', 'Water oak', -95.3832408, 29.7625942, 13.1, 4.11, 0.138, 'low', 14.25, 'LINE-000007', 34.5, 0, 8.7, 'Aerial imagery 2023', '0101000020E61000008B9F6B0487D857C0891E9D5F39C33D40');
INSERT INTO postgres_sync.layer_leases VALUES
	('public', 'substations', 2),
	('public', 'customers_spatial', 1),
	('public', 'meter_locations_enhanced', 1),
	('public', 'vegetation_risk', 1),
	('public', 'transformers', 3);
INSERT INTO postgres_sync.layer_versions VALUES
	('public', 'transformers', 2, 'b23e620a59825d14b7e9d16b4bd51442bb649abd2fd22d2a788dc7f72b09a8f8', '716ac1d901320cdecb3bf14d949e59a6abf4602ce07c8e7b3c72d13267d8c64c', 'b', 'public__transformers__b23e620a_2', 'published', false, 46, 40960, NULL, '[{"sql": "", "name": "columns", "passed": true, "sample": [], "numbers": {"wrong": 0, "columns": 10}, "severity": "ERROR", "description": "The table has the declared columns with the declared types."}, {"sql": "", "name": "row_count", "passed": true, "sample": [], "numbers": {"rows": 46, "promised_rows": 46, "published_rows": 46}, "severity": "ERROR", "description": "There are rows, as many as promised, and not less than half of what was published before."}, {"sql": "", "name": "not_null", "passed": true, "sample": [], "numbers": {"columns": "transformer_id", "null_rows": 0}, "severity": "ERROR", "description": "Keys and required columns hold a value in every row."}, {"sql": "", "name": "unique", "passed": true, "sample": [], "numbers": {"doubled_values": 0}, "severity": "ERROR", "description": "No two rows share a key or another unique value."}, {"sql": "", "name": "within", "passed": true, "sample": [], "numbers": {"judged": "all 46 rows, while decoding", "offending_rows": 0}, "severity": "ERROR", "description": "Coordinates are finite degrees: longitude ±180, latitude ±90 (EPSG:4326)."}, {"sql": "", "name": "main_extent", "passed": true, "sample": [], "numbers": {"judged": "all 46 rows", "main_extent": "-95.4479 29.7055 -95.3332 29.8124", "offending_rows": 0}, "severity": "WARN", "description": "Rows lie in or near the extent that holds the middle 90 % of them."}, {"sql": "", "name": "relationships", "passed": true, "sample": [], "numbers": {"judged": "all 46 rows", "offending_rows": 0}, "severity": "WARN", "description": "Identifiers point at rows that exist in the published tables."}, {"sql": "", "name": "accepted_range", "passed": true, "sample": [], "numbers": {"judged": "all 46 rows", "offending_rows": 0}, "severity": "WARN", "description": "Measures lie within their declared range."}, {"sql": "", "name": "volume", "passed": true, "sample": [], "numbers": {"rows": 46, "maximum": 500000, "minimum": 20}, "severity": "WARN", "description": "There are as many rows as are plausible, by the declared bounds."}]', '2026-12-01 03:41:07.734008+00', '2026-12-01 03:41:07.829189+00', '5f9d0d74-8441-4386-835f-b82f7ec23c40'),
	('public', 'substations', 2, '5b075631e411d66ec7c3f390834a2f30788819161c0d9e4d6498f550b58511c8', '19474d63a26ce27f4451019dfb02927ae55e5791b2f4f1ffbb67605174956fa6', 'b', 'public__substations__5b075631_2', 'published', true, 1, 49152, '{-95.3974114,29.7561473,-95.3974114,29.7561473}', '[{"sql": "", "name": "columns", "passed": true, "sample": [], "numbers": {"wrong": 0, "columns": 9}, "severity": "ERROR", "description": "The table has the declared columns with the declared types."}, {"sql": "", "name": "row_count", "passed": true, "sample": [], "numbers": {"rows": 1, "promised_rows": 1, "published_rows": 1}, "severity": "ERROR", "description": "There are rows, as many as promised, and not less than half of what was published before."}, {"sql": "", "name": "not_null", "passed": true, "sample": [], "numbers": {"columns": "substation_id", "null_rows": 0}, "severity": "ERROR", "description": "Keys and required columns hold a value in every row."}, {"sql": "", "name": "unique", "passed": true, "sample": [], "numbers": {"doubled_values": 0}, "severity": "ERROR", "description": "No two rows share a key or another unique value."}, {"sql": "", "name": "geometry_type", "passed": true, "sample": [], "numbers": {"columns": "geom geography(point,4326)", "offending_rows": 0}, "severity": "ERROR", "description": "Geometries have the declared type and SRID 4326."}, {"sql": "", "name": "within", "passed": true, "sample": [], "numbers": {"judged": "all 1 rows, while decoding", "offending_rows": 0}, "severity": "ERROR", "description": "Coordinates are finite degrees: longitude ±180, latitude ±90 (EPSG:4326)."}, {"sql": "", "name": "valid_geometry", "passed": true, "sample": [], "numbers": {"judged": "all 1 rows: a point is valid wherever it lies, and `within` judges its coordinates", "offending_rows": 0}, "severity": "WARN", "description": "Geometries are valid (OGC simple features)."}, {"sql": "", "name": "geometry_present", "passed": true, "sample": [], "numbers": {"judged": "all 1 rows, while decoding", "offending_rows": 0}, "severity": "WARN", "description": "Every row has a geometry that is not empty."}, {"sql": "", "name": "same_position", "passed": true, "sample": [], "numbers": {"judged": "all 1 rows", "offending_rows": 0}, "severity": "WARN", "description": "Latitude and longitude columns agree with the point."}, {"sql": "", "name": "main_extent", "passed": true, "sample": [], "numbers": {"judged": "too few rows to have a main extent", "offending_rows": 0}, "severity": "WARN", "description": "Rows lie in or near the extent that holds the middle 90 % of them."}, {"sql": "", "name": "accepted_values", "passed": true, "sample": [], "numbers": {"judged": "all 1 rows", "offending_rows": 0}, "severity": "WARN", "description": "States, kinds and classes hold one of the declared values."}, {"sql": "", "name": "volume", "passed": true, "sample": [], "numbers": {"rows": 1, "maximum": 2000, "minimum": 1}, "severity": "WARN", "description": "There are as many rows as are plausible, by the declared bounds."}]', '2026-12-01 03:41:07.74826+00', '2026-12-01 03:41:07.890813+00', '5f9d0d74-8441-4386-835f-b82f7ec23c40'),
	('public', 'transformers', 1, '5bf1e5dc70bc43e8ace9a9a1ecdf0749f047d19d1de36f04728993e23fcf6523', '230a85a8914074195685c77298519cf58c8c868759678d4d2f5e9e1818984a3e', 'a', 'public__transformers__5bf1e5dc_1', 'published', true, 46, 40960, NULL, '[{"sql": "", "name": "columns", "passed": true, "sample": [], "numbers": {"wrong": 0, "columns": 10}, "severity": "ERROR", "description": "The table has the declared columns with the declared types."}, {"sql": "", "name": "row_count", "passed": true, "sample": [], "numbers": {"rows": 46, "promised_rows": 46}, "severity": "ERROR", "description": "There are rows, as many as promised, and not less than half of what was published before."}, {"sql": "", "name": "not_null", "passed": true, "sample": [], "numbers": {"columns": "transformer_id", "null_rows": 0}, "severity": "ERROR", "description": "Keys and required columns hold a value in every row."}, {"sql": "", "name": "unique", "passed": true, "sample": [], "numbers": {"doubled_values": 0}, "severity": "ERROR", "description": "No two rows share a key or another unique value."}, {"sql": "", "name": "within", "passed": true, "sample": [], "numbers": {"judged": "all 46 rows, while decoding", "offending_rows": 0}, "severity": "ERROR", "description": "Coordinates are finite degrees: longitude ±180, latitude ±90 (EPSG:4326)."}, {"sql": "", "name": "main_extent", "passed": true, "sample": [], "numbers": {"judged": "all 46 rows", "main_extent": "-95.4477 29.7064 -95.3335 29.8146", "offending_rows": 0}, "severity": "WARN", "description": "Rows lie in or near the extent that holds the middle 90 % of them."}, {"sql": "", "name": "relationships", "passed": true, "sample": [], "numbers": {"not_published": "substations", "offending_rows": 0}, "severity": "WARN", "description": "Identifiers point at rows that exist in the published tables."}, {"sql": "", "name": "accepted_range", "passed": true, "sample": [], "numbers": {"judged": "all 46 rows", "offending_rows": 0}, "severity": "WARN", "description": "Measures lie within their declared range."}, {"sql": "", "name": "volume", "passed": true, "sample": [], "numbers": {"rows": 46, "maximum": 500000, "minimum": 20}, "severity": "WARN", "description": "There are as many rows as are plausible, by the declared bounds."}]', '2026-12-01 03:41:04.099729+00', '2026-12-01 03:41:57.507527+00', '4523096d-edca-4e76-a460-12800cd4f813'),
	('public', 'substations', 1, 'bbcddca14e1aaf4288f31763928bd27ade6ad5e321b92e5e9b14376eed8a8dd9', 'a7fb62facc822b474a0e8fc5adafa4c0d39d79f11124926b209323dbe124d2cc', 'a', 'public__substations__bbcddca1_1', 'published', false, 1, 49152, '{-95.3972828,29.7638107,-95.3972828,29.7638107}', '[{"sql": "", "name": "columns", "passed": true, "sample": [], "numbers": {"wrong": 0, "columns": 9}, "severity": "ERROR", "description": "The table has the declared columns with the declared types."}, {"sql": "", "name": "row_count", "passed": true, "sample": [], "numbers": {"rows": 1, "promised_rows": 1}, "severity": "ERROR", "description": "There are rows, as many as promised, and not less than half of what was published before."}, {"sql": "", "name": "not_null", "passed": true, "sample": [], "numbers": {"columns": "substation_id", "null_rows": 0}, "severity": "ERROR", "description": "Keys and required columns hold a value in every row."}, {"sql": "", "name": "unique", "passed": true, "sample": [], "numbers": {"doubled_values": 0}, "severity": "ERROR", "description": "No two rows share a key or another unique value."}, {"sql": "", "name": "geometry_type", "passed": true, "sample": [], "numbers": {"columns": "geom geography(point,4326)", "offending_rows": 0}, "severity": "ERROR", "description": "Geometries have the declared type and SRID 4326."}, {"sql": "", "name": "within", "passed": true, "sample": [], "numbers": {"judged": "all 1 rows, while decoding", "offending_rows": 0}, "severity": "ERROR", "description": "Coordinates are finite degrees: longitude ±180, latitude ±90 (EPSG:4326)."}, {"sql": "", "name": "valid_geometry", "passed": true, "sample": [], "numbers": {"judged": "all 1 rows: a point is valid wherever it lies, and `within` judges its coordinates", "offending_rows": 0}, "severity": "WARN", "description": "Geometries are valid (OGC simple features)."}, {"sql": "", "name": "geometry_present", "passed": true, "sample": [], "numbers": {"judged": "all 1 rows, while decoding", "offending_rows": 0}, "severity": "WARN", "description": "Every row has a geometry that is not empty."}, {"sql": "", "name": "same_position", "passed": true, "sample": [], "numbers": {"judged": "all 1 rows", "offending_rows": 0}, "severity": "WARN", "description": "Latitude and longitude columns agree with the point."}, {"sql": "", "name": "main_extent", "passed": true, "sample": [], "numbers": {"judged": "too few rows to have a main extent", "offending_rows": 0}, "severity": "WARN", "description": "Rows lie in or near the extent that holds the middle 90 % of them."}, {"sql": "", "name": "accepted_values", "passed": true, "sample": [], "numbers": {"judged": "all 1 rows", "offending_rows": 0}, "severity": "WARN", "description": "States, kinds and classes hold one of the declared values."}, {"sql": "", "name": "volume", "passed": true, "sample": [], "numbers": {"rows": 1, "maximum": 2000, "minimum": 1}, "severity": "WARN", "description": "There are as many rows as are plausible, by the declared bounds."}]', '2026-12-01 03:41:04.103707+00', '2026-12-01 03:41:04.510947+00', '4523096d-edca-4e76-a460-12800cd4f813'),
	('public', 'meter_locations_enhanced', 1, 'c48deda1639220281063bcaceb2ab5bddf416f35194990b8e7613a75f9409692', '49695a1597c4a849f901a11b659ddfcd8dc79f976fb9a0d1d95246cdb188aef1', 'b', 'public__meter_locations_enhanced__c48deda1_1', 'published', true, 50, 81920, '{-95.3980608,29.755145,-95.3829515,29.7628678}', '[{"sql": "", "name": "columns", "passed": true, "sample": [], "numbers": {"wrong": 0, "columns": 9}, "severity": "ERROR", "description": "The table has the declared columns with the declared types."}, {"sql": "", "name": "row_count", "passed": true, "sample": [], "numbers": {"rows": 50, "promised_rows": 50}, "severity": "ERROR", "description": "There are rows, as many as promised, and not less than half of what was published before."}, {"sql": "", "name": "not_null", "passed": true, "sample": [], "numbers": {"columns": "meter_id", "null_rows": 0}, "severity": "ERROR", "description": "Keys and required columns hold a value in every row."}, {"sql": "", "name": "unique", "passed": true, "sample": [], "numbers": {"doubled_values": 0}, "severity": "ERROR", "description": "No two rows share a key or another unique value."}, {"sql": "", "name": "geometry_type", "passed": true, "sample": [], "numbers": {"columns": "geom geometry(point,4326)", "offending_rows": 0}, "severity": "ERROR", "description": "Geometries have the declared type and SRID 4326."}, {"sql": "", "name": "within", "passed": true, "sample": [], "numbers": {"judged": "all 50 rows, while decoding", "offending_rows": 0}, "severity": "ERROR", "description": "Coordinates are finite degrees: longitude ±180, latitude ±90 (EPSG:4326)."}, {"sql": "", "name": "valid_geometry", "passed": true, "sample": [], "numbers": {"judged": "all 50 rows: a point is valid wherever it lies, and `within` judges its coordinates", "offending_rows": 0}, "severity": "WARN", "description": "Geometries are valid (OGC simple features)."}, {"sql": "", "name": "geometry_present", "passed": true, "sample": [], "numbers": {"judged": "all 50 rows, while decoding", "offending_rows": 0}, "severity": "WARN", "description": "Every row has a geometry that is not empty."}, {"sql": "", "name": "same_position", "passed": true, "sample": [], "numbers": {"judged": "all 50 rows", "offending_rows": 0}, "severity": "WARN", "description": "Latitude and longitude columns agree with the point."}, {"sql": "", "name": "main_extent", "passed": true, "sample": [], "numbers": {"judged": "all 50 rows", "main_extent": "-95.4478 29.7053 -95.3330 29.8127", "offending_rows": 0}, "severity": "WARN", "description": "Rows lie in or near the extent that holds the middle 90 % of them."}, {"sql": "", "name": "relationships", "passed": true, "sample": [], "numbers": {"judged": "all 50 rows", "offending_rows": 0}, "severity": "WARN", "description": "Identifiers point at rows that exist in the published tables."}, {"sql": "", "name": "volume", "passed": true, "sample": [], "numbers": {"rows": 50, "maximum": 1000000, "minimum": 20}, "severity": "WARN", "description": "There are as many rows as are plausible, by the declared bounds."}]', '2026-12-01 03:41:29.197155+00', '2026-12-01 03:41:29.361912+00', 'e2336f24-1f58-4af5-a344-3b7a84d034f4'),
	('public', 'customers_spatial', 1, '4f4b7a9219cdec281d0357ea302ac30c1982f4a72bdaa5555c2a5c96f9c8aa56', '435ce31e662618e017a5c60ad5492469085977b3a3426e45ff638c9ecf541eea', 'b', 'public__customers_spatial__4f4b7a92_1', 'published', true, 50, 90112, '{-95.3980608,29.755145,-95.3829515,29.7628678}', '[{"sql": "", "name": "columns", "passed": true, "sample": [], "numbers": {"wrong": 0, "columns": 11}, "severity": "ERROR", "description": "The table has the declared columns with the declared types."}, {"sql": "", "name": "row_count", "passed": true, "sample": [], "numbers": {"rows": 50, "promised_rows": 50}, "severity": "ERROR", "description": "There are rows, as many as promised, and not less than half of what was published before."}, {"sql": "", "name": "not_null", "passed": true, "sample": [], "numbers": {"columns": "customer_id", "null_rows": 0}, "severity": "ERROR", "description": "Keys and required columns hold a value in every row."}, {"sql": "", "name": "unique", "passed": true, "sample": [], "numbers": {"doubled_values": 0}, "severity": "ERROR", "description": "No two rows share a key or another unique value."}, {"sql": "", "name": "geometry_type", "passed": true, "sample": [], "numbers": {"columns": "geom geometry(point,4326)", "offending_rows": 0}, "severity": "ERROR", "description": "Geometries have the declared type and SRID 4326."}, {"sql": "", "name": "within", "passed": true, "sample": [], "numbers": {"judged": "all 50 rows, while decoding", "offending_rows": 0}, "severity": "ERROR", "description": "Coordinates are finite degrees: longitude ±180, latitude ±90 (EPSG:4326)."}, {"sql": "", "name": "valid_geometry", "passed": true, "sample": [], "numbers": {"judged": "all 50 rows: a point is valid wherever it lies, and `within` judges its coordinates", "offending_rows": 0}, "severity": "WARN", "description": "Geometries are valid (OGC simple features)."}, {"sql": "", "name": "geometry_present", "passed": true, "sample": [], "numbers": {"judged": "all 50 rows, while decoding", "offending_rows": 0}, "severity": "WARN", "description": "Every row has a geometry that is not empty."}, {"sql": "", "name": "same_position", "passed": true, "sample": [], "numbers": {"judged": "all 50 rows", "offending_rows": 0}, "severity": "WARN", "description": "Latitude and longitude columns agree with the point."}, {"sql": "", "name": "main_extent", "passed": true, "sample": [], "numbers": {"judged": "all 50 rows", "main_extent": "-95.4478 29.7053 -95.3330 29.8127", "offending_rows": 0}, "severity": "WARN", "description": "Rows lie in or near the extent that holds the middle 90 % of them."}, {"sql": "", "name": "relationships", "passed": true, "sample": [], "numbers": {"judged": "all 50 rows", "not_published": "meter_locations_enhanced", "offending_rows": 0}, "severity": "WARN", "description": "Identifiers point at rows that exist in the published tables."}, {"sql": "", "name": "accepted_values", "passed": true, "sample": [], "numbers": {"judged": "all 50 rows", "offending_rows": 0}, "severity": "WARN", "description": "States, kinds and classes hold one of the declared values."}, {"sql": "", "name": "volume", "passed": true, "sample": [], "numbers": {"rows": 50, "maximum": 1000000, "minimum": 20}, "severity": "WARN", "description": "There are as many rows as are plausible, by the declared bounds."}]', '2026-12-01 03:41:29.179404+00', '2026-12-01 03:41:29.339144+00', 'e2336f24-1f58-4af5-a344-3b7a84d034f4'),
	('public', 'vegetation_risk', 1, 'ce73b4fd5a97947260cb8b3c091de5c07f3c86cb8fdfea8ca9e168b211ee6a1f', '73a2a07ac9f024c3e5a51a4d05f0627053f5c9a87b4698407b5156067d29885f', 'b', 'public__vegetation_risk__ce73b4fd_1', 'published', true, 25, 65536, '{-95.3979097,29.7555012,-95.3830157,29.7625942}', '[{"sql": "", "name": "columns", "passed": true, "sample": [], "numbers": {"wrong": 0, "columns": 16}, "severity": "ERROR", "description": "The table has the declared columns with the declared types."}, {"sql": "", "name": "row_count", "passed": true, "sample": [], "numbers": {"rows": 25, "promised_rows": 25}, "severity": "ERROR", "description": "There are rows, as many as promised, and not less than half of what was published before."}, {"sql": "", "name": "not_null", "passed": true, "sample": [], "numbers": {"columns": "tree_id", "null_rows": 0}, "severity": "ERROR", "description": "Keys and required columns hold a value in every row."}, {"sql": "", "name": "unique", "passed": true, "sample": [], "numbers": {"doubled_values": 0}, "severity": "ERROR", "description": "No two rows share a key or another unique value."}, {"sql": "", "name": "geometry_type", "passed": true, "sample": [], "numbers": {"columns": "geom geometry(point,4326)", "offending_rows": 0}, "severity": "ERROR", "description": "Geometries have the declared type and SRID 4326."}, {"sql": "", "name": "within", "passed": true, "sample": [], "numbers": {"judged": "all 25 rows, while decoding", "offending_rows": 0}, "severity": "ERROR", "description": "Coordinates are finite degrees: longitude ±180, latitude ±90 (EPSG:4326)."}, {"sql": "", "name": "valid_geometry", "passed": true, "sample": [], "numbers": {"judged": "all 25 rows: a point is valid wherever it lies, and `within` judges its coordinates", "offending_rows": 0}, "severity": "WARN", "description": "Geometries are valid (OGC simple features)."}, {"sql": "", "name": "geometry_present", "passed": true, "sample": [], "numbers": {"judged": "all 25 rows, while decoding", "offending_rows": 0}, "severity": "WARN", "description": "Every row has a geometry that is not empty."}, {"sql": "", "name": "same_position", "passed": true, "sample": [], "numbers": {"judged": "all 25 rows", "offending_rows": 0}, "severity": "WARN", "description": "Latitude and longitude columns agree with the point."}, {"sql": "", "name": "main_extent", "passed": true, "sample": [], "numbers": {"judged": "too few rows to have a main extent", "offending_rows": 0}, "severity": "WARN", "description": "Rows lie in or near the extent that holds the middle 90 % of them."}, {"sql": "", "name": "relationships", "passed": true, "sample": [], "numbers": {"not_published": "grid_power_lines", "offending_rows": 0}, "severity": "WARN", "description": "Identifiers point at rows that exist in the published tables."}, {"sql": "", "name": "accepted_values", "passed": true, "sample": [], "numbers": {"judged": "all 25 rows", "offending_rows": 0}, "severity": "WARN", "description": "States, kinds and classes hold one of the declared values."}, {"sql": "", "name": "accepted_range", "passed": true, "sample": [], "numbers": {"judged": "all 25 rows", "offending_rows": 0}, "severity": "WARN", "description": "Measures lie within their declared range."}, {"sql": "", "name": "volume", "passed": true, "sample": [], "numbers": {"rows": 25, "maximum": 500000, "minimum": 20}, "severity": "WARN", "description": "There are as many rows as are plausible, by the declared bounds."}]', '2026-12-01 03:41:30.918283+00', '2026-12-01 03:41:31.053193+00', 'e2336f24-1f58-4af5-a344-3b7a84d034f4');
INSERT INTO postgres_sync.sync_state VALUES
	('public', 'circuit_status_realtime', 'cf423e9f617d917dffa10aa2850b14f2e507a91b2e995aa2d7903720fecd2936', NULL, 'c32934633e1ccb044cc3887b9fffe566', '{"substations": "5b075631e411d66ec7c3f390834a2f30788819161c0d9e4d6498f550b58511c8 badf18c97fffd868476a916d0d5f34e3", "grid_assets_cache": null, "meter_locations_enhanced": "c48deda1639220281063bcaceb2ab5bddf416f35194990b8e7613a75f9409692 8a3ab0f9eb48ca594b36f86755c5a012"}', '3:18506115704438227089', '1cc434d9a91c1bf43e067b5122a650f3 b2d68854bf0b52dfc0a3fb8fc132afaac2156b8a803070657a92c1de0a414ce2', 3, '2026-12-01 03:41:42.76924+00', '2026-12-01 03:41:42.76924+00', '2026-12-01 03:41:42.920184+00', '0b7bcd468dd56a3f883cf9295f1678bce73296eb0502ffb597979bc75c3d1c65'),
	('public', 'work_orders', '553582935c425e2106af4efc026bd2bfbdc0490cb410d0bca20d36c31d286984', NULL, '83e2a40dba7f54fe5b6f5647b139631f', '{}', '35:76705741702136932191', 'c1bbbdf4648063d571208020e34c727f ba4c72df81f1d511093a76c0dd175a41d52441dc93af475f167bbad39a9e7564', 35, '2026-12-01 03:41:42.76924+00', '2026-12-01 03:41:42.76924+00', '2026-12-01 03:41:42.920642+00', '0d60c2ce3aa76f9ad75822d7e11b16a38c7016e44348de66dfdec098dad2b94f'),
	('public', 'outage_restoration_tracker', '1d818f94b385b482d9d572eb6502bef4debb4cab38d4b07d37c0730cf3f088b4', NULL, '2bf960af285c25c26a3d07f044344307', '{}', '17:-4713027282625142493', 'fb9390d125251ebd3665d019ae44ea74 45badc8c022ddeb219372b4885f6278d67f8c807611ade42f650e27b41ec50f9', 17, '2026-12-01 03:41:54.698913+00', '2026-12-01 03:41:54.698913+00', '2026-12-01 03:41:54.794464+00', '56137612342f5a8de7e840eb76b584a9e3c27b527729494b6ebd4d1244f050f4');
INSERT INTO postgres_sync.sync_status OVERRIDING SYSTEM VALUE VALUES
	(1, 'transformers', 'FULL', '2026-12-01 03:41:04.089535+00', '2026-12-01 03:41:04.499998+00', 46, 'SUCCESS', NULL, 0.410, 'public', '5bf1e5dc70bc43e8ace9a9a1ecdf0749f047d19d1de36f04728993e23fcf6523', '4523096d-edca-4e76-a460-12800cd4f813', 6899, '2026-12-01 03:41:04.034594+00', NULL, NULL, NULL, NULL, NULL),
	(2, 'substations', 'FULL', '2026-12-01 03:41:04.093125+00', '2026-12-01 03:41:04.511564+00', 1, 'SUCCESS', NULL, 0.418, 'public', 'bbcddca14e1aaf4288f31763928bd27ade6ad5e321b92e5e9b14376eed8a8dd9', '4523096d-edca-4e76-a460-12800cd4f813', 6900, '2026-12-01 03:41:04.034751+00', NULL, NULL, NULL, NULL, NULL),
	(3, 'transformers', 'FULL', '2026-12-01 03:41:07.709299+00', '2026-12-01 03:41:07.829403+00', 46, 'SUCCESS', NULL, 0.120, 'public', 'b23e620a59825d14b7e9d16b4bd51442bb649abd2fd22d2a788dc7f72b09a8f8', '5f9d0d74-8441-4386-835f-b82f7ec23c40', 6949, '2026-12-01 03:41:07.698092+00', NULL, NULL, NULL, NULL, NULL),
	(4, 'substations', 'FULL', '2026-12-01 03:41:07.711398+00', '2026-12-01 03:41:07.891037+00', 1, 'SUCCESS', NULL, 0.180, 'public', '5b075631e411d66ec7c3f390834a2f30788819161c0d9e4d6498f550b58511c8', '5f9d0d74-8441-4386-835f-b82f7ec23c40', 6948, '2026-12-01 03:41:07.697181+00', NULL, NULL, NULL, NULL, NULL),
	(6, 'customers_spatial', 'FULL', '2026-12-01 03:41:29.169918+00', '2026-12-01 03:41:29.340479+00', 50, 'SUCCESS', NULL, 0.171, 'public', '4f4b7a9219cdec281d0357ea302ac30c1982f4a72bdaa5555c2a5c96f9c8aa56', 'e2336f24-1f58-4af5-a344-3b7a84d034f4', 7072, '2026-12-01 03:41:29.151907+00', NULL, NULL, NULL, NULL, NULL),
	(5, 'meter_locations_enhanced', 'FULL', '2026-12-01 03:41:29.166955+00', '2026-12-01 03:41:29.362306+00', 50, 'SUCCESS', NULL, 0.195, 'public', 'c48deda1639220281063bcaceb2ab5bddf416f35194990b8e7613a75f9409692', 'e2336f24-1f58-4af5-a344-3b7a84d034f4', 7073, '2026-12-01 03:41:29.14615+00', NULL, NULL, NULL, NULL, NULL),
	(7, 'vegetation_risk', 'FULL', '2026-12-01 03:41:30.908002+00', '2026-12-01 03:41:31.053421+00', 25, 'SUCCESS', NULL, 0.145, 'public', 'ce73b4fd5a97947260cb8b3c091de5c07f3c86cb8fdfea8ca9e168b211ee6a1f', 'e2336f24-1f58-4af5-a344-3b7a84d034f4', 7097, '2026-12-01 03:41:30.893845+00', NULL, NULL, NULL, NULL, NULL),
	(8, 'circuit_status_realtime', 'DELTA', '2026-12-01 03:41:35.024969+00', '2026-12-01 03:41:42.920893+00', 3, 'SUCCESS', NULL, 7.896, 'public', NULL, '582f2b65-6f0f-4cfe-8d40-36e52407664e', 7131, '2026-12-01 03:41:34.857816+00', 3, 0, 0, '2026-12-01 03:41:42.76924+00', '2026-12-01 03:41:42.76924+00'),
	(9, 'outage_restoration_tracker', 'DELTA', '2026-12-01 03:41:35.025023+00', '2026-12-01 03:41:42.921006+00', 17, 'SUCCESS', NULL, 7.896, 'public', NULL, '582f2b65-6f0f-4cfe-8d40-36e52407664e', 7131, '2026-12-01 03:41:34.857816+00', 17, 0, 0, '2026-12-01 03:41:42.76924+00', '2026-12-01 03:41:42.76924+00'),
	(10, 'work_orders', 'DELTA', '2026-12-01 03:41:35.025029+00', '2026-12-01 03:41:42.921074+00', 35, 'SUCCESS', NULL, 7.896, 'public', NULL, '582f2b65-6f0f-4cfe-8d40-36e52407664e', 7131, '2026-12-01 03:41:34.857816+00', 35, 0, 0, '2026-12-01 03:41:42.76924+00', '2026-12-01 03:41:42.76924+00'),
	(11, 'circuit_status_realtime', 'UNCHANGED', '2026-12-01 03:41:50.214249+00', '2026-12-01 03:41:54.79471+00', 0, 'SUCCESS', NULL, 4.580, 'public', NULL, '9836c718-a5ae-4f7c-8e98-9de8b4641f81', 7302, '2026-12-01 03:41:50.186452+00', 0, 0, 0, '2026-12-01 03:41:54.698913+00', '2026-12-01 03:41:42.76924+00'),
	(12, 'outage_restoration_tracker', 'DELTA', '2026-12-01 03:41:50.214303+00', '2026-12-01 03:41:54.794809+00', 1, 'SUCCESS', NULL, 4.581, 'public', NULL, '9836c718-a5ae-4f7c-8e98-9de8b4641f81', 7302, '2026-12-01 03:41:50.186452+00', 0, 1, 0, '2026-12-01 03:41:54.698913+00', '2026-12-01 03:41:54.698913+00'),
	(13, 'work_orders', 'UNCHANGED', '2026-12-01 03:41:50.214308+00', '2026-12-01 03:41:54.794873+00', 0, 'SUCCESS', NULL, 4.581, 'public', NULL, '9836c718-a5ae-4f7c-8e98-9de8b4641f81', 7302, '2026-12-01 03:41:50.186452+00', 0, 0, 0, '2026-12-01 03:41:54.698913+00', '2026-12-01 03:41:42.76924+00'),
	(14, 'transformers', 'ROLLBACK', '2026-12-01 03:41:57.469909+00', '2026-12-01 03:41:57.507897+00', 46, 'SUCCESS', NULL, 0.038, 'public', '5bf1e5dc70bc43e8ace9a9a1ecdf0749f047d19d1de36f04728993e23fcf6523', NULL, 7340, '2026-12-01 03:41:57.45871+00', NULL, NULL, NULL, NULL, NULL);
INSERT INTO postgres_sync.tables VALUES
	('public', 'building_footprints', 'static', 1, NULL, NULL),
	('public', 'circuit_status_realtime', 'dynamic', 11, '00:16:00', '30 days'),
	('public', 'customers_spatial', 'static', 2, NULL, NULL),
	('public', 'grid_assets_cache', 'static', 3, NULL, NULL),
	('public', 'grid_power_lines', 'static', 4, NULL, NULL),
	('public', 'meter_locations_enhanced', 'static', 5, NULL, NULL),
	('public', 'osm_water', 'static', 6, NULL, NULL),
	('public', 'outage_restoration_tracker', 'dynamic', 12, '00:16:00', '1 day'),
	('public', 'substations', 'static', 7, NULL, NULL),
	('public', 'topology_connections_cache', 'static', 8, NULL, NULL),
	('public', 'transformers', 'static', 9, NULL, NULL),
	('public', 'vegetation_risk', 'static', 10, NULL, NULL),
	('public', 'work_orders', 'dynamic', 13, '00:16:00', '1 day');
INSERT INTO public.circuit_status_realtime VALUES
	('CKT-00001-01', 'O''Connor CKT-00001-01', 'SUB-00001', '34.5kV', 'ENERGIZED', NULL, 2, 0, '2026-12-01 03:41:42.890821', 'O''Connor Substation', NULL, NULL, NULL, NULL),
	('CKT-00001-02', 'O''Connor CKT-00001-02', 'SUB-00001', '34.5kV', 'ENERGIZED', NULL, 41, 0, '2026-12-01 03:41:42.890821', 'O''Connor Substation', NULL, NULL, NULL, NULL),
	('CKT-00001-03', 'O''Connor CKT-00001-03', 'SUB-00001', '34.5kV', 'ENERGIZED', NULL, 7, 1, '2026-12-01 03:41:42.890821', 'O''Connor Substation', NULL, NULL, NULL, NULL);
INSERT INTO public.outage_restoration_tracker VALUES
	('OUT-0000004', 'CKT-00001-02', 'SUB-00001', 'UNPLANNED', 'VEGETATION', '2026-11-24 22:42:52', '2026-11-24 23:30:00', '2026-11-24 23:33:52', 2, 2, 'RESTORED', 'LOW', 'Line Crew 01', 29.7557367, -95.3970357, '0101000020E61000000CB66C0869D957C010E3DAF577C13D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('OUT-0000005', 'CKT-00001-02', 'SUB-00001', 'UNPLANNED', 'EQUIPMENT_FAILURE', '2026-11-26 09:24:18', '2026-11-26 10:45:00', '2026-11-26 10:16:18', 2, 2, 'RESTORED', 'LOW', 'Line Crew 01', 29.7572449, -95.3909133, '0101000020E610000092C437B904D957C0139040CDDAC13D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('OUT-0000006', 'CKT-00001-02', 'SUB-00001', 'UNPLANNED', 'EQUIPMENT_FAILURE', '2026-11-26 11:05:47', '2026-11-26 12:30:00', '2026-11-26 11:27:47', 1, 1, 'RESTORED', 'LOW', 'Line Crew 01', 29.7560803, -95.3901622, '0101000020E6100000AB48E06AF8D857C05EA6817A8EC13D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('OUT-0000007', 'CKT-00001-02', 'SUB-00001', 'UNPLANNED', 'EQUIPMENT_FAILURE', '2026-11-26 22:07:57', '2026-11-26 23:30:00', '2026-11-27 02:30:57', 1, 1, 'RESTORED', 'LOW', 'Line Crew 01', 29.7560324, -95.3930846, '0101000020E6100000EB634F4C28D957C065B7E0568BC13D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('OUT-0000009', 'CKT-00001-02', 'SUB-00001', 'UNPLANNED', 'WEATHER', '2026-11-27 11:48:58', '2026-11-27 14:15:00', '2026-11-27 13:07:58', 17, 17, 'RESTORED', 'HIGH', 'Line Crew 02', 29.75598, -95.397638, '0101000020E61000006669A7E672D957C01A6EC0E787C13D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('OUT-0000010', 'CKT-00001-02', 'SUB-00001', 'UNPLANNED', 'WEATHER', '2026-11-27 16:59:50', '2026-11-27 19:30:00', '2026-11-27 18:06:50', 1, 1, 'RESTORED', 'LOW', 'Line Crew 01', 29.7572449, -95.3909133, '0101000020E610000092C437B904D957C0139040CDDAC13D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('OUT-0000011', 'CKT-00001-02', 'SUB-00001', 'UNPLANNED', 'WEATHER', '2026-11-27 23:09:27', '2026-11-28 00:30:00', '2026-11-28 00:45:27', 6, 6, 'RESTORED', 'MEDIUM', 'Line Crew 01', 29.7557367, -95.3970357, '0101000020E61000000CB66C0869D957C010E3DAF577C13D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('OUT-0000012', 'CKT-00001-02', 'SUB-00001', 'UNPLANNED', 'EQUIPMENT_FAILURE', '2026-11-29 04:07:19', '2026-11-29 04:45:00', '2026-11-29 05:37:19', 6, 6, 'RESTORED', 'MEDIUM', 'Line Crew 02', 29.7583547, -95.3832512, '0101000020E6100000C7890A3087D857C095449B8823C23D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('OUT-0000013', 'CKT-00001-02', 'SUB-00001', 'UNPLANNED', 'WEATHER', '2026-11-29 11:52:04', '2026-11-29 12:15:00', '2026-11-29 13:57:04', 18, 18, 'RESTORED', 'HIGH', 'Line Crew 02', 29.7557367, -95.3970357, '0101000020E61000000CB66C0869D957C010E3DAF577C13D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('OUT-0000014', 'CKT-00001-02', 'SUB-00001', 'UNPLANNED', 'WEATHER', '2026-11-29 15:22:53', '2026-11-29 16:30:00', '2026-11-29 16:59:53', 19, 19, 'RESTORED', 'HIGH', 'Line Crew 01', 29.75598, -95.397638, '0101000020E61000006669A7E672D957C01A6EC0E787C13D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('OUT-0000015', 'CKT-00001-02', 'SUB-00001', 'UNPLANNED', 'EQUIPMENT_FAILURE', '2026-11-29 15:38:50', '2026-11-29 16:45:00', '2026-11-29 17:05:50', 22, 22, 'RESTORED', 'HIGH', 'Line Crew 01', 29.7630102, -95.3903191, '0101000020E61000004460F6FCFAD857C0B183EFA254C33D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('OUT-0000016', 'CKT-00001-02', 'SUB-00001', 'UNPLANNED', 'ANIMAL', '2026-11-29 18:15:33', '2026-11-29 19:15:00', '2026-11-29 19:52:33', 2, 2, 'RESTORED', 'LOW', 'Line Crew 01', 29.7611088, -95.3903971, '0101000020E6100000023D1E44FCD857C0A3B2BC06D8C23D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('OUT-0000017', 'CKT-00001-03', 'SUB-00001', 'UNPLANNED', 'WEATHER', '2026-11-29 21:40:49', '2026-11-30 01:30:00', '2026-11-29 22:44:49', 1, 1, 'RESTORED', 'LOW', 'Line Crew 02', 29.7562143, -95.3978929, '0101000020E6100000E133C81377D957C07D44A74297C13D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('OUT-0000018', 'CKT-00001-02', 'SUB-00001', 'UNPLANNED', 'VEHICLE', '2026-11-30 14:27:14', '2026-11-30 16:15:00', '2026-11-30 15:34:14', 6, 6, 'RESTORED', 'MEDIUM', 'Line Crew 01', 29.7560803, -95.3901622, '0101000020E6100000AB48E06AF8D857C05EA6817A8EC13D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('OUT-0000019', 'CKT-00001-03', 'SUB-00001', 'UNPLANNED', 'VEGETATION', '2026-11-30 20:09:21', '2026-11-30 21:00:00', '2026-11-30 20:38:21', 1, 1, 'RESTORED', 'LOW', 'Line Crew 02', 29.7562143, -95.3978929, '0101000020E6100000E133C81377D957C07D44A74297C13D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('OUT-0000020', 'CKT-00001-03', 'SUB-00001', 'UNPLANNED', 'WEATHER', '2026-11-30 22:40:20', '2026-11-30 23:45:00', '2026-12-01 00:06:20', 1, 1, 'RESTORED', 'LOW', 'Line Crew 01', 29.7626002, -95.3974381, '0101000020E6100000CD6B36A06FD957C04EEC46C439C33D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('OUT-0000008', 'CKT-00001-03', 'SUB-00001', 'UNPLANNED', 'WEATHER', '2026-11-26 23:37:33', '2026-12-01 04:15:00', NULL, 4, 3, 'IN_PROGRESS', 'HIGH', 'Line Crew 02', 29.7601077, -95.3979288, '0101000020E6100000BD885BAA77D957C012F0106B96C23D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:54.774201');
INSERT INTO public.work_orders VALUES
	('WO-0000003', 'CORRECTIVE_MAINTENANCE', 'MEDIUM', 'COMPLETED', 'Field Crew 01', 'CKT-00001-02', 'SUB-00001', 'XFMR-0000024', 'Repair what the inspection of XFMR-0000024 found (circuit CKT-00001-02).', '2026-11-05 16:30:00', '2026-11-05 22:30:00', '2026-11-05 17:01:00', '2026-11-06 00:06:59', 29.7560803, -95.3901622, '0101000020E6100000AB48E06AF8D857C05EA6817A8EC13D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('WO-0000004', 'CORRECTIVE_MAINTENANCE', 'MEDIUM', 'COMPLETED', 'Field Crew 01', 'CKT-00001-02', 'SUB-00001', 'XFMR-0000027', 'Repair what the inspection of XFMR-0000027 found (circuit CKT-00001-02).', '2026-11-02 16:30:00', '2026-11-02 21:30:00', '2026-11-02 16:39:00', '2026-11-02 21:19:45', 29.7561822, -95.3865578, '0101000020E6100000E140ED5CBDD857C03DD11A2895C13D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('WO-0000005', 'CORRECTIVE_MAINTENANCE', 'MEDIUM', 'COMPLETED', 'Field Crew 01', 'CKT-00001-02', 'SUB-00001', 'XFMR-0000006', 'Repair what the inspection of XFMR-0000006 found (circuit CKT-00001-02).', '2026-11-06 16:30:00', '2026-11-06 17:30:00', '2026-11-06 16:32:00', '2026-11-06 17:15:43', 29.7557367, -95.3970357, '0101000020E61000000CB66C0869D957C010E3DAF577C13D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('WO-0000006', 'REPLACEMENT', 'MEDIUM', 'COMPLETED', 'Field Crew 01', 'CKT-00001-02', 'SUB-00001', 'XFMR-0000025', 'Replace XFMR-0000025, which has reached the end of its life (circuit CKT-00001-02).', '2026-11-04 20:30:00', '2026-11-05 00:30:00', '2026-11-04 20:53:00', '2026-11-05 00:47:43', 29.7561028, -95.3889599, '0101000020E6100000267D10B8E4D857C0FE69FEF38FC13D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('WO-0000008', 'REPLACEMENT', 'LOW', 'COMPLETED', 'Field Crew 02', 'CKT-00001-03', 'SUB-00001', 'XFMR-0000018', 'Replace XFMR-0000018, which has reached the end of its life (circuit CKT-00001-03).', '2026-11-05 17:30:00', '2026-11-05 18:30:00', '2026-11-05 17:40:00', '2026-11-05 18:31:58', 29.7583002, -95.3979332, '0101000020E610000087FFCFBC77D957C0DE8C3FF61FC23D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('WO-0000009', 'INSPECTION', 'LOW', 'COMPLETED', 'Field Crew 01', 'CKT-00001-01', 'SUB-00001', 'XFMR-0000001', 'Inspect XFMR-0000001 and note the condition of pole, cross-arm and bushings (circuit CKT-00001-01).', '2026-11-01 14:30:00', '2026-11-01 16:30:00', '2026-11-01 14:30:00', '2026-11-01 16:38:17', 29.755968, -95.3977612, '0101000020E6100000896764EB74D957C091D26C1E87C13D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('WO-0000010', 'INSPECTION', 'MEDIUM', 'COMPLETED', 'Field Crew 01', 'CKT-00001-02', 'SUB-00001', 'XFMR-0000039', 'Inspect XFMR-0000039 and note the condition of pole, cross-arm and bushings (circuit CKT-00001-02).', '2026-11-07 15:30:00', '2026-11-07 16:30:00', '2026-11-07 15:51:00', '2026-11-07 16:50:45', 29.7630102, -95.3903191, '0101000020E61000004460F6FCFAD857C0B183EFA254C33D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('WO-0000011', 'VEGETATION_TRIM', 'MEDIUM', 'COMPLETED', 'Field Crew 01', 'CKT-00001-02', 'SUB-00001', 'XFMR-0000024', 'Trim trees within 3 m of the conductors near XFMR-0000024 (circuit CKT-00001-02).', '2026-11-03 15:30:00', '2026-11-03 18:30:00', '2026-11-03 15:35:00', '2026-11-03 19:10:18', 29.7560803, -95.3901622, '0101000020E6100000AB48E06AF8D857C05EA6817A8EC13D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('WO-0000012', 'CORRECTIVE_MAINTENANCE', 'LOW', 'COMPLETED', 'Field Crew 01', 'CKT-00001-02', 'SUB-00001', 'XFMR-0000025', 'Repair what the inspection of XFMR-0000025 found (circuit CKT-00001-02).', '2026-11-05 16:30:00', '2026-11-05 22:30:00', '2026-11-05 16:33:00', '2026-11-05 21:04:38', 29.7561028, -95.3889599, '0101000020E6100000267D10B8E4D857C0FE69FEF38FC13D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('WO-0000013', 'PREVENTIVE_MAINTENANCE', 'MEDIUM', 'COMPLETED', 'Field Crew 02', 'CKT-00001-02', 'SUB-00001', 'XFMR-0000007', 'Clean, tighten and test XFMR-0000007 (circuit CKT-00001-02).', '2026-11-11 17:30:00', '2026-11-11 20:30:00', '2026-11-11 18:18:00', '2026-11-11 21:30:17', 29.7556539, -95.3958531, '0101000020E61000004BA13DA855D957C04898B38872C13D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('WO-0000014', 'EMERGENCY_REPAIR', 'EMERGENCY', 'COMPLETED', 'Field Crew 02', 'CKT-00001-03', 'SUB-00001', 'XFMR-0000022', 'Make XFMR-0000022 safe and restore supply (circuit CKT-00001-03).', '2026-11-02 12:30:00', '2026-11-02 17:30:00', '2026-11-02 12:51:00', '2026-11-02 18:31:40', 29.7615578, -95.3973869, '0101000020E6100000F7D676C96ED957C08203B573F5C23D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('WO-0000015', 'INSPECTION', 'LOW', 'COMPLETED', 'Field Crew 01', 'CKT-00001-03', 'SUB-00001', 'XFMR-0000019', 'Inspect XFMR-0000019 and note the condition of pole, cross-arm and bushings (circuit CKT-00001-03).', '2026-11-04 18:30:00', '2026-11-04 20:30:00', '2026-11-04 18:56:00', '2026-11-04 21:17:29', 29.7591685, -95.3979783, '0101000020E610000022C1F97978D957C044A7E7DD58C23D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('WO-0000016', 'INSPECTION', 'MEDIUM', 'COMPLETED', 'Field Crew 02', 'CKT-00001-02', 'SUB-00001', 'XFMR-0000030', 'Inspect XFMR-0000030 and note the condition of pole, cross-arm and bushings (circuit CKT-00001-02).', '2026-11-10 14:30:00', '2026-11-10 18:30:00', '2026-11-10 15:19:00', '2026-11-10 18:38:13', 29.7554589, -95.3844019, '0101000020E61000004C416D0A9AD857C0DEF824C165C13D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('WO-0000017', 'PREVENTIVE_MAINTENANCE', 'LOW', 'COMPLETED', 'Field Crew 01', 'CKT-00001-02', 'SUB-00001', 'XFMR-0000042', 'Clean, tighten and test XFMR-0000042 (circuit CKT-00001-02).', '2026-11-06 15:30:00', '2026-11-06 18:30:00', '2026-11-06 15:44:00', '2026-11-06 18:08:51', 29.7583547, -95.3832512, '0101000020E6100000C7890A3087D857C095449B8823C23D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('WO-0000018', 'INSPECTION', 'LOW', 'COMPLETED', 'Field Crew 02', 'CKT-00001-02', 'SUB-00001', 'XFMR-0000027', 'Inspect XFMR-0000027 and note the condition of pole, cross-arm and bushings (circuit CKT-00001-02).', '2026-11-07 13:30:00', '2026-11-07 17:30:00', '2026-11-07 13:30:00', '2026-11-07 17:52:24', 29.7561822, -95.3865578, '0101000020E6100000E140ED5CBDD857C03DD11A2895C13D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('WO-0000019', 'INSPECTION', 'LOW', 'COMPLETED', 'Field Crew 02', 'CKT-00001-02', 'SUB-00001', 'XFMR-0000028', 'Inspect XFMR-0000028 and note the condition of pole, cross-arm and bushings (circuit CKT-00001-02).', '2026-11-08 19:30:00', '2026-11-09 00:30:00', '2026-11-08 20:07:00', '2026-11-08 23:40:47', 29.7551756, -95.3865032, '0101000020E610000029F3EA77BCD857C0B8BC283053C13D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('WO-0000020', 'PREVENTIVE_MAINTENANCE', 'MEDIUM', 'COMPLETED', 'Field Crew 01', 'CKT-00001-03', 'SUB-00001', 'XFMR-0000018', 'Clean, tighten and test XFMR-0000018 (circuit CKT-00001-03).', '2026-11-12 20:30:00', '2026-11-12 23:30:00', '2026-11-12 21:09:00', '2026-11-12 23:56:43', 29.7583002, -95.3979332, '0101000020E610000087FFCFBC77D957C0DE8C3FF61FC23D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('WO-0000021', 'INSPECTION', 'LOW', 'COMPLETED', 'Field Crew 02', 'CKT-00001-01', 'SUB-00001', 'XFMR-0000002', 'Inspect XFMR-0000002 and note the condition of pole, cross-arm and bushings (circuit CKT-00001-01).', '2026-11-15 13:30:00', '2026-11-15 19:30:00', '2026-11-15 13:57:00', '2026-11-15 18:49:50', 29.7570122, -95.3977707, '0101000020E6100000A6F33C1375D957C04AAC318DCBC13D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('WO-0000022', 'INSPECTION', 'MEDIUM', 'COMPLETED', 'Field Crew 01', 'CKT-00001-02', 'SUB-00001', 'XFMR-0000034', 'Inspect XFMR-0000034 and note the condition of pole, cross-arm and bushings (circuit CKT-00001-02).', '2026-11-14 13:30:00', '2026-11-14 20:30:00', '2026-11-14 13:51:00', '2026-11-14 21:32:15', 29.7588933, -95.3910723, '0101000020E6100000C7B71C5407D957C04DA7D0D446C23D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('WO-0000023', 'CORRECTIVE_MAINTENANCE', 'HIGH', 'COMPLETED', 'Field Crew 02', 'CKT-00001-02', 'SUB-00001', 'XFMR-0000041', 'Repair what the inspection of XFMR-0000041 found (circuit CKT-00001-02).', '2026-11-17 19:30:00', '2026-11-18 03:30:00', '2026-11-17 19:43:00', '2026-11-18 02:25:32', 29.7574837, -95.3833052, '0101000020E6100000C098881288D857C0CAC0A673EAC13D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('WO-0000024', 'INSPECTION', 'MEDIUM', 'COMPLETED', 'Field Crew 02', 'CKT-00001-02', 'SUB-00001', 'XFMR-0000014', 'Inspect XFMR-0000014 and note the condition of pole, cross-arm and bushings (circuit CKT-00001-02).', '2026-11-12 15:30:00', '2026-11-12 16:30:00', '2026-11-12 15:40:00', '2026-11-12 16:34:17', 29.7582407, -95.3908686, '0101000020E61000002282BBFD03D957C004FF00101CC23D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('WO-0000025', 'REPLACEMENT', 'MEDIUM', 'COMPLETED', 'Field Crew 01', 'CKT-00001-02', 'SUB-00001', 'XFMR-0000024', 'Replace XFMR-0000024, which has reached the end of its life (circuit CKT-00001-02).', '2026-11-16 19:30:00', '2026-11-17 02:30:00', '2026-11-16 19:52:00', '2026-11-17 03:20:07', 29.7560803, -95.3901622, '0101000020E6100000AB48E06AF8D857C05EA6817A8EC13D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('WO-0000026', 'INSPECTION', 'HIGH', 'COMPLETED', 'Field Crew 01', 'CKT-00001-02', 'SUB-00001', 'XFMR-0000012', 'Inspect XFMR-0000012 and note the condition of pole, cross-arm and bushings (circuit CKT-00001-02).', '2026-11-22 20:30:00', '2026-11-23 00:30:00', '2026-11-22 20:45:00', '2026-11-22 23:54:47', 29.7562474, -95.3909376, '0101000020E6100000B6B1231F05D957C05EAFFA6D99C13D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('WO-0000027', 'CORRECTIVE_MAINTENANCE', 'LOW', 'COMPLETED', 'Field Crew 02', 'CKT-00001-02', 'SUB-00001', 'XFMR-0000013', 'Repair what the inspection of XFMR-0000013 found (circuit CKT-00001-02).', '2026-11-15 20:30:00', '2026-11-16 03:30:00', '2026-11-15 20:46:00', '2026-11-16 03:23:16', 29.7572449, -95.3909133, '0101000020E610000092C437B904D957C0139040CDDAC13D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('WO-0000028', 'CORRECTIVE_MAINTENANCE', 'MEDIUM', 'COMPLETED', 'Field Crew 01', 'CKT-00001-03', 'SUB-00001', 'XFMR-0000021', 'Repair what the inspection of XFMR-0000021 found (circuit CKT-00001-03).', '2026-11-24 13:30:00', '2026-11-24 18:30:00', '2026-11-24 13:54:00', '2026-11-24 18:14:04', 29.7605161, -95.3973195, '0101000020E610000009A4C4AE6DD957C0DB94E12EB1C23D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('WO-0000029', 'VEGETATION_TRIM', 'LOW', 'COMPLETED', 'Field Crew 01', 'CKT-00001-03', 'SUB-00001', 'XFMR-0000021', 'Trim trees within 3 m of the conductors near XFMR-0000021 (circuit CKT-00001-03).', '2026-11-17 16:30:00', '2026-11-17 23:30:00', '2026-11-17 16:46:00', '2026-11-17 22:46:45', 29.7605161, -95.3973195, '0101000020E610000009A4C4AE6DD957C0DB94E12EB1C23D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('WO-0000030', 'INSPECTION', 'LOW', 'COMPLETED', 'Field Crew 01', 'CKT-00001-03', 'SUB-00001', 'XFMR-0000023', 'Inspect XFMR-0000023 and note the condition of pole, cross-arm and bushings (circuit CKT-00001-03).', '2026-11-23 13:30:00', '2026-11-23 20:30:00', '2026-11-23 13:43:00', '2026-11-23 18:55:20', 29.7626002, -95.3974381, '0101000020E6100000CD6B36A06FD957C04EEC46C439C33D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('WO-0000031', 'INSPECTION', 'LOW', 'COMPLETED', 'Field Crew 02', 'CKT-00001-01', 'SUB-00001', 'XFMR-0000002', 'Inspect XFMR-0000002 and note the condition of pole, cross-arm and bushings (circuit CKT-00001-01).', '2026-11-19 16:30:00', '2026-11-19 19:30:00', '2026-11-19 17:13:00', '2026-11-19 19:38:40', 29.7570122, -95.3977707, '0101000020E6100000A6F33C1375D957C04AAC318DCBC13D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('WO-0000032', 'PREVENTIVE_MAINTENANCE', 'MEDIUM', 'COMPLETED', 'Field Crew 02', 'CKT-00001-02', 'SUB-00001', 'XFMR-0000045', 'Clean, tighten and test XFMR-0000045 (circuit CKT-00001-02).', '2026-11-27 19:30:00', '2026-11-28 00:30:00', '2026-11-27 20:02:00', '2026-11-27 23:45:21', 29.7613756, -95.3832506, '0101000020E6100000084B862D87D857C0EEF8E582E9C23D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('WO-0000033', 'REPLACEMENT', 'LOW', 'COMPLETED', 'Field Crew 02', 'CKT-00001-02', 'SUB-00001', 'XFMR-0000035', 'Replace XFMR-0000035, which has reached the end of its life (circuit CKT-00001-02).', '2026-11-27 18:30:00', '2026-11-27 21:30:00', '2026-11-27 19:02:00', '2026-11-27 22:35:13', 29.7595979, -95.3907798, '0101000020E6100000FF3B478902D957C03B9C0A0275C23D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('WO-0000034', 'PREVENTIVE_MAINTENANCE', 'LOW', 'ASSIGNED', 'Field Crew 01', 'CKT-00001-02', 'SUB-00001', 'XFMR-0000005', 'Clean, tighten and test XFMR-0000005 (circuit CKT-00001-02).', '2026-12-01 17:30:00', '2026-12-01 22:30:00', NULL, NULL, 29.75598, -95.397638, '0101000020E61000006669A7E672D957C01A6EC0E787C13D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('WO-0000035', 'PREVENTIVE_MAINTENANCE', 'MEDIUM', 'COMPLETED', 'Field Crew 01', 'CKT-00001-02', 'SUB-00001', 'XFMR-0000010', 'Clean, tighten and test XFMR-0000010 (circuit CKT-00001-02).', '2026-11-28 14:30:00', '2026-11-28 18:30:00', '2026-11-28 14:42:00', '2026-11-28 18:24:36', 29.7560324, -95.3930846, '0101000020E6100000EB634F4C28D957C065B7E0568BC13D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('WO-0000036', 'VEGETATION_TRIM', 'LOW', 'COMPLETED', 'Field Crew 02', 'CKT-00001-02', 'SUB-00001', 'XFMR-0000041', 'Trim trees within 3 m of the conductors near XFMR-0000041 (circuit CKT-00001-02).', '2026-11-27 18:30:00', '2026-11-28 00:30:00', '2026-11-27 18:37:00', '2026-11-27 23:38:25', 29.7574837, -95.3833052, '0101000020E6100000C098881288D857C0CAC0A673EAC13D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('WO-0000037', 'INSPECTION', 'MEDIUM', 'SCHEDULED', NULL, 'CKT-00001-01', 'SUB-00001', 'XFMR-0000002', 'Inspect XFMR-0000002 and note the condition of pole, cross-arm and bushings (circuit CKT-00001-01).', '2026-12-07 16:30:00', '2026-12-07 21:30:00', NULL, NULL, 29.7570122, -95.3977707, '0101000020E6100000A6F33C1375D957C04AAC318DCBC13D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821'),
	('WO-0000038', 'INSPECTION', 'MEDIUM', 'SCHEDULED', NULL, 'CKT-00001-02', 'SUB-00001', 'XFMR-0000012', 'Inspect XFMR-0000012 and note the condition of pole, cross-arm and bushings (circuit CKT-00001-02).', '2026-12-08 13:30:00', '2026-12-08 17:30:00', NULL, NULL, 29.7562474, -95.3909376, '0101000020E6100000B6B1231F05D957C05EAFFA6D99C13D40', '2026-12-01 03:41:42.890821', '2026-12-01 03:41:42.890821');
SELECT pg_catalog.setval('postgres_sync.sync_status_sync_id_seq', 14, true);
ALTER TABLE ONLY public.customers_spatial
    ADD CONSTRAINT customers_spatial_pkey PRIMARY KEY (customer_id);
ALTER TABLE ONLY flux_versions.public__customers_spatial__4f4b7a92_1
    ADD CONSTRAINT public__customers_spatial__4f4b7a92_1_customer_id_idx PRIMARY KEY (customer_id);
ALTER TABLE ONLY public.meter_locations_enhanced
    ADD CONSTRAINT meter_locations_enhanced_pkey PRIMARY KEY (meter_id);
ALTER TABLE ONLY flux_versions.public__meter_locations_enhanced__c48deda1_1
    ADD CONSTRAINT public__meter_locations_enhanced__c48deda1_1_meter_id_idx PRIMARY KEY (meter_id);
ALTER TABLE ONLY public.substations
    ADD CONSTRAINT substations_pkey PRIMARY KEY (substation_id);
ALTER TABLE ONLY flux_versions.public__substations__5b075631_2
    ADD CONSTRAINT public__substations__5b075631_2_substation_id_idx PRIMARY KEY (substation_id);
ALTER TABLE ONLY flux_versions.public__substations__bbcddca1_1
    ADD CONSTRAINT public__substations__bbcddca1_1_substation_id_idx PRIMARY KEY (substation_id);
ALTER TABLE ONLY public.transformers
    ADD CONSTRAINT transformers_pkey PRIMARY KEY (transformer_id);
ALTER TABLE ONLY flux_versions.public__transformers__5bf1e5dc_1
    ADD CONSTRAINT public__transformers__5bf1e5dc_1_transformer_id_idx PRIMARY KEY (transformer_id);
ALTER TABLE ONLY flux_versions.public__transformers__b23e620a_2
    ADD CONSTRAINT public__transformers__b23e620a_2_transformer_id_idx PRIMARY KEY (transformer_id);
ALTER TABLE ONLY public.vegetation_risk
    ADD CONSTRAINT vegetation_risk_pkey PRIMARY KEY (tree_id);
ALTER TABLE ONLY flux_versions.public__vegetation_risk__ce73b4fd_1
    ADD CONSTRAINT public__vegetation_risk__ce73b4fd_1_tree_id_idx PRIMARY KEY (tree_id);
ALTER TABLE ONLY postgres_sync.layer_leases
    ADD CONSTRAINT layer_leases_pkey PRIMARY KEY (schema_name, layer_name);
ALTER TABLE ONLY postgres_sync.layer_versions
    ADD CONSTRAINT layer_versions_pkey PRIMARY KEY (schema_name, layer_name, lease);
ALTER TABLE ONLY postgres_sync.sync_state
    ADD CONSTRAINT sync_state_pkey PRIMARY KEY (schema_name, layer_name);
ALTER TABLE ONLY postgres_sync.sync_status
    ADD CONSTRAINT sync_status_pkey PRIMARY KEY (sync_id);
ALTER TABLE ONLY postgres_sync.tables
    ADD CONSTRAINT tables_pkey PRIMARY KEY (schema_name, layer_name);
ALTER TABLE ONLY public.circuit_status_realtime
    ADD CONSTRAINT circuit_status_realtime_pkey PRIMARY KEY (circuit_id);
ALTER TABLE ONLY public.outage_restoration_tracker
    ADD CONSTRAINT outage_restoration_tracker_pkey PRIMARY KEY (outage_id);
ALTER TABLE ONLY public.work_orders
    ADD CONSTRAINT work_orders_pkey PRIMARY KEY (work_order_id);
CREATE INDEX customers_spatial_customer_segment_idx ON ONLY public.customers_spatial USING btree (customer_segment);
CREATE INDEX public__customers_spatial__4f4b7a92_1_customer_segment_idx ON flux_versions.public__customers_spatial__4f4b7a92_1 USING btree (customer_segment);
CREATE INDEX public__customers_spatial__4f4b7a92_1_geom_idx ON flux_versions.public__customers_spatial__4f4b7a92_1 USING gist (geom);
CREATE INDEX customers_spatial_transformer_id_idx ON ONLY public.customers_spatial USING btree (transformer_id);
CREATE INDEX public__customers_spatial__4f4b7a92_1_transformer_id_idx ON flux_versions.public__customers_spatial__4f4b7a92_1 USING btree (transformer_id);
CREATE INDEX meter_locations_enhanced_circuit_id_idx ON ONLY public.meter_locations_enhanced USING btree (circuit_id);
CREATE INDEX public__meter_locations_enhanced__c48deda1_1_circuit_id_idx ON flux_versions.public__meter_locations_enhanced__c48deda1_1 USING btree (circuit_id);
CREATE INDEX public__meter_locations_enhanced__c48deda1_1_geom_idx ON flux_versions.public__meter_locations_enhanced__c48deda1_1 USING gist (geom);
CREATE INDEX meter_locations_enhanced_transformer_id_idx ON ONLY public.meter_locations_enhanced USING btree (transformer_id);
CREATE INDEX public__meter_locations_enhanced__c48deda1_1_transformer_id_idx ON flux_versions.public__meter_locations_enhanced__c48deda1_1 USING btree (transformer_id);
CREATE INDEX public__substations__5b075631_2_geom_idx ON flux_versions.public__substations__5b075631_2 USING gist (geom);
CREATE INDEX public__substations__bbcddca1_1_geom_idx ON flux_versions.public__substations__bbcddca1_1 USING gist (geom);
CREATE INDEX public__vegetation_risk__ce73b4fd_1_geom_idx ON flux_versions.public__vegetation_risk__ce73b4fd_1 USING gist (geom);
CREATE INDEX vegetation_risk_risk_level_idx ON ONLY public.vegetation_risk USING btree (risk_level);
CREATE INDEX public__vegetation_risk__ce73b4fd_1_risk_level_idx ON flux_versions.public__vegetation_risk__ce73b4fd_1 USING btree (risk_level);
CREATE UNIQUE INDEX layer_versions_current_idx ON postgres_sync.layer_versions USING btree (schema_name, layer_name) WHERE current;
CREATE INDEX sync_status_failed_idx ON postgres_sync.sync_status USING btree (schema_name, layer_name, started_at DESC) WHERE (status = 'FAILED'::text);
CREATE INDEX sync_status_running_idx ON postgres_sync.sync_status USING btree (layer_name) WHERE (status = 'RUNNING'::text);
CREATE INDEX sync_status_started_idx ON postgres_sync.sync_status USING btree (started_at DESC, sync_id DESC);
CREATE INDEX sync_status_table_idx ON postgres_sync.sync_status USING btree (schema_name, layer_name, started_at DESC);
CREATE INDEX circuit_status_realtime_status_idx ON public.circuit_status_realtime USING btree (status);
CREATE INDEX circuit_status_realtime_substation_id_idx ON public.circuit_status_realtime USING btree (substation_id);
CREATE INDEX outage_restoration_tracker_circuit_id_idx ON public.outage_restoration_tracker USING btree (circuit_id);
CREATE INDEX outage_restoration_tracker_geom_idx ON public.outage_restoration_tracker USING gist (geom);
CREATE INDEX outage_restoration_tracker_status_idx ON public.outage_restoration_tracker USING btree (status);
CREATE INDEX work_orders_geom_idx ON public.work_orders USING gist (geom);
CREATE INDEX work_orders_status_idx ON public.work_orders USING btree (status);
CREATE INDEX work_orders_work_order_type_idx ON public.work_orders USING btree (work_order_type);
ALTER INDEX public.customers_spatial_pkey ATTACH PARTITION flux_versions.public__customers_spatial__4f4b7a92_1_customer_id_idx;
ALTER INDEX public.customers_spatial_customer_segment_idx ATTACH PARTITION flux_versions.public__customers_spatial__4f4b7a92_1_customer_segment_idx;
ALTER INDEX public.customers_spatial_transformer_id_idx ATTACH PARTITION flux_versions.public__customers_spatial__4f4b7a92_1_transformer_id_idx;
ALTER INDEX public.meter_locations_enhanced_circuit_id_idx ATTACH PARTITION flux_versions.public__meter_locations_enhanced__c48deda1_1_circuit_id_idx;
ALTER INDEX public.meter_locations_enhanced_pkey ATTACH PARTITION flux_versions.public__meter_locations_enhanced__c48deda1_1_meter_id_idx;
ALTER INDEX public.meter_locations_enhanced_transformer_id_idx ATTACH PARTITION flux_versions.public__meter_locations_enhanced__c48deda1_1_transformer_id_idx;
ALTER INDEX public.substations_pkey ATTACH PARTITION flux_versions.public__substations__5b075631_2_substation_id_idx;
ALTER INDEX public.transformers_pkey ATTACH PARTITION flux_versions.public__transformers__5bf1e5dc_1_transformer_id_idx;
ALTER INDEX public.vegetation_risk_risk_level_idx ATTACH PARTITION flux_versions.public__vegetation_risk__ce73b4fd_1_risk_level_idx;
ALTER INDEX public.vegetation_risk_pkey ATTACH PARTITION flux_versions.public__vegetation_risk__ce73b4fd_1_tree_id_idx;
