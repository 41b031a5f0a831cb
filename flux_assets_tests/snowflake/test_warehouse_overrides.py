"""FLUX_CONFIG: what it can say, and how it answers nonsense."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from flux_assets.errors import SettingError
from flux_assets.snowflake.overrides import Overrides
from flux_assets.spec.facts import Volume
from flux_assets_tests.synced import FAULTS, FEEDERS

TABLES = (FAULTS, FEEDERS)
WHOLE = """
[FAULTS]
object = 'OPS."Grid".V_FAULTS'
open_statuses = ["OPEN", "HELD"]
counted_statuses = ["OPEN", "HELD", "PLANNED"]
window = "14d"
time_zone = "America/Chicago"
vanished_share = 0.5
vanished_minimum = 0

[FAULTS.columns]
homes = "CUSTOMERS"
begun = { expression = "TRY_TO_TIMESTAMP_NTZ(STARTED)" }
"""


@pytest.fixture
def overrides(tmp_path: Path):
    def written(text: str) -> Overrides:
        path = tmp_path / "flux.toml"
        path.write_text(text, encoding="utf-8")
        return Overrides.load(path)

    return written


def test_without_a_file_nothing_differs():
    overrides = Overrides.load(None)
    assert [overrides.applied_to(table, TABLES) for table in TABLES] == list(TABLES)


def test_a_whole_file(overrides):
    read = overrides(WHOLE)
    faults = read.applied_to(FAULTS, TABLES)
    assert faults.row_filter.open_statuses == ("OPEN", "HELD")
    assert faults.row_filter.window == timedelta(days=14)
    assert (faults.vanished_share, faults.vanished_minimum) == (0.5, 0)
    said = read.sources["FAULTS"]
    assert (said.object, said.time_zone) == ('OPS."Grid".V_FAULTS', "America/Chicago")
    assert said.columns["homes"].column == "CUSTOMERS"
    assert said.columns["begun"].expression == "TRY_TO_TIMESTAMP_NTZ(STARTED)"


def test_counted_statuses_of_a_source_that_nobody_counts_are_refused(overrides):
    said = overrides('[FEEDERS]\ncounted_statuses = ["OPEN"]')
    with pytest.raises(SettingError, match=r"FEEDERS.counted_statuses: no column counts rows of this source"):
        said.applied_to(FEEDERS, [FAULTS, FEEDERS])


def test_counted_statuses_count_in_the_tables_derived_from_the_source(overrides):
    feeders = overrides(WHOLE).applied_to(FEEDERS, TABLES)
    counted = {column.target: column.where_values for column in feeders.derived}
    assert counted == {"faults": ("OPEN", "HELD", "PLANNED"), "load": (), "homes": ()}
    assert replace(feeders, derived=FEEDERS.derived) == FEEDERS


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[FAULTS]\nobjekt = 'A'", "FAULTS.objekt: no such key; there are object, columns"),
        ("[FAULTS]\nobject = 'a.b.c.d'", "FAULTS.object = 'a.b.c.d': must be NAME, SCHEMA.NAME"),
        ("[FAULTS]\nobject = 'drop table x'", "FAULTS.object = 'drop table x': must be NAME"),
        ("[FAULTS]\ntime_zone = 'Houston'", "FAULTS.time_zone = 'Houston': must be a time zone of the IANA list"),
        ("[FAULTS]\nwindow = '7 parsecs'", "FAULTS.window = '7 parsecs': is not a time span such as"),
        ("[FAULTS]\nwindow = '1000000d'", "FAULTS.window = '1000000d': is longer than a hundred years"),
        ("[FAULTS]\nwindow = 14", "FAULTS.window = 14: must have a unit, such as '14d' or '36h'"),
        ("[FAULTS]\nwindow = ' 14'", "FAULTS.window = ' 14': must have a unit"),
        ("[FAULTS]\nwindow = '0d'", "FAULTS.window = '0d': must be greater than zero"),
        ("[FAULTS]\nwindow = true", "FAULTS.window = true: must have a unit, such as '14d' or '36h'"),
        ("[FAULTS]\nwindow = ['14d']", "FAULTS.window = ['14d']: must be a time span such as 36h or 14d"),
        *(
            (f"[FAULTS]\ntime_zone = '{zone}'", f"FAULTS.time_zone = '{zone}': must be a time zone of the IANA list")
            for zone in ("localtime", "posixrules", "posix/America/Chicago", "right/UTC", "Factory", "")
        ),
        ("[FAULTS]\ntime_zone = 3", "FAULTS.time_zone = 3: must be text in quotes"),
        ("[FAULTS]\nobject = ['A']", "FAULTS.object = ['A']: must be text in quotes"),
        ("[FAULTS]\nchange_token = 'yes'", "FAULTS.change_token = 'yes': must be true, false or \"auto\""),
        ("[FAULTS]\nchange_token = 1", 'FAULTS.change_token = 1: must be true, false or "auto"'),
        ("[FAULTS]\nread_every = 15", "FAULTS.read_every = 15: must have a unit"),
        ("[FAULTS]\ntoken_lasts = '0s'", "FAULTS.token_lasts = '0s': must be greater than zero"),
        ("[FAULTS]\nvanished_share = 1.5", "FAULTS.vanished_share = 1.5: must be 1 or less"),
        ("[FAULTS]\nvanished_share = 0", "FAULTS.vanished_share = 0: must be more than 0"),
        ("[FAULTS]\nvanished_share = nan", "FAULTS.vanished_share = nan: must be 1 or less"),
        ("[FAULTS]\nvanished_share = '20%'", "FAULTS.vanished_share = '20%': must be a number"),
        ("[FAULTS]\nvanished_share = true", "FAULTS.vanished_share = true: must be a number"),
        ("[FAULTS]\nvanished_minimum = 'few'", "FAULTS.vanished_minimum = 'few': must be a whole number"),
        ("[FAULTS]\nvanished_minimum = 2.5", "FAULTS.vanished_minimum = 2.5: must be a whole number"),
        ("[FAULTS]\nvanished_minimum = true", "FAULTS.vanished_minimum = true: must be a whole number"),
        ("[FAULTS]\nvanished_minimum = -1", "FAULTS.vanished_minimum = -1: must be 0 or more"),
        ("[FAULTS]\nopen_statuses = 'OPEN'", "FAULTS.open_statuses = 'OPEN': must be a list in brackets, such as ["),
        ("[FAULTS]\nopen_statuses = []", "FAULTS.open_statuses = []: must have at least 1 of them"),
        ("[FAULTS]\nopen_statuses = ['OPEN', 3]", "FAULTS.open_statuses.1 = 3: must be text in quotes"),
        ("[FAULTS]\ncolumns = 'A'", "FAULTS.columns = 'A': must be a table, with a key and its value on each line"),
        ("[FAULTS.columns]\nhomes = 3", "FAULTS.columns.homes = 3: must be a column name in quotes, { expression"),
        ("[FAULTS.columns]\nhomes = ''", "FAULTS.columns.homes.column = '': must not be empty"),
        ("[FAULTS.columns]\nhomes = {column = 3}", "FAULTS.columns.homes.column = 3: must be text in quotes"),
        (
            "[FAULTS.columns]\nfeeder = { column = 'A', expression = 'B', values = { a = 'b' } }",
            "must be a column name in quotes, { expression",
        ),
        ("[FAULTS.columns]\nfeeder = { values = {} }", "must be a column name in quotes, { expression"),
        ("[FAULTS.columns]\nhomes = {}", "FAULTS.columns.homes = {}: must be a column name in quotes, {"),
        (
            "[FAULTS.columns]\nhomes = {sql = 'A'}",
            "FAULTS.columns.homes.sql: no such key; there are column, expression",
        ),
        ("FAULTS = 3", "FAULTS = 3: must be a table, with a key and its value on each line"),
        ("[FAULTS", "is not TOML"),
        ("volume = 3", "volume: must be a table, with a table for each name: [volume.substations]"),
        ("[volume]\nfaults = 3", "volume.faults = 3: must be a table, with a key and its value on each line"),
        ("[volume.faults]\nmost = 3", "volume.faults.most: no such key; there are minimum, maximum"),
        ("[volume.faults]\nmaximum = '3'", "volume.faults.maximum = '3': must be a whole number"),
        ("[volume.faults]\nminimum = -3", "volume.faults.minimum = -3: must be 0 or more"),
        ("[volume.faults]\nminimum = 3\nmaximum = 2", "volume.faults: has a minimum above its maximum"),
    ],
)
def test_nonsense_names_file_key_value_and_what_is_allowed(overrides, text, said):
    with pytest.raises(SettingError) as refused:
        overrides(text)
    assert said in str(refused.value)
    assert "flux.toml" in str(refused.value)
    assert "nput should" not in str(refused.value)


def test_time_zones_that_every_machine_knows_are_taken(overrides):
    for zone in ("UTC", "America/Chicago", "Etc/GMT+6", "EST5EDT"):
        assert overrides(f"[FAULTS]\ntime_zone = '{zone}'").sources["FAULTS"].time_zone == zone


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[FAULT]\nwindow = '7d'", "FAULT: no such source; there are FAULTS, FEEDERS"),
        (
            "[FAULTS.columns]\nhome = 'A'",
            "FAULTS.columns.home: no such target column; there are fault_id, feeder, state",
        ),
        ("[FAULTS.columns]\nmoved = 'A'", "FAULTS.columns.moved: no such target column"),
        (
            "[FAULTS.columns]\nhomes = { values = { a = 'b' } }",
            "FAULTS.columns.homes.values: only values of a text can be replaced",
        ),
        ("[FEEDERS]\nwindow = '7d'", "FEEDERS.window: this source has no row filter: every row is read"),
    ],
)
def test_names_that_nobody_declares(overrides, text, said):
    read = overrides(text)
    with pytest.raises(SettingError) as refused:
        [read.applied_to(table, TABLES) for table in TABLES]
    assert said in str(refused.value)
    assert "flux.toml" in str(refused.value)


def test_plausible_row_counts_are_given_by_table(overrides):
    read = overrides("[volume]\nfaults = { maximum = 9 }\n[volume.poles]\nminimum = 0")
    assert read.sources == {}
    assert read.volumes_of(["poles", "faults"]) == {"faults": Volume(maximum=9), "poles": Volume(minimum=0)}
    with pytest.raises(SettingError, match=r"flux.toml\): volume.poles: no such table; did you mean pole\?"):
        read.volumes_of(["faults", "pole"])


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(SettingError, match=r"FLUX_CONFIG = .*none\.toml.* cannot be read"):
        Overrides.load(tmp_path / "none.toml")
