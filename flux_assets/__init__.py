"""flux_assets: a utility's map layers as Dagster assets, published atomically into PostGIS.

Rooms, each importing only those below it:

cli                the command line
definitions        what `dagster -m` starts from; component, the same for projects of `dg`
orchestration      everything that knows Dagster
doctor             every setting and permission, and what to do about each that fails
wiring, sample     what the settings mean; what stands in when nothing is configured
packing            releases written from rows that are elsewhere
alerting           who is told of failures
compare, previews  whole tables against their origin; pictures for asset pages
layers, sync       the two protocols, whole: read layers/load.py and sync/sync.py first
checks             what is judged: a staged version, a live table
ledger             runs, leases and the status of tables, in schema postgres_sync
release, snowflake reading release files and Snowflake, as Arrow batches
postgis            primitives that speak SQL and know no protocol
tables, spec       what exists, and the vocabulary it is declared in

Terms: a *release* is a folder of files, one for each static *layer*. A *version* is one file read by one declaration.
It is *staged*, *audited* and *published*; *rollback* publishes an earlier one, a *pin* keeps it. A *lease* says who may
write now, the *ledger* what every run did. A *sync* brings a *dynamic table* into step with Snowflake: its *gate* asks
whether anything changed, its *guard* stops a source that lost rows, its *diff* is written. *Lag* is how far a table is
behind. A *quarantine* keeps refused records, a *replay* publishes them later. The *stand-in* and the *sample city*
replace Snowflake and a release where none is configured.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flux_assets.component import FluxAssetsComponent
    from flux_assets.orchestration.assembly import build_definitions

__all__ = ["FluxAssetsComponent", "build_definitions"]
# Imported when they are asked for: both bring Dagster, which most commands do without.
_PLACES = {"FluxAssetsComponent": "flux_assets.component", "build_definitions": "flux_assets.orchestration.assembly"}


def __getattr__(name: str) -> object:
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_PLACES]
