-- Comparing two sets of rows that differ.

-- Statistics are not collected for temporary tables; whole tables are compared, so one pass over each is right.
-- whole_tables --
SET LOCAL enable_nestloop = off; SET LOCAL work_mem = '64MB';

-- difference --
CREATE TEMP TABLE {into} ON COMMIT DROP AS SELECT {named}, CASE WHEN a.flux_hash IS NULL THEN 'missing'
    WHEN e.flux_hash IS NULL THEN 'extra' ELSE 'changed' END AS flux_kind
FROM ({expected}) AS e FULL JOIN ({actual}) AS a ON {same} WHERE e.flux_hash IS DISTINCT FROM a.flux_hash;

-- explanation --
SELECT concat_ws('; ', {differences}) FROM ({first}) AS d
JOIN {expected} AS e ON {same_expected} JOIN {actual} AS a ON {same_actual} ORDER BY {order};

-- last_source_instant --
SELECT max(source_instant) FROM postgres_sync.sync_status
WHERE schema_name = %s AND layer_name = %s AND status = 'SUCCESS';

-- first --
SELECT * FROM {rows} WHERE flux_kind = {kind} ORDER BY {names} LIMIT {most};

-- changed_columns --
SELECT {counts} FROM (SELECT * FROM {rows} WHERE flux_kind = {kind}) AS d
JOIN {expected} AS e ON {same_expected} JOIN {actual} AS a ON {same_actual};

-- places --
SELECT ST_X(middle), ST_Y(middle) FROM (
    SELECT ST_Centroid(ST_Envelope({feature})) AS middle, flux_spread
    FROM (SELECT *, md5(concat_ws(' ', {names})) AS flux_spread FROM {rows} WHERE flux_kind = {kind}) AS d
    JOIN {side} AS t ON {same}) AS placed
WHERE middle IS NOT NULL AND NOT ST_IsEmpty(middle) ORDER BY flux_spread LIMIT {most};
