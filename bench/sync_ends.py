"""Both ends of a sync that is measured: work orders in the stand-in, and the stand-in as a process of its own.

Here: the source table in shape a, filled and changed by statements, and where sync and published way find it.
Not here: either of them (sync_ours.py, sync_published.py).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from time import sleep

import psutil
import snowflake.connector
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from bench.delay import Delay
from bench.ground import Ground
from flux_assets.postgis.connect import Target
from flux_assets.sample.stand_in.server import StandIn
from flux_assets.snowflake.account import Account

SCHEMA = "PRODUCTION"
SHARE = 0.01
_STEP = 1000
_COLUMNS = """
WORK_ORDER_ID VARCHAR(50), WORK_ORDER_TYPE VARCHAR(50), PRIORITY VARCHAR(20), STATUS VARCHAR(20),
ASSIGNED_CREW VARCHAR(100), CIRCUIT_ID VARCHAR(50), SUBSTATION_ID VARCHAR(50), TRANSFORMER_ID VARCHAR(50),
DESCRIPTION TEXT, SCHEDULED_START TIMESTAMP_NTZ, SCHEDULED_END TIMESTAMP_NTZ, ACTUAL_START TIMESTAMP_NTZ,
ACTUAL_END TIMESTAMP_NTZ, LATITUDE FLOAT, LONGITUDE FLOAT
"""
_OTHERS = {
    "OUTAGE_RESTORATION_TRACKER": "OUTAGE_ID VARCHAR(50), CIRCUIT_ID VARCHAR(50), OUTAGE_START_TIME TIMESTAMP_NTZ,"
    " STATUS VARCHAR(20)",
    "CIRCUIT_METADATA": "CIRCUIT_ID VARCHAR(50), STATUS VARCHAR(20), CUSTOMER_COUNT NUMBER(10,0)",
}
# I counts from 0; nothing but ids depends on where it starts.
_ROWS = """
SELECT 'WO-' || LPAD(I::VARCHAR, 10, '0'),
       CASE I % 3 WHEN 0 THEN 'INSPECTION' WHEN 1 THEN 'REPAIR' ELSE 'REPLACEMENT' END,
       CASE I % 4 WHEN 0 THEN 'HIGH' WHEN 1 THEN 'LOW' ELSE 'MEDIUM' END,
       CASE I % 4 WHEN 0 THEN 'OPEN' WHEN 1 THEN 'ASSIGNED' WHEN 2 THEN 'SCHEDULED' ELSE 'IN_PROGRESS' END,
       'CREW ' || (I % 40)::VARCHAR, 'CKT-' || (I % 500)::VARCHAR, 'SUB-' || (I % 60)::VARCHAR,
       CASE WHEN I % 2 = 0 THEN 'TRF-' || (I * 37 % 100000)::VARCHAR END,
       'Look at what the patrol noted at pole ' || (I * 7919 % 1000003)::VARCHAR || ' and replace what is worn',
       DATEADD('second', I * 61 % 1000000, '2099-01-04 08:00:00'::TIMESTAMP_NTZ),
       DATEADD('second', I * 61 % 1000000 + 14400, '2099-01-04 08:00:00'::TIMESTAMP_NTZ),
       CASE WHEN I % 4 = 3 THEN DATEADD('second', I % 86400, '2026-01-05 08:00:00'::TIMESTAMP_NTZ) END,
       NULL, 29.5 + I * 7919 % 1000003 / 1000003.0, -95.8 + I * 104729 % 1000003 / 1000003.0
FROM (SELECT ROW_NUMBER() OVER (ORDER BY 1) - 1 + {first} AS I FROM TABLE(GENERATOR(ROWCOUNT => {rows})))
"""


@dataclass
class Orders:
    """The source table of one size. `change` lets 1 % of its rows differ; their number stays."""

    account: Account
    rows: int
    _first: int = 0
    _changes: int = 0

    def fill(self) -> None:
        """Make database, schema and table."""
        with snowflake.connector.connect(**self.account.arguments()) as connection:
            run = connection.cursor().execute
            run(f"CREATE DATABASE {self.account.database}")
            run(f"CREATE SCHEMA {self.account.database}.{SCHEMA}")
            run(f"CREATE TABLE {self._table} ({_COLUMNS})")
            run(f"INSERT INTO {self._table} {_ROWS.format(first=0, rows=self.rows)}")
            for name, columns in _OTHERS.items():
                run(f"CREATE TABLE {self.account.database}.{SCHEMA}.{name} ({columns})")

    def change(self, share: float = SHARE) -> None:
        """Of the rows that are to differ one in ten is gone, one in ten is new, the others change status and crew."""
        count = max(round(self.rows * share), 3)
        few = max(count // 10, 1)
        updated = [self._first + few + place for place in self._scattered(count - 2 * few)]
        self._changes += 1
        with snowflake.connector.connect(**self.account.arguments()) as connection:
            run = connection.cursor().execute
            run("BEGIN")
            for start in range(0, len(updated), _STEP):
                ids = ", ".join(f"'{_id(number)}'" for number in updated[start : start + _STEP])
                run(
                    f"UPDATE {self._table} SET ASSIGNED_CREW = 'CREW C{self._changes}', STATUS ="
                    " CASE STATUS WHEN 'OPEN' THEN 'ASSIGNED' ELSE 'OPEN' END"
                    f" WHERE WORK_ORDER_ID IN ({ids})"
                )
            run(f"DELETE FROM {self._table} WHERE WORK_ORDER_ID < '{_id(self._first + few)}'")
            run(f"INSERT INTO {self._table} {_ROWS.format(first=self._first + self.rows, rows=few)}")
            run("COMMIT")
        self._first += few

    @property
    def _table(self) -> str:
        return f"{self.account.database}.{SCHEMA}.WORK_ORDERS"

    def _scattered(self, count: int) -> Iterator[int]:
        """Places all over the table, others each time, below those that the next change adds."""
        step = (self.rows - self.rows // 100) // count
        yield from (number * step + self._changes % step for number in range(count))


def _id(number: int) -> str:
    return f"WO-{number:010d}"


@dataclass
class Ends:
    """The bench's cluster and the stand-in, both running. Their CPU seconds count together as the servers'."""

    ground: Ground
    stand_in: StandIn
    delays: list[Delay] = field(default_factory=list)

    @property
    def say(self) -> Callable[[str], None]:
        return self.ground.say

    def server_cpu(self) -> float:
        """CPU seconds of both servers, and of the proxy between, so far."""
        total = self.ground.server_cpu()
        listening = self.stand_in.layout.read_listening()
        for pid in [*([listening.pid] if listening else []), *(delay.pid for delay in self.delays)]:
            with suppress(psutil.NoSuchProcess):
                total += sum(psutil.Process(pid).cpu_times()[:2])
        return total

    def orders(self, rows: int, name: str) -> Orders:
        """A source table of that size in a database of its own."""
        orders = Orders(replace(self.stand_in.account(), database=name, schema=SCHEMA), rows)
        orders.fill()
        return orders

    @contextmanager
    def delayed(self, target: Target, each_way: float) -> Iterator[Target]:
        """The same database behind a proxy that holds every byte back for `each_way` seconds."""
        with delayed(int(conninfo_to_dict(target.conninfo)["port"]), each_way) as delay:
            self.delays.append(delay)
            yield Target(conninfo=make_conninfo(target.conninfo, host="127.0.0.1", port=delay.port))
            self.delays.remove(delay)

    def settle(self) -> None:
        """As the ground does; and what the stand-in writes after a change is written."""
        self.ground.settle()
        sleep(0.2)


@contextmanager
def delayed(port: int, each_way: float) -> Iterator[Delay]:
    """A proxy process in front of a port of this machine."""
    delay = Delay.start(port, each_way)
    try:
        yield delay
    finally:
        delay.stop()


@contextmanager
def ends(ground: Ground) -> Iterator[Ends]:
    """Both ends; the stand-in and its files are removed afterwards."""
    stand_in = StandIn(ground.cluster.home)
    try:
        stand_in.start()
        yield Ends(ground, stand_in)
    finally:
        stand_in.stop()
        shutil.rmtree(stand_in.layout.folder, ignore_errors=True)
