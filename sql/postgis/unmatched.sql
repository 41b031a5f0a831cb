-- Rows of one table whose value no row of another one has.
-- count_strays: grouped by value first, since a hundred thousand rows may share a few values, and those alone are
-- looked for again.

-- count_strays --
WITH stray AS (
    SELECT {value} AS value, count(*) AS rows, (array_agg({key}))[:{keys}] AS keys FROM {rows} AS t
    WHERE {judged} AND NOT EXISTS (SELECT FROM {others} AS o WHERE {there} = {value}) GROUP BY {value}
), near AS (
    SELECT {folded_there} AS folded, string_agg({there}, ', ' ORDER BY {there}) AS meant FROM {others} AS o
    WHERE EXISTS (SELECT FROM stray) GROUP BY 1
), explained AS (
    SELECT stray.*, near.meant FROM stray LEFT JOIN near ON near.folded = {folded_value}
)
SELECT coalesce(sum(rows), 0)::bigint, coalesce(sum(rows) FILTER (WHERE meant IS NOT NULL), 0)::bigint,
       ARRAY(SELECT concat(array_to_string(keys, ', ', '(no key)'), CASE WHEN rows > {keys} THEN ', …' END,
                           ': ', {reason},
                           CASE WHEN meant IS NULL THEN CASE WHEN value ~ '^[^[:space:]]+$' THEN value
                                                             ELSE coalesce(quote_literal(value), 'NULL') END
                           ELSE quote_literal(value) || '; apart from blanks and capitals it is '
                                || quote_literal(meant) END)
             FROM explained ORDER BY meant IS NULL, rows DESC, value LIMIT {limit})
FROM explained;

-- list_strays --
SELECT * FROM {rows} AS t WHERE {judged} AND NOT EXISTS (SELECT FROM {others} AS o WHERE {there} = {value});
