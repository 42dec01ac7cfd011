"""A FastAPI app that knows nothing of telemetry."""

import logging
import os

from fastapi import FastAPI

logging.basicConfig(level=logging.INFO)
log = logging.getLogger("shop")
app = FastAPI()


@app.get("/healthz")
def healthz() -> dict[str, str]:
    print("healthy")
    return {}


@app.get("/orders/{number}")
async def order(number: int) -> dict[str, int]:
    log.info("order %d taken", number, extra={"order": number})
    print(f"order {number} printed")
    return {"number": number, "pid": os.getpid()}


@app.get("/threads/{number}")
def in_a_thread(number: int) -> dict[str, int]:
    log.info("order %d taken", number)
    return {"number": number}


@app.get("/broken")
def broken() -> None:
    raise RuntimeError("out of paper")
