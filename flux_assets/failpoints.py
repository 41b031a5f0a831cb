"""Named points of a load, a rollback and a sync, at which a test's own program can stop the run or harm it.

Nothing in the product installs a hook, and no setting does: without one, reaching a point does nothing.
"""

from __future__ import annotations

from collections.abc import Callable

_hooks: list[Callable[[str], None]] = []


def reach(point: str) -> None:
    """Say that the run is here."""
    for hook in _hooks:
        hook(point)


def install(hook: Callable[[str], None]) -> None:
    """Call `hook` with the name of each point that this process reaches from now on."""
    _hooks.append(hook)


def remove(hook: Callable[[str], None]) -> None:
    """Call it no more."""
    _hooks.remove(hook)
