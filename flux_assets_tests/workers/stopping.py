"""For a worker that is to be harmed: the first step that comes to FLUX_TEST_POINT stays there until it may go on.

Its worker imports this with --include, and the processes that it forks know it too. FLUX_TEST_STEP names the step, if
not any will do.
"""

import os
import time
from pathlib import Path

from celery.signals import task_prerun

from flux_assets.ledger import runs

HOME, POINT, STEP = Path(os.environ["FLUX_TEST_FOLDER"]), os.environ["FLUX_TEST_POINT"], os.environ["FLUX_TEST_STEP"]
_now = [""]


@task_prerun.connect
def note_step(kwargs, **_):
    (_now[0],) = kwargs.get("execute_step_args_packed", {}).get("step_keys_to_execute", ["whole run"])


def stop_at(reached: str) -> None:
    if reached != POINT or STEP not in ("", _now[0]):
        return
    try:
        with (HOME / "stopped").open("x") as file:
            file.write(str(os.getpid()))
    except FileExistsError:
        return
    while not (HOME / "go").exists():
        time.sleep(0.05)


runs.hooks.append(stop_at)
