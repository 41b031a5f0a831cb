-- What pictures show. geometry_column: the view geometry_columns says the same, in ten times the time.

-- spread_features --
SELECT ST_AsBinary(f) FROM (
    SELECT {feature} AS f FROM {relation} TABLESAMPLE SYSTEM ({percent}) REPEATABLE (1)
    WHERE abs(hashtext(ctid::text)::bigint) % 1000 < {kept}) AS picked
WHERE NOT ST_IsEmpty(f) LIMIT {most};

-- features_within --
SELECT ST_AsBinary({feature}) FROM {relation}
WHERE {feature} && ST_MakeEnvelope({west}, {south}, {east}, {north}, 4326) LIMIT {most};

-- geometry_column --
SELECT attname, relkind::text
FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid JOIN pg_class ON pg_class.oid = attrelid
WHERE attrelid = to_regclass(%s) AND typname = 'geometry' AND attnum > 0 AND NOT attisdropped
ORDER BY attnum LIMIT 1;

-- largest_shapes --
SELECT ST_AsBinary(ST_Simplify({geom}, {tolerance})) FROM (
    SELECT {geom} FROM {table} WHERE {geom} && ST_MakeEnvelope({west}, {south}, {east}, {north}, 4326)
    ORDER BY ST_XMax({geom}) - ST_XMin({geom}) + ST_YMax({geom}) - ST_YMin({geom}) DESC LIMIT {most}) AS largest;

-- points --
SELECT ST_X({geom}), ST_Y({geom}), {colour}::text, coalesce({size}, 0)::float8 FROM {table}
WHERE NOT ST_IsEmpty({geom}) ORDER BY ({coloured} = ANY ({named})) IS TRUE DESC, 4 DESC LIMIT {most};
