-- The tables about which no alerts are sent for a while.

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
