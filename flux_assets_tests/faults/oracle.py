"""What the tables must hold, told without the product: release files by Python's csv, sources by what was put there."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
import shapely

Row = tuple[object, ...]
Table = Mapping[object, Row]

LAYER_ROWS = """
SELECT id, code, name, score, longitude, latitude, parent_id, encode(ST_AsBinary(geom), 'hex'), ST_SRID(geom) FROM poles
"""
LAYER_ANSWER = "SELECT count(*), sum(code), min(id), max(id) FROM poles"
# One statement over a table and a view that reads it: neither may be of another loader's time than the other.
HUNG_ON_ANSWER = """
SELECT (SELECT count(*) FROM {0}), (SELECT sum(code) FROM {0}), (SELECT count(*) FROM {0}_seen),
       (SELECT sum(code) FROM {0}_seen)
"""
TALLY_ROWS = "SELECT id, code FROM {}_tally"
# One statement over two layers that are loaded as one release.
RELEASE_ANSWER = """
SELECT (SELECT count(*) FROM poles), (SELECT sum(code) FROM poles), (SELECT count(*) FROM masts),
       (SELECT sum(code) FROM masts)
"""
FAULT_ROWS = """
SELECT fault_id, feeder, state, to_char(begun, 'YYYY-MM-DD HH24:MI:SS'), homes, lon, lat,
       encode(ST_AsBinary(geom), 'hex'), ST_SRID(geom) FROM faults
"""
FEEDER_ROWS = "SELECT feeder, title, homes, faults FROM feeders"
# One statement over both tables: in none may they disagree.
SYNC_ANSWER = """
SELECT (SELECT count(*) FROM faults), (SELECT sum(homes) FROM faults), (SELECT sum(faults) FROM feeders),
       (SELECT string_agg(title, ',' ORDER BY feeder) FROM feeders)
"""
CONTROL_ROWS = "SELECT id, note FROM control"


@dataclass(frozen=True, kw_only=True)
class State:
    """One state of what readers see: the rows of each query, and the answer that a reader gets."""

    rows: Mapping[str, Table]
    answer: Row

    def lost(self, connection: psycopg.Connection) -> int:
        """How many rows are missing, strange or different in the database."""
        return sum(_differing(wanted, keyed(connection, query)) for query, wanted in self.rows.items())

    def is_in(self, connection: psycopg.Connection) -> bool:
        return self.lost(connection) == 0


def rows_of(table: str) -> str:
    """The query for the rows of a table that has those of the layer."""
    return LAYER_ROWS.replace("FROM poles", f"FROM {table}")


def layer_state(file: Path, table: str = "poles") -> State:
    """The layer, or one computed from it, as the layer's release file has it."""
    rows = _layer_rows(file)
    return State(rows={rows_of(table): rows}, answer=(*_counted(rows), min(rows), max(rows)))


def hung_on_state(file: Path, table: str) -> State:
    """A table as a release file has it, with the views that read it."""
    rows = _layer_rows(file)
    tally = {key: (key, row[1]) for key, row in rows.items()}
    return State(rows={rows_of(table): rows, TALLY_ROWS.format(table): tally}, answer=_counted(rows) * 2)


def release_state(first: Path, second: Path) -> State:
    """Both layers as the files of one release have them."""
    one, other = _layer_rows(first), _layer_rows(second)
    return State(rows={LAYER_ROWS: one, rows_of("masts"): other}, answer=(*_counted(one), *_counted(other)))


def _layer_rows(file: Path) -> dict[str, Row]:
    with gzip.open(file, "rt", encoding="utf-8", newline="") as lines:
        return {line["id"]: _layer_row(line) for line in csv.DictReader(lines)}


def _counted(rows: Mapping[str, Row]) -> tuple[int, int]:
    return len(rows), sum(int(str(row[1])) for row in rows.values())


def _layer_row(line: Mapping[str, str]) -> Row:
    shape = shapely.from_wkb(line["geom"])
    return (
        line["id"], int(line["code"]), line["name"], float(line["score"]), float(line["longitude"]),
        float(line["latitude"]), line["parent_id"] or None, _plain(shape), shapely.get_srid(shape),
    )  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """A row of the source's FAULTS, all of whose rows are on feeders that are there."""

    fault_id: str
    feeder: str
    state: str
    begun: str
    homes: int
    lon: float
    lat: float
    is_taken: bool


def sync_state(faults: Sequence[Fault], feeders: Mapping[str, tuple[str, int]]) -> State:
    """Both tables, as the source has them; feeders are titles and homes by name."""
    taken = [fault for fault in faults if fault.is_taken]
    fault_rows = {
        each.fault_id: (
            each.fault_id, each.feeder, each.state, each.begun, each.homes, each.lon, each.lat,
            _plain(shapely.Point(each.lon, each.lat)), 4326,
        )
        for each in taken
    }  # fmt: skip
    return _both(fault_rows, {name: (name, title, homes) for name, (title, homes) in feeders.items()})


def in_part(before: State, after: State, failed: Collection[str]) -> State:
    """Both tables after a sync in which some failed: these are as before, with counts that follow all the same."""
    faults = (before if "faults" in failed else after).rows[FAULT_ROWS]
    feeders = (before if "feeders" in failed else after).rows[FEEDER_ROWS]
    return _both(faults, feeders)


def _both(faults: Table, feeders: Table) -> State:
    """The faults, and the feeders with how many of these are open on each."""
    opened = [row[1] for row in faults.values() if row[2] == "OPEN"]
    counted = {name: (*row[:3], opened.count(name)) for name, row in feeders.items()}
    titles = ",".join(str(counted[name][1]) for name in sorted(counted, key=str))
    answer = (len(faults), sum(int(str(row[4])) for row in faults.values()), len(opened), titles)
    return State(rows={FAULT_ROWS: faults, FEEDER_ROWS: counted}, answer=answer)


def keyed(connection: psycopg.Connection, query: str) -> Table:
    """The rows of a query by their first column. Two rows of one key are told apart, as no key may be there twice."""
    rows = connection.execute(query).fetchall()
    found = {row[0]: row for row in rows}
    assert len(found) == len(rows), "a key is there twice"
    return found


def _differing(wanted: Table, found: Table) -> int:
    return sum(wanted.get(key) != found.get(key) for key in wanted.keys() | found.keys())


def _plain(shape: shapely.Geometry) -> str:
    return shapely.to_wkb(shape, hex=True, include_srid=False, byte_order=1).lower()
