"""The layout of the code stays within the figures that `make house` prints, where it has reached them."""

import runpy

import pytest

from flux_assets.settings import REPOSITORY

HOUSE = runpy.run_path(str(REPOSITORY / "scripts" / "house.py"))
# The package is still larger than it should be in this.
BEHIND = {
    "lines of the package outside the sample",
}
FIGURES = [figure for figure in HOUSE["static_figures"]() if figure.what not in BEHIND]


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.what)
def test_a_figure_that_was_reached_is_kept(figure):
    assert figure.value <= figure.at_most, figure.where


def test_a_cycle_of_imports_is_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set(), "e": {"e"}}
    assert {frozenset(group) for group in HOUSE["_strongly_connected"](graph)} == {
        frozenset("abc"),
        frozenset("d"),
        frozenset("e"),
    }
