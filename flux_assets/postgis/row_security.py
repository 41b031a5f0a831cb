"""Row-level security: what protects the rows of a table, and whether it hides rows from us.

Our sessions have row_security off: PostgreSQL then refuses a statement from which a policy would hide rows, where it
would otherwise answer from the others, and a sync would insert the hidden ones again.
"""

from __future__ import annotations

import psycopg

from flux_assets.errors import FluxError
from flux_assets.sqlfiles import query


def protections(connection: psycopg.Connection, oid: int) -> list[str]:
    """Return in words what restricts who sees which rows or values; a renamed table takes all of it along."""
    enabled, forced, providers = _settings(connection, oid)
    policies = _policies(connection, oid)
    found = ["row-level security"] if enabled else []
    found += ["FORCE ROW LEVEL SECURITY"] if forced else []
    found += [f"the {'policy' if len(policies) == 1 else 'policies'} {', '.join(policies)}"] if policies else []
    return found + [f"security labels of {provider}" for provider in providers]


def lifting(connection: psycopg.Connection, title: str, oid: int) -> str:
    """Return the statements that take the protections off, for a person to run."""
    providers = _settings(connection, oid)[2]
    statements = [f"DROP POLICY {name} ON {title}" for name in _policies(connection, oid)]
    statements.append(f"ALTER TABLE {title} DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY")
    statements += [f"SECURITY LABEL FOR {provider} ON TABLE {title} IS NULL" for provider in providers]
    return "; ".join(statements)


def _settings(connection: psycopg.Connection, oid: int) -> tuple[bool, bool, list[str]]:
    return connection.execute(query("row_security", "protections"), [oid]).fetchone() or (False, False, [])


def _policies(connection: psycopg.Connection, oid: int) -> list[str]:
    return [row[0] for row in connection.execute(query("row_security", "policies"), [oid])]


def refuse_unprotected_copy(
    kind: type[FluxError], connection: psycopg.Connection, title: str, old_title: str, oid: int
) -> None:
    """Raise `kind` where a new table called `title` would lack what protects the rows of an older one."""
    if found := protections(connection, oid):
        raise kind(
            f"{old_title} has {' and '.join(found)}, which the new table {title} would not have: whoever may read it"
            " would see every row.",
            f"Take away the readers' rights (REVOKE ALL ON {old_title} FROM …), run"
            f" {lifting(connection, old_title, oid)}; and run this again. Then create the policies on the new"
            f" {title}, which keeps them through every later run, and grant the rights again.",
        )


def hides_rows(connection: psycopg.Connection, oid: int) -> bool:
    """Tell whether policies of the table apply to us."""
    row = connection.execute("SELECT row_security_active(%s::oid)", [oid]).fetchone()
    return bool(row and row[0])


def hidden(kind: type[FluxError], connection: psycopg.Connection, title: str) -> FluxError:
    """Return the error for a table whose policies apply to us."""
    user = f'"{connection.info.user}"'
    return kind(
        f"{title} has row-level security that holds for user {user}: rows that it hides would seem to be missing.",
        f"Run ALTER TABLE {title} NO FORCE ROW LEVEL SECURITY as its owner, which lets the owner see every row and"
        f" changes nothing for others; where {user} is not the owner, ALTER ROLE {user} BYPASSRLS as a superuser.",
    )
