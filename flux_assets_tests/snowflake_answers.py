"""What Snowflake answers and the stand-in cannot, in the JSON that the connector reads.

Here: the answers, as its documentation shows them and the connector's source reads them. Not here: who gives them
(faulting_proxy.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta


def refused(code: str, message: str = "") -> dict:
    """A statement or a sign-in refused with this code."""
    return {"code": code, "message": message or f"Snowflake says {code}.", "success": False, "data": None}


def answered(row: Mapping[str, str | None], **kind: object) -> dict:
    """The result of a query with one row, all of its columns of one kind."""
    place = {"database": "", "schema": "", "table": "", "nullable": True, "length": None, "byteLength": None}
    return {
        "code": None,
        "message": None,
        "success": True,
        "data": {
            "parameters": [{"name": "TIMEZONE", "value": "UTC"}],
            "rowtype": [{"name": name, **place, **kind} for name in row],
            "rowset": [list(row.values())],
            "total": 1,
            "returned": 1,
            "queryId": "01b2c3d4-0000-0000-0000-000000000001",
            "queryResultFormat": "json",
            "statementTypeId": 4096,
            "version": 1,
        },
    }


def tokens(told: Mapping[str, int | None]) -> dict:
    """The answer to the query of change tokens: nanoseconds since 1970, which only ever grow; by table."""
    texts = {name: None if token is None else str(token) for name, token in told.items()}
    return answered(texts, type="fixed", precision=38, scale=0)


def instant(when: datetime) -> dict:
    """The answer to SELECT SYSDATE(), `when` being UTC."""
    micros = (when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    told = f"{micros // 10**6}.{micros % 10**6:06}000"
    return answered({"SYSDATE()": told}, type="timestamp_ntz", precision=0, scale=9)
