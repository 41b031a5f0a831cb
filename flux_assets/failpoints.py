"""Named points of a load, a rollback and a sync at which a test can stop or break the run.

Only tests install hooks; without one, reaching a point does nothing.
"""

from __future__ import annotations

from collections.abc import Callable

_hooks: list[Callable[[str], None]] = []


def reach(point: str) -> None:
    """Call the hooks with the name of the point that the run has reached."""
    for hook in _hooks:
        hook(point)


def install(hook: Callable[[str], None]) -> None:
    """Have `hook` called with the name of each point that this process reaches from now on."""
    _hooks.append(hook)


def remove(hook: Callable[[str], None]) -> None:
    """Stop calling `hook`."""
    _hooks.remove(hook)
