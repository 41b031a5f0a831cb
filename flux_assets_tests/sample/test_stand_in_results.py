"""The stand-in remembers the newest results for RESULT_SCAN, and no more of them than memory is for."""

from collections.abc import Callable

import pytest
from fakesnow.instance import FakeSnow
from snowflake.connector.errors import ProgrammingError

from flux_assets.sample.stand_in.patches.results import RecentResults

KILOBYTES_8 = "SELECT SEQ4()::FLOAT AS N FROM TABLE(GENERATOR(ROWCOUNT => 1000))"
Remembered = Callable[[str], bool]


def asked(results: RecentResults, *queries: str) -> tuple[list[str], Remembered]:
    """The ids of the queries, and whether the result of one can still be scanned."""
    server = FakeSnow()
    server.results_cache = results
    connection = server.connect()
    ids = [connection.cursor().execute(query).sfqid for query in queries]

    def remembered(query_id: str) -> bool:
        try:
            return bool(connection.cursor().execute(f"SELECT * FROM TABLE(RESULT_SCAN('{query_id}'))").fetchall())
        except ProgrammingError:
            return False

    return ids, remembered


@pytest.mark.parametrize(
    ("results", "queries", "kept"),
    [
        (RecentResults(size_bytes=20_000), [KILOBYTES_8] * 4, [False, False, True, True]),
        (RecentResults(size_bytes=20_000), ["SELECT 1", KILOBYTES_8, "SELECT 1"], [True, True, True]),
        (RecentResults(results=2), ["SELECT 1"] * 3, [False, True, True]),
        (RecentResults(size_bytes=100), ["SELECT 1", KILOBYTES_8], [False, True]),
    ],
    ids=["by size", "all that fit", "by number", "the newest of any size"],
)  # fmt: skip
def test_older_results_are_forgotten(results: RecentResults, queries: list[str], kept: list[bool]) -> None:
    ids, remembered = asked(results, *queries)
    assert [remembered(query_id) for query_id in ids] == kept


def test_bytes_of_forgotten_results_do_not_count() -> None:
    _, remembered = asked(results := RecentResults(size_bytes=20_000), *[KILOBYTES_8] * 20)
    assert [remembered(query_id) for query_id in results] == [True, True]
