"""Distribution transformers: where a circuit's voltage becomes the customers'."""

from sqlalchemy import Column, Double, Integer, MetaData, Table, Text

from flux_assets.spec import StaticTable
from flux_assets.spec.facts import Position, Range, Reference, Volume

TABLE = StaticTable(
    table=Table(
        "transformers",
        MetaData(),
        Column("transformer_id", Text, primary_key=True, comment="Identifier of the transformer."),
        Column("latitude", Double, comment="Latitude in degrees (EPSG:4326)."),
        Column("longitude", Double, comment="Longitude in degrees (EPSG:4326)."),
        Column("substation_id", Text, comment="Substation that feeds the transformer."),
        Column("rated_kva", Double, comment="Rated power, in kVA."),
        Column("install_year", Integer, comment="Year in which the transformer was installed."),
        Column("health_score", Double, comment="Condition, from 0 (failing) to 100 (as new)."),
        Column("age_years", Integer, comment="Age when the release was made, in years."),
        Column("location_area", Text, comment="District or area that the transformer stands in."),
        Column("feeder_id", Text, comment="Circuit that the transformer hangs on."),
        comment="Distribution transformers; their place is latitude and longitude, without a geometry column.",
    ),
    references=(Reference(column="substation_id", to_table="substations", to_column="substation_id"),),
    ranges=(Range(column="health_score", minimum=0, maximum=100),),
    volume=Volume(minimum=20),
    positions=(Position(longitude="longitude", latitude="latitude"),),
    release_rows=91_554,
    draw="#f2a541",
)
