"""Circuits without their shapes."""

from flux_assets.spec import View

VIEW = View.beside(
    __file__,
    inputs=("circuit_service_areas",),
    description="Each circuit that has a service area, with its counts and its centre.",
)
