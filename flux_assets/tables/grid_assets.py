"""Assets as the application's lists know them."""

from flux_assets.spec import View

VIEW = View.beside(
    __file__,
    inputs=("grid_assets_cache",),
    description="Every asset of the grid, with condition and load.",
)
