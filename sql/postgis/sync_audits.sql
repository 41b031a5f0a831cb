-- Where positions of a dynamic table are; the first is an expression.

-- kind_of_position --
CASE WHEN {x} IS NULL OR {y} IS NULL THEN 'missing' WHEN {x} = 'NaN' OR {y} = 'NaN' THEN 'not_a_number'
    WHEN {x} = 0 AND {y} = 0 THEN 'zero_zero' WHEN abs({x}) > 180 OR abs({y}) > 90 THEN 'out_of_range' ELSE 'lost' END;

-- count_by_kind --
SELECT kind, count(*) FROM ({}) AS unplaced GROUP BY kind ORDER BY kind;
