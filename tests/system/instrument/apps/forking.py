"""A parent that uses telemetry, then forks children that do: as Celery's prefork pool, or gunicorn --preload."""

import logging
import multiprocessing
import os
import sys
import urllib.request

log = logging.getLogger("work")
log.setLevel("INFO")


def call() -> None:
    urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/")


def work(number: int) -> None:
    call()
    log.info("task %d", number)


call()
children = []
for number in range(3):
    pid = os.fork()
    if not pid:
        work(number)
        sys.exit()
    children.append(pid)
for pid in children:
    os.waitpid(pid, 0)
pool = [multiprocessing.get_context("fork").Process(target=work, args=(number,)) for number in range(3, 6)]
for one in pool:
    one.start()
for one in pool:
    one.join()
