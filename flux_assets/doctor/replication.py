"""Publications that hold public tables of layers: what a subscriber gets of them.

Here: which publications, and what helps. Not here: physical standbys (standbys.py), which get everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import psycopg

from flux_assets.doctor.finding import Finding, Group
from flux_assets.postgis.names import VERSIONS, Layer

_GROUP = Group("Layers")
# Named itself, or its schema, or its version, or every table there is.
_PUBLISHING = """
SELECT quote_ident(pubname), puballtables,
       ARRAY(SELECT c.relname::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
             WHERE c.relkind = 'p' AND n.nspname = %(schema)s AND c.relname = ANY (%(names)s)
               AND (puballtables
                 OR EXISTS (SELECT FROM pg_publication_rel
                            WHERE prpubid = p.oid
                              AND (prrelid = c.oid
                                OR prrelid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = c.oid)))
                 OR EXISTS (SELECT FROM pg_publication_namespace WHERE pnpubid = p.oid AND pnnspid = n.oid))
             ORDER BY 1),
       EXISTS (SELECT FROM pg_publication_namespace
               WHERE pnpubid = p.oid AND pnnspid = (SELECT oid FROM pg_namespace WHERE nspname = %(versions)s))
FROM pg_publication AS p ORDER BY 1
"""


def findings(session: psycopg.Connection, layers: Sequence[Layer]) -> Iterator[Finding]:
    """A warning for each publication whose subscribers keep the rows of a version that is gone."""
    schema = layers[0].schema if layers else ""
    asked = {"schema": schema, "names": [layer.name for layer in layers], "versions": VERSIONS}
    for publication, everything, names, whole_schema in session.execute(_PUBLISHING, asked).fetchall():
        if names:
            yield _GROUP.warning(
                f"publication {publication} holds {', '.join(names)}: logical replication does not tell a subscriber"
                " that a version was attached, so it keeps the rows that it had, and gets none of a new version",
                _remedy(publication, is_with_versions=everything or whole_schema),
            )
        elif whole_schema:
            yield _GROUP.note(
                f"publication {publication} holds the schema {VERSIONS}: a subscriber gets a version once it has made"
                " the version's table and refreshed its subscription",
                "docs/reliability.md has the statements for a subscriber.",
            )


def _remedy(publication: str, *, is_with_versions: bool) -> str:
    by_hand = (
        "After a load, on the subscriber: DROP SUBSCRIPTION …; TRUNCATE the table; CREATE SUBSCRIPTION … again, which"
        " copies it."
    )
    if is_with_versions:
        return f"Have the subscriber make each version's table and refresh (docs/reliability.md). {by_hand}"
    return (
        f"Publish the versions: CREATE PUBLICATION … FOR TABLES IN SCHEMA {VERSIONS} (docs/reliability.md has the"
        f" statements for a subscriber), in place of {publication}. {by_hand}"
    )
