"""The release of the sample city, written once for each FLUX_HOME."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flux_assets.tables import built_in

SCALE, SEED = 0.05, 7


def sample_release(home: Path, log: Callable[[str], None]) -> Path:
    """Return the folder of the sample release under `home`; concurrent callers write it once."""
    folder = home / "release" / f"sample-city-{SCALE:g}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder.parent / ".lock"):
        if not folder.is_dir():
            log(f"Making the sample city of scale {SCALE:g} in {folder}; this happens once.")
            unfinished = folder.with_name(f"{folder.name}.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            _make_city(unfinished)
            unfinished.rename(folder)
    return folder


def _make_city(folder: Path) -> None:
    from flux_assets.sample.city.release_writer import write_release

    write_release(folder, built_in().static, scale=SCALE, seed=SEED)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
