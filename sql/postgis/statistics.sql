-- Settings for ANALYZE of a public table.
-- smaller_sample: a part of the usual one, since its columns are those of the version, which has had the whole sample.

-- smaller_sample --
SELECT set_config('default_statistics_target',
    greatest(1, current_setting('default_statistics_target')::int * 3 / 10)::text, true);

-- targets --
SELECT attname::text, coalesce(attstattarget, -1) FROM pg_attribute
WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped;
