"""A Celery app that knows nothing of telemetry; its broker is a folder. As a program it sends tasks."""

import logging
import os
import sys
from pathlib import Path

from celery import Celery  # type: ignore[import-not-found]

folder = Path(os.environ["TASKS_FOLDER"])
places = {name: str(folder / name) for name in ("queue", "processed", "control")}
for place in places.values():
    Path(place).mkdir(parents=True, exist_ok=True)
app = Celery("tasks", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": places["queue"],
    "data_folder_out": places["queue"],
    "processed_folder": places["processed"],
    "control_folder": places["control"],
}
log = logging.getLogger("tasks")


@app.task  # type: ignore[untyped-decorator]
def work(number: int) -> None:
    log.warning("task %d done", number)
    print(f"task {number} printed", flush=True)
    (folder / f"done-{number}").touch()


if __name__ == "__main__":
    for number in range(int(sys.argv[1])):
        work.delay(number)
