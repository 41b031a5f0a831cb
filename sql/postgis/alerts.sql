-- The incidents that alerts are about, and the tables about which none are sent for a while.

-- prune --
DELETE FROM postgres_sync.incidents WHERE schema_name = %(schema)s AND closed_at < now() - interval '90 days';

-- unclosed --
SELECT id, kind, cause, apart, problem, remedy, tables, failing, since, not_before, ticks, settled, run_id,
       told_at, told_cause, resolved_at, closed_at
FROM postgres_sync.incidents WHERE schema_name = %(schema)s AND closed_at IS NULL ORDER BY id;

-- add --
INSERT INTO postgres_sync.incidents (schema_name, {names}) VALUES (%(schema)s, {values}) RETURNING id;

-- change --
UPDATE postgres_sync.incidents SET ({names}) = ROW ({values}) WHERE id = %(id)s RETURNING id;

-- mutes --
SELECT layer_name, begun_at, ends_at, begun_by FROM postgres_sync.alert_mutes
WHERE schema_name = %(schema)s AND ends_at > clock_timestamp() ORDER BY layer_name NULLS FIRST;

-- mute --
INSERT INTO postgres_sync.alert_mutes (schema_name, layer_name, ends_at)
SELECT %(schema)s, name, clock_timestamp() + %(span)s FROM unnest(%(tables)s::text[]) AS name
ON CONFLICT (schema_name, layer_name) DO UPDATE
SET begun_at = excluded.begun_at, ends_at = excluded.ends_at, begun_by = excluded.begun_by;

-- unmute --
DELETE FROM postgres_sync.alert_mutes
WHERE schema_name = %(schema)s AND (%(all)s OR layer_name = ANY (%(tables)s)) RETURNING ends_at > clock_timestamp();
