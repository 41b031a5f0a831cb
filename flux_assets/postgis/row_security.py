"""Row-level security: what of it stands on a table, and whether it hides rows from us.

Sessions of ours have row_security off: PostgreSQL then refuses a statement from which a policy would hide rows, where
it would otherwise answer from the others, and a sync would insert the hidden ones again. Here: naming what stands, and
refusing to lose it. Not here: making policies.
"""

from __future__ import annotations

import psycopg

from flux_assets.errors import FluxError

_POLICIES = "SELECT quote_ident(polname) FROM pg_policy WHERE polrelid = %s ORDER BY 1"
# Labels of providers such as sepgsql or anon say who may see what.
_STANDING = """
SELECT relrowsecurity, relforcerowsecurity,
       ARRAY(SELECT DISTINCT provider FROM pg_seclabel
             WHERE classoid = 'pg_class'::regclass AND objoid = pg_class.oid ORDER BY 1)
FROM pg_class WHERE oid = %s
"""


def protections(connection: psycopg.Connection, oid: int) -> list[str]:
    """What says who may see which rows or values of a table, in words; a renamed table takes all of it along."""
    enabled, forced, providers = connection.execute(_STANDING, [oid]).fetchone() or (False, False, [])
    policies = [row[0] for row in connection.execute(_POLICIES, [oid])]
    said = ["row-level security"] if enabled else []
    said += ["FORCE ROW LEVEL SECURITY"] if forced else []
    said += [f"the {'policy' if len(policies) == 1 else 'policies'} {', '.join(policies)}"] if policies else []
    return said + [f"security labels of {provider}" for provider in providers]


def lifting(connection: psycopg.Connection, title: str, oid: int) -> str:
    """The statements that take the protections off, for a person to run."""
    providers = (connection.execute(_STANDING, [oid]).fetchone() or (False, False, []))[2]
    statements = [f"DROP POLICY {name} ON {title}" for (name,) in connection.execute(_POLICIES, [oid])]
    statements.append(f"ALTER TABLE {title} DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY")
    statements += [f"SECURITY LABEL FOR {provider} ON TABLE {title} IS NULL" for provider in providers]
    return "; ".join(statements)


def refuse_unprotected_copy(
    kind: type[FluxError], connection: psycopg.Connection, title: str, old_title: str, oid: int
) -> None:
    """Raise `kind` where the table that is to be called `title` would lack what protects the rows of an older one."""
    if said := protections(connection, oid):
        raise kind(
            f"{old_title} has {' and '.join(said)}, which the new table {title} would not have: whoever may read it"
            " would see every row.",
            f"Take away the readers' rights (REVOKE ALL ON {old_title} FROM …), run"
            f" {lifting(connection, old_title, oid)}; and run this again. Then create the policies on the new"
            f" {title}, which keeps them through every later run, and grant the rights again.",
        )


def hides_rows(connection: psycopg.Connection, oid: int) -> bool:
    """Whether policies of the table hold for us."""
    row = connection.execute("SELECT row_security_active(%s::oid)", [oid]).fetchone()
    return bool(row and row[0])


def hidden(kind: type[FluxError], connection: psycopg.Connection, title: str) -> FluxError:
    """What to say of a table whose policies hold for us."""
    user = f'"{connection.info.user}"'
    return kind(
        f"{title} has row-level security that holds for user {user}: rows that it hides would pass for missing ones.",
        f"Run ALTER TABLE {title} NO FORCE ROW LEVEL SECURITY as its owner, which lets the owner see every row and"
        f" changes nothing for others; where {user} is not the owner, ALTER ROLE {user} BYPASSRLS as a superuser.",
    )
