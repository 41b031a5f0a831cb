"""Whose change token is believed, by what Snowflake says of the object: an ordinary table's, and no other's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flux_assets.errors import WarehouseError
from flux_assets.retry import RetryPolicy
from flux_assets.snowflake.overrides import Overrides, SourceOverride
from flux_assets.snowflake.source import Source
from flux_assets_tests.faulting_proxy import Fault, faulting_proxy
from flux_assets_tests.snowflake_answers import answered, refused
from flux_assets_tests.synced import FAULTS, Utility

PLAIN = {
    "name": "FAULTS", "kind": "TABLE", "owner": "UTILITY", "is_dynamic": "N", "is_iceberg": "N", "is_hybrid": "N",
}  # fmt: skip
SHOWS, DESCRIBES = "SHOW OBJECTS", "DESCRIBE TABLE"


def shown(said: dict, statement: str = SHOWS) -> Fault:
    return Fault("say", holding=statement, said=said, times=None)


def doubt(utility: Utility, *faults: Fault, **override: object) -> str | None:
    with faulting_proxy(utility.account.port or 0, *faults) as proxy:
        account = replace(utility.account, port=proxy.port)
        overrides = Overrides(sources={"FAULTS": SourceOverride.model_validate(override)})
        with Source.open(account, overrides, log=utility.log.append, patience=RetryPolicy(attempts=1)) as source:
            return source.doubt(overrides.applied_to(FAULTS, [FAULTS]))


def test_an_ordinary_table_is_believed(utility: Utility) -> None:
    assert doubt(utility) is None
    assert (
        doubt(utility, shown(answered(PLAIN | {"kind": "TRANSIENT"}, type="text", precision=None, scale=None))) is None
    )


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"kind": "VIEW"}, "of kind VIEW"),
        ({"kind": "MATERIALIZED VIEW"}, "of kind MATERIALIZED VIEW"),
        ({"kind": "EXTERNAL TABLE"}, "of kind EXTERNAL TABLE"),
        ({"kind": "DYNAMIC_TABLE"}, "of kind DYNAMIC_TABLE"),
        ({"kind": ""}, "of kind unknown"),
        ({"is_dynamic": "Y"}, "is_dynamic"),
        ({"is_iceberg": "Y"}, "is_iceberg"),
        ({"is_hybrid": "Y"}, "is_hybrid"),
        ({"owner": ""}, "shared by another account"),
        ({"owner": None}, "shared by another account"),
        ({"name": "faults"}, "does not list it"),
    ],
    ids=str,
)
def test_nothing_else_is_believed(utility: Utility, said: dict[str, str], why: str) -> None:
    assert why in str(doubt(utility, shown(answered(PLAIN | said, type="text", precision=None, scale=None))))
    assert [line for line in utility.log if "is read even if its change token is the same" in line and why in line]


def test_a_table_under_a_policy_is_not_believed(utility: Utility) -> None:
    masked = answered({"name": "HOMES", "policy name": "D.S.HIDE_BY_ROLE"}, type="text", precision=None, scale=None)
    assert doubt(utility, shown(masked, DESCRIBES)) == "it is under policy D.S.HIDE_BY_ROLE"


def test_what_cannot_be_asked_is_not_believed(utility: Utility) -> None:
    assert "its kind of object is unknown" in str(doubt(utility, shown(refused("003001", "Insufficient privileges."))))


def test_a_connection_that_breaks_says_nothing_of_the_object(utility: Utility) -> None:
    with pytest.raises(WarehouseError) as broken:
        doubt(utility, shown(refused("390114")))
    assert broken.value.retryable


def test_a_setting_decides_without_a_question(utility: Utility) -> None:
    view = shown(answered(PLAIN | {"kind": "VIEW"}, type="text", precision=None, scale=None))
    assert doubt(utility, view, change_token=True) is None
    assert doubt(utility, change_token=False) == "change_token = false"
    assert "of kind VIEW" in str(doubt(utility, view, change_token="auto"))


def test_an_object_elsewhere_is_looked_for_there(utility: Utility) -> None:
    utility.tell('CREATE SCHEMA OPS; CREATE VIEW OPS."Started now" AS SELECT * FROM PRODUCTION.FAULTS')
    assert "of kind VIEW" in str(doubt(utility, object='OPS."Started now"'))
