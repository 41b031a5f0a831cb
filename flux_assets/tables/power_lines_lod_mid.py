"""Power lines for middle scales."""

from flux_assets.spec import View

VIEW = View.beside(
    __file__,
    inputs=("power_lines_spatial",),
    description="Power lines simplified by 0.001 degrees, for maps of a city.",
)
