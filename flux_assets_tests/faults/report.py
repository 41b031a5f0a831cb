"""The table of docs/reliability.md: what each case came to, with the commit that it belongs to."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from flux_assets.settings import REPOSITORY

PROPERTY = "fault case"
BEGIN, END = "<!-- written by make test-faults -->", "<!-- end of what make test-faults wrote -->"
Case = Mapping[str, Any]


def verdicts(reports: Iterable[pytest.TestReport]) -> list[Case]:
    """Of all tests, in the order of cases and faults."""
    found = [
        value for each in reports if each.when == "call" for name, value in each.user_properties if name == PROPERTY
    ]
    return sorted(found, key=lambda case: (case["case"], case["fault"]))


def write(path: Path, cases: list[Case]) -> None:
    """Put the table between the file's markers."""
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n{table(cases)}\n{END}{after}", encoding="utf-8")


def table(cases: list[Case]) -> str:
    lines = [
        _summary(cases),
        "",
        "| case | fault | rows lost | mixed | hang | longest wait for a lock, ms | noise, ms | next run |",
    ]
    lines.append("|---|---|---:|---:|---|---:|---:|---|")
    lines += [
        f"| {case['case']} | {case['fault']} | {case['lost']} | {case['mixed']} | {case['hung'] or 'no'} |"
        f" {case['wait_ms']:.0f} | {case['noise_ms']:.0f} | {case['next_run']} |"
        for case in cases
    ]
    return "\n".join(lines)


def _summary(cases: list[Case]) -> str:
    failed = sum(bool(case["problems"]) for case in cases)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.strip()
    longest = max((case["wait_ms"] for case in cases), default=0)
    beyond = max((case["wait_ms"] - case["noise_ms"] for case in cases), default=0)
    return (
        f"Commit {commit}: **{len(cases)} cases, {sum(case['lost'] for case in cases)} rows lost,"
        f" {sum(case['mixed'] for case in cases)} mixed answers, {sum(bool(case['hung']) for case in cases)} hangs,"
        f" longest wait of a reader {longest:.0f} ms ({max(beyond, 0):.0f} ms beyond the machine's noise)**;"
        f" {failed} cases broke a promise."
    )
