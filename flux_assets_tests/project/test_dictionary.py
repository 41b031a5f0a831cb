"""The data dictionary says what the declarations say, and is the one that lies in the docs."""

import pytest

from flux_assets.settings import REPOSITORY
from flux_assets.spec import Declaration
from flux_assets.tables import declarations
from flux_assets_tests.made_up import trees
from flux_assets_tests.synced import FAULTS, FEEDERS
from scripts.write_data_dictionary import dictionary


def test_the_page_in_the_docs_is_the_declarations():
    """After a change of a declaration: .venv/bin/python scripts/write_data_dictionary.py."""
    assert (REPOSITORY / "docs" / "data-dictionary.md").read_text() == dictionary(declarations())


@pytest.mark.parametrize("table", [trees(), FAULTS, FEEDERS], ids=lambda table: table.name)
def test_every_table_and_column_is_in_it(table: Declaration):
    text = dictionary([table])
    assert f"## {table.name}\n\n{table.description}\n" in text
    for column in table.columns:
        assert f"| `{column.name}` | " in text
        assert str(column.comment) in text


def test_where_columns_come_from_is_in_it():
    text = dictionary([FEEDERS])
    assert "- synced from Snowflake's `" in text
    for source in FEEDERS.source_columns:
        assert f"Source: `{source.names[0]}`" in text
    for derived in FEEDERS.derived:
        assert f"`{derived.from_table}`" in text
