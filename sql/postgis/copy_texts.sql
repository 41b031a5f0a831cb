-- A function that reads texts as COPY does: a cast of text calls the input function of the type. All texts together at
-- first: an exception block for each costs twenty times as much. A role may have set dates the other way round.

-- create_reader --
CREATE OR REPLACE FUNCTION {function}(texts pg_catalog.text[])
    RETURNS TABLE (value pg_catalog.bytea, refusal pg_catalog.text)
    LANGUAGE plpgsql SET datestyle = 'ISO, MDY' SET timezone = 'UTC' AS $read$
DECLARE
    given pg_catalog.text;
    found pg_catalog.bytea[];
BEGIN
    BEGIN
        found := ARRAY(SELECT {sent_each} FROM pg_catalog.unnest(texts) WITH ORDINALITY AS each (given, n) ORDER BY n);
        RETURN QUERY SELECT each.value, NULL::pg_catalog.text
            FROM pg_catalog.unnest(found) WITH ORDINALITY AS each (value, n) ORDER BY n;
        RETURN;
    EXCEPTION WHEN OTHERS THEN
        NULL;
    END;
    FOREACH given IN ARRAY texts LOOP
        BEGIN
            value := {sent};
            refusal := NULL;
        EXCEPTION WHEN OTHERS THEN
            value := NULL;
            refusal := SQLERRM;
        END;
        RETURN NEXT;
    END LOOP;
END
$read$;
