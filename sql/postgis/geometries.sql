-- Audits of shapes and positions; `kinds` and `outside_the_world` are expressions.
-- kinds: a geometry's own kind, and those of its parts, which only the text of a collection or curve shows.
-- outside_the_world: a box that lies within the world, which PostGIS keeps with every shape but points, spares the
-- arithmetic of most rows. NaN compares as greater than every number in PostgreSQL, so it fails these bounds too.

-- kinds --
CASE WHEN upper(substr(ST_GeometryType({shape}), 4)) = ANY ({simple})
    THEN ARRAY[upper(substr(ST_GeometryType({shape}), 4))]
    ELSE ARRAY(SELECT DISTINCT word[1] FROM regexp_matches(ST_AsText({shape}), '[A-Z]{{3,}}', 'g') AS word
        WHERE word[1] <> 'EMPTY' ORDER BY 1) END;

-- outside_the_world --
NOT {g} @ ST_MakeEnvelope(-180, -90, 180, 90, 4326) AND NOT ST_IsEmpty({g})
    AND NOT (ST_XMin({g}) >= -180 AND ST_XMax({g}) <= 180 AND ST_YMin({g}) >= -90 AND ST_YMax({g}) <= 90);

-- quantiles --
SELECT percentile_disc(ARRAY[0.05, 0.95]) WITHIN GROUP (ORDER BY {x}),
       percentile_disc(ARRAY[0.05, 0.95]) WITHIN GROUP (ORDER BY {y}) FROM {source};
