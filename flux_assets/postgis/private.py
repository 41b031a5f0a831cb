"""Tables that nobody but their owner may read, whatever default privileges say.

ALTER DEFAULT PRIVILEGES without IN SCHEMA grants on every table of a role, those in schemas of its own included: map
tools would list each layer once more for each of its versions, and row-level security of the public table would not
hold for who reads a version. Here: the statement that takes such grants back, for the transaction that makes a table.
"""

from __future__ import annotations

from psycopg import sql

_REVOKING = sql.SQL("""
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
$$
""")


def revoking_all(table: sql.Identifier) -> sql.Composed:
    """A statement that leaves a table to its owner; REVOKE ALL takes rights on single columns back too."""
    return _REVOKING.format(table=sql.Literal(table.as_string()))
