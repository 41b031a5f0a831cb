"""docs/reference.md is what the programs say."""

from flux_assets.postgis.session import Target
from scripts.write_reference import PAGE, page


def test_the_reference_is_up_to_date(target: Target) -> None:
    with target.session("test") as session:
        assert PAGE.read_text() == page(session), "run scripts/write_reference.py"
