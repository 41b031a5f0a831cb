-- keep --
-- Rows that are right already are neither written nor locked: loads and syncs do this side by side, all the time. Of
-- many tables five arrays are read in a fraction of the time that as many rows of VALUES take.
INSERT INTO postgres_sync.tables AS known (schema_name, layer_name, kind, place, late_after, still_after)
SELECT {schema}, * FROM unnest({names}::text[], {kinds}::text[], {places}::integer[], {late}::interval[],
                              {still}::interval[]) AS declared (layer_name, kind, place, late_after, still_after)
EXCEPT SELECT schema_name, layer_name, kind, place, late_after, still_after FROM postgres_sync.tables
ORDER BY 2
ON CONFLICT (schema_name, layer_name) DO UPDATE SET kind = excluded.kind, place = excluded.place,
    late_after = excluded.late_after, still_after = excluded.still_after;

-- known --
SELECT layer_name, kind, place, late_after, still_after FROM postgres_sync.tables WHERE schema_name = {schema};

-- forget --
DELETE FROM postgres_sync.tables WHERE schema_name = {schema} AND layer_name <> ALL ({names});
