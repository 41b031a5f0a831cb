"""The proxy before PostgreSQL that tests and benchmarks share: it delays, and counts what a client waits for."""

import time

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from flux_assets_tests.faults.wire import wire_to

EACH_WAY = 0.05


def test_a_round_trip_is_what_is_sent_together_and_waited_for(target):
    port = int(conninfo_to_dict(target.conninfo)["port"])
    with (
        wire_to(port) as wire,
        psycopg.connect(make_conninfo(target.conninfo, host="127.0.0.1", port=wire.port)) as session,
    ):
        session.autocommit = True
        opened = wire.trips
        session.execute("SELECT 1; SELECT 2")
        assert wire.trips == opened + 1
        for _ in range(3):
            session.execute("SELECT 1")
        assert wire.trips == opened + 4
        session.execute("CREATE TEMPORARY TABLE texts (text text)")
        before = wire.trips
        with session.cursor().copy("COPY texts FROM STDIN") as copy:
            for _ in range(200):
                copy.write_row(["x" * 100_000])
        assert wire.trips == before + 2


def test_what_is_sent_arrives_later_and_whole(target):
    port = int(conninfo_to_dict(target.conninfo)["port"])
    with (
        wire_to(port, EACH_WAY) as wire,
        psycopg.connect(make_conninfo(target.conninfo, host="127.0.0.1", port=wire.port)) as session,
    ):
        begun = time.monotonic()
        assert session.execute("SELECT repeat('x', 1000000)").fetchone() == ("x" * 1_000_000,)
        assert time.monotonic() - begun >= 2 * EACH_WAY
