-- What the sync of the dynamic tables asks and writes, by name. Types of other tables' columns are compared by number,
-- not name, and indexes read from the catalog: writing out a type loads PostGIS into the session, a quarter of what an
-- unchanged sync of few rows costs, and pg_get_indexdef waits for whoever has locked the table.

-- opening --
SET idle_session_timeout = {limit}; SET statement_timeout = {limit}; SET lock_timeout = {wait};
SET idle_in_transaction_session_timeout = {idle};
SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'postgis'),
       EXISTS (SELECT FROM pg_namespace WHERE nspname = {schema}),
       coalesce((SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = 'postgres_sync'), ''),
       clock_timestamp();

-- shapes --
SELECT c.relname AS name, c.relkind::text AS kind, c.oid, md5(concat_ws(E'\n', c.oid, c.relkind,
    (SELECT string_agg(concat_ws(' ', attnum, attname, atttypid, atttypmod, attcollation, attnotnull, atthasdef,
                                 attgenerated),
                       E'\n' ORDER BY attnum)
     FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped),
    (SELECT string_agg(concat_ws(' ', i.relname, i.relam, x.indkey, x.indclass, x.indcollation, x.indoption, x.indexprs,
                                 x.indpred, x.indisunique, x.indisvalid, x.indisprimary), E'\n' ORDER BY indexrelid)
     FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid WHERE x.indrelid = c.oid),
    -- The view under further names, as PostgreSQL stores it, which names the table that it reads by number.
    (SELECT concat_ws(' ', v.oid, v.relacl, v.reloptions, w.nspacl, r.ev_action::text)
     FROM pg_namespace AS w JOIN pg_class AS v ON v.relnamespace = w.oid JOIN pg_rewrite AS r ON r.ev_class = v.oid
     WHERE w.nspname = {compat} AND v.relname = c.relname AND v.relkind = 'v'))) AS shape,
    ARRAY(SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = c.oid ORDER BY 1) AS heirs
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = {schema} AND c.relname = ANY ({names});

-- last_syncs --
SELECT layer_name, declaration, token, mapping, fingerprint, origins, mark, shape, rows, source_instant,
       source_changed_at, changed_at, read_at, relation
FROM postgres_sync.sync_state WHERE schema_name = {schema} AND layer_name = ANY ({names});

-- current_versions --
SELECT layer_name, version FROM postgres_sync.layer_versions
WHERE current AND schema_name = {schema} AND layer_name = ANY ({names});

-- surroundings --
SELECT EXISTS (SELECT FROM postgres_sync.sync_status
               WHERE status = 'RUNNING' AND schema_name = {schema} AND layer_name = ANY ({names})),
       EXISTS (SELECT FROM pg_class WHERE relkind = 'm' AND relispopulated);

-- is_expired --
coalesce(bool_or(({status} = ANY ({open})) IS NOT TRUE
                 AND ({time} >= timezone('UTC', statement_timestamp()) - {window}) IS NOT TRUE), false);

-- difference --
CREATE TEMP TABLE {rows} AS
SELECT CASE WHEN t.{first} IS NULL THEN 'insert' WHEN w.{first} IS NULL THEN 'delete' ELSE 'update' END AS flux_action,
       {columns}
FROM ({wanted}) AS w FULL JOIN {table} AS t ON {same}
WHERE t.{first} IS NULL OR w.{first} IS NULL OR {differ}{untimed};

-- difference_counts --
SELECT count(*) FILTER (WHERE flux_action = 'insert'), count(*) FILTER (WHERE flux_action = 'update'),
       count(*) FILTER (WHERE flux_action = 'delete')
FROM {rows};

-- doubled_keys --
SELECT concat_ws(' ', {key}), count(*), count(*) OVER () FROM {rows} GROUP BY {key} HAVING count(*) > 1
ORDER BY {key} LIMIT {limit};

-- watchers --
-- Triggers of an UPDATE, and others of each row or with the rows at hand; and rules. Bits of tgtype: 1 for each row,
-- 4 INSERT, 8 DELETE, 16 UPDATE.
SELECT 'the trigger ' || tgname FROM pg_trigger
WHERE tgrelid = %(oid)s AND NOT tgisinternal AND tgenabled NOT IN ('D', 'R') AND (tgtype & 16 <> 0
   OR tgtype & 12 <> 0 AND (tgtype & 1 <> 0 OR tgoldtable IS NOT NULL OR tgnewtable IS NOT NULL))
UNION ALL
SELECT 'the rule ' || rulename FROM pg_rewrite
WHERE ev_class = %(oid)s AND ev_type IN ('2', '3', '4') AND ev_enabled NOT IN ('D', 'R') ORDER BY 1;

-- note_sync --
INSERT INTO postgres_sync.sync_state AS s (schema_name, layer_name, declaration, token, mapping, fingerprint, origins,
    shape, source_instant, source_changed_at, read_at, relation, mark, rows, changed_at)
SELECT {schema}, {name}, {declaration}, {token}, {mapping}, {fingerprint}, {origins}, {shape}, {source_instant},
       {source_changed_at}, {read_at}, {relation}, mark, split_part(mark, ':', 1)::bigint, clock_timestamp()
FROM ({mark}) AS now (mark)
ON CONFLICT (schema_name, layer_name) DO UPDATE SET declaration = excluded.declaration, token = excluded.token,
    mapping = excluded.mapping, fingerprint = excluded.fingerprint, origins = excluded.origins, shape = excluded.shape,
    source_instant = excluded.source_instant, source_changed_at = excluded.source_changed_at,
    read_at = excluded.read_at, relation = excluded.relation, mark = excluded.mark, rows = excluded.rows,
    changed_at = CASE WHEN {wrote} THEN excluded.changed_at ELSE s.changed_at END
RETURNING rows;

-- note_refresh --
UPDATE postgres_sync.sync_state SET mark = ({mark}), changed_at = clock_timestamp()
WHERE schema_name = {schema} AND layer_name = {name};

-- later_rows --
-- Which rows were written after the last sync; none where they were only moved, as VACUUM FULL does. A sync notes its
-- state last, in its newest subtransaction: no row that it wrote is younger.
SELECT count(t), count(t) FILTER (WHERE age(t.xmin) < age(s.xmin)), min(s.rows)
FROM postgres_sync.sync_state AS s LEFT JOIN {rows} AS t ON true
WHERE s.schema_name = {schema} AND s.layer_name = {name};

-- note_others --
UPDATE postgres_sync.sync_state SET others_wrote_at = clock_timestamp(), others_wrote = {what}
WHERE schema_name = {schema} AND layer_name = {name};

-- note_reading --
UPDATE postgres_sync.sync_state SET token = {token}, mapping = {mapping}, read_at = {read_at}
WHERE schema_name = {schema} AND layer_name = {name};

-- under_way --
-- The newest rows of the process: an earlier one of the same number may have died.
SELECT DISTINCT ON (layer_name) layer_name, run_id FROM postgres_sync.sync_status
WHERE schema_name = %s AND status = 'RUNNING' AND backend_pid = %s
  AND postgres_sync.is_alive(backend_pid, backend_start)
ORDER BY layer_name, sync_id DESC;

-- newest_of_run --
SELECT held.alive, run.status = 'RUNNING', run.is_holder, clock_timestamp() - run.completed_at
FROM (SELECT coalesce(bool_or(postgres_sync.is_alive(holder_pid, holder_start)
                              AND seen_at > clock_timestamp() - %(stale)s), false) AS alive
      FROM postgres_sync.layer_leases
      WHERE schema_name = %(schema)s AND layer_name = %(sync)s AND holder_pid IS NOT NULL) AS held
LEFT JOIN LATERAL (
    SELECT entry.status, entry.completed_at, holder.lease IS NOT NULL AS is_holder
    FROM postgres_sync.sync_status AS entry
    LEFT JOIN postgres_sync.layer_leases AS holder
        ON holder.schema_name = entry.schema_name AND holder.layer_name = %(sync)s
        AND (holder.holder_pid, holder.holder_start) = (entry.backend_pid, entry.backend_start)
    WHERE entry.schema_name = %(schema)s AND entry.run_id = %(run_id)s
    ORDER BY entry.sync_id DESC LIMIT 1) AS run ON true;
