"""Write the table of metrics in docs/monitoring.md: `.venv/bin/python scripts/write_metrics.py`."""

from __future__ import annotations

import re
from pathlib import Path

from flux_assets.ledger.metrics import Exporter

PAGE = Path(__file__).resolve().parent.parent / "docs" / "monitoring.md"


def with_metrics(page: str) -> str:
    """Return the page with the table as the exporter is now."""
    lines = ["| metric | labels besides `table` and `kind` | what it is |", "|---|---|---|"]
    lines += [f"| `{name}` | (none at all) | {told} |" for name, told in Exporter.ABOUT.items()]
    for metric in Exporter.METRICS:
        label = f"`{metric.label}`" if metric.label else ""
        lines.append(f"| `{metric.name}` | {label} | {metric.help} (column `{metric.column}`) |")
    table = "\n".join(lines).replace("(column `ages`)", "(columns `source_changed_at`, `checked_at`, `published_at`)")
    pattern = r"(<!-- metrics: [^>]* -->\n).*?(<!-- end of metrics -->)"
    return re.sub(pattern, lambda found: f"{found[1]}{table}\n{found[2]}", page, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(with_metrics(PAGE.read_text()))
