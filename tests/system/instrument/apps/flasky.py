"""A Flask app that knows nothing of telemetry."""

import logging

from flask import Flask, Response

logging.basicConfig(level=logging.INFO)
app = Flask(__name__)


@app.get("/healthz")
def healthz() -> str:
    return "ok"


@app.get("/orders/<int:number>")
def order(number: int) -> Response:
    app.logger.info("order %d taken", number)
    response = Response(f"{number}")
    response.call_on_close(lambda: print(f"order {number} printed", flush=True))
    return response


if __name__ == "__main__":
    import os

    app.run(port=int(os.environ["PORT"]))
