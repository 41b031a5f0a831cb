"""What lies quietly behind a preview: the largest shapes of the layers that are declared as ground.

Here: the query, bounded. Not here: drawing (pictures/panel.py), and which layers those are (their declarations).
"""

from __future__ import annotations

from psycopg import Connection, sql

from flux_assets.postgis.names import own_rows_by_kind
from flux_assets.previews.features import Window

MOST_SHAPES = 800
# The view geometry_columns says the same, in ten times the time.
_COLUMN = """
SELECT attname, relkind::text
FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid JOIN pg_class ON pg_class.oid = attrelid
WHERE attrelid = to_regclass(%s) AND typname = 'geometry' AND attnum > 0 AND NOT attisdropped
ORDER BY attnum LIMIT 1
"""


def shapes(session: Connection, schema: str, layer: str, window: Window, tolerance: float) -> list[bytes]:
    """WKB of the layer's largest features in the window, coarser by `tolerance`; none where the layer is not there.

    Size is that of the bounds, which lie at the beginning of a geometry and are had without reading the rest.
    """
    found = session.execute(_COLUMN, [sql.Identifier(schema, layer).as_string(session)]).fetchone()
    if found is None:
        return []
    column, kind = found
    query = sql.SQL(
        "SELECT ST_AsBinary(ST_Simplify({geom}, {tolerance})) FROM (SELECT {geom} FROM {table}"
        " WHERE {geom} && ST_MakeEnvelope({west}, {south}, {east}, {north}, 4326)"
        " ORDER BY ST_XMax({geom}) - ST_XMin({geom}) + ST_YMax({geom}) - ST_YMin({geom}) DESC LIMIT {most}) AS largest"
    ).format(
        geom=sql.Identifier(column), table=own_rows_by_kind(sql.Identifier(schema, layer), kind),
        tolerance=sql.Literal(tolerance),
        west=sql.Literal(window.west), south=sql.Literal(window.south), east=sql.Literal(window.east),
        north=sql.Literal(window.north), most=sql.Literal(MOST_SHAPES),
    )  # fmt: skip
    return [row[0] for row in session.execute(query) if row[0] is not None]
