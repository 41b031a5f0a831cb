"""The UI over a tiny release, opened in a real browser, and pictures of what a failed test saw."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flux_assets.settings import REPOSITORY
from flux_assets_tests.ui.browser import Browser, browser
from flux_assets_tests.ui.opened import Place, opened

PICTURES = REPOSITORY / ".flux" / "ui-failures"


@pytest.fixture(scope="session")
def ui() -> Iterator[Place]:
    """One UI for all tests: it takes longer to start than they take."""
    with opened(scale=0.005) as place:
        yield place


@pytest.fixture
def window(ui: Place, request: pytest.FixtureRequest) -> Iterator[Browser]:
    """A fresh browser; what it showed last is kept when the test fails."""
    with browser(ui.address) as window:
        yield window
        if getattr(request.node, "failed", False):
            file = PICTURES / f"{request.node.name}.png"
            window.picture(file)
            file.with_suffix(".txt").write_text(f"{window.path}\n\n{window.words()}")
            request.node.add_report_section("teardown", "browser", f"What it showed: {file}")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Tells the fixture how its test ended."""
    outcome = yield
    if call.when == "call":
        item.failed = outcome.get_result().failed
