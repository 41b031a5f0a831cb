-- An empty copy of a table; and taking back what default privileges grant on a new table: REVOKE ALL takes rights on
-- single columns back too.

-- create_like --
CREATE {new} (LIKE {old} INCLUDING CONSTRAINTS INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING STORAGE
              INCLUDING COMPRESSION);

-- revoke_all --
DO $$
DECLARE
    made CONSTANT regclass := {table};
    role text;
BEGIN
    FOR role IN SELECT DISTINCT CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE grantee::regrole::text END
                FROM pg_class, aclexplode(relacl) WHERE oid = made AND grantee <> relowner LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %s', made, role);
    END LOOP;
END
$$;
