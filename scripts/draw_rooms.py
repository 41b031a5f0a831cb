"""Draw the rooms of the package into ARCHITECTURE.md, from its imports: `python scripts/draw_rooms.py`."""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from house import imports_of, modules

PAGE = Path(__file__).resolve().parent.parent / "ARCHITECTURE.md"
BEGIN, END = "<!-- rooms: scripts/draw_rooms.py writes this -->", "<!-- end of rooms -->"
# What everything else is built from, drawn as one room: its arrows would hide the others.
GROUND = "ground"


def drawing() -> str:
    """Return the rooms as a Mermaid flowchart: an arrow for an import that no longer way replaces."""
    arrows = _reduced(_rooms())
    names = sorted({*arrows, *(end for ends in arrows.values() for end in ends)})
    lines = ["```mermaid", "flowchart TD"]
    lines += [f'    {name}["{_title(name)}"]' for name in names]
    lines += [f"    {start} --> {end}" for start in names for end in sorted(arrows.get(start, ()))]
    return "\n".join([*lines, "```"])


def page() -> str:
    """Return the text of the page with the picture as the imports are now."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{drawing()}\n{END}{after}"


def _rooms() -> dict[str, set[str]]:
    every = modules()
    rooms: dict[str, set[str]] = defaultdict(set)
    for name, imported in imports_of(every).items():
        start = _room(name)
        rooms[start] |= {end for other in imported if (end := _room(other)) not in {start, GROUND}}
    return {room: ends for room, ends in rooms.items() if room != GROUND}


def _room(module: str) -> str:
    parts = module.split(".")
    if len(parts) > 2 or parts[-1] in {"cli", "definitions"} or (len(parts) == 2 and _is_folder(parts[1])):
        return parts[1]
    return "definitions" if parts[-1] in {"component", "definitions"} else GROUND


def _is_folder(name: str) -> bool:
    return (PAGE.parent / "flux_assets" / name).is_dir()


def _title(room: str) -> str:
    return "definitions.py, component.py" if room == "definitions" else f"{room}/"


def _reduced(arrows: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return the arrows without those that a longer way replaces."""

    def reached(room: str) -> set[str]:
        found: set[str] = set()
        ways = list(arrows.get(room, ()))
        while ways:
            way = ways.pop()
            if way not in found:
                found.add(way)
                ways += arrows.get(way, ())
        return found

    beyond = {room: {end for way in ends for end in reached(way)} for room, ends in arrows.items()}
    return {room: ends - beyond[room] for room, ends in arrows.items()}


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
