"""Buildings as the map's queries know them."""

from flux_assets.spec import View

VIEW = View.beside(
    __file__,
    inputs=("building_footprints",),
    description="Building footprints that have a geometry, with the position of the centroid.",
)
