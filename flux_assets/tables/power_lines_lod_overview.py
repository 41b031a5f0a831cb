"""Power lines for small scales."""

from flux_assets.spec import View

VIEW = View.beside(
    __file__,
    inputs=("power_lines_spatial",),
    description="Power lines over 1,000 m, simplified by 0.01 degrees, for maps of the whole territory.",
)
