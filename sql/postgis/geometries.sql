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

-- main_extent --
-- The middle 90 %, widened on either side by twice its span, and by 0.05° at least.
SELECT x[1] - wide, y[1] - high, x[2] + wide, y[2] + high
FROM (SELECT x, y, greatest(2 * (x[2] - x[1]), 0.05) AS wide, greatest(2 * (y[2] - y[1]), 0.05) AS high
      FROM (SELECT percentile_disc(ARRAY[0.05, 0.95]) WITHIN GROUP (ORDER BY {x}) AS x,
                   percentile_disc(ARRAY[0.05, 0.95]) WITHIN GROUP (ORDER BY {y}) AS y FROM {source}) AS middle) AS wider;
