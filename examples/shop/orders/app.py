"""The orders service. Flask under gunicorn's threads, an SQLite file of its own, catalog over HTTP, payments over gRPC."""

from __future__ import annotations

import json
import os
import sqlite3
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fulfilment
from basket import parse
from book import Book
from catalog import Catalog
from checkout import Checkout
from flask import Flask, Response, g, jsonify, request
from payments import Payments, endpoint
from problem import Problem
from werkzeug.exceptions import HTTPException

DATA = Path(os.environ.get("SHOP_DATA") or Path(__file__).resolve().parent.parent / "data")
PASSED_ON = ("traceparent", "tracestate", "x-request-id")

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 65_536  # bytes; an order is small
app.json.sort_keys = False
book = Book(DATA / "orders.db")
checkout = Checkout(book, Catalog(os.environ["CATALOG_URL"]), Payments(endpoint(os.environ)))


@app.before_request
def start_clock() -> None:
    g.started = time.perf_counter()


@app.after_request
def log(response: Response) -> Response:
    """Print one line when the last byte has left; a passing health check is no news."""
    if request.path == "/healthz" and response.status_code == 200:
        return response
    started, status = g.started, response.status_code
    what = f"{request.method} {request.environ.get('RAW_URI', '/')}"
    request_id = request.headers.get("x-request-id", "-")

    def write() -> None:
        print(f"{what} {status} {(time.perf_counter() - started) * 1000:.1f}ms id={request_id}", flush=True)

    response.call_on_close(write)
    return response


@app.errorhandler(Problem)
def on_problem(problem: Problem) -> Response:
    response = jsonify(problem.body)
    response.status_code, response.content_type = problem.status, "application/problem+json"
    if problem.status == 503:
        response.headers["Retry-After"] = "1"
    return response


@app.errorhandler(HTTPException)
def on_http(error: HTTPException) -> Response:
    return on_problem(Problem(error.code or 500, error.name.lower().replace(" ", "_"), error.name))


@app.errorhandler(sqlite3.Error)
def on_database(error: sqlite3.Error) -> Response:
    return on_problem(Problem(503, "database_unavailable", "The order book does not answer", detail=str(error)))


@app.errorhandler(Exception)
def on_bug(error: Exception) -> Response:
    traceback.print_exception(error)
    return on_problem(Problem(500, "internal", "Something is wrong on our side", detail=type(error).__name__))


def passed_on() -> dict[str, str]:
    """The headers that make our calls part of the caller's trace."""
    return {name: request.headers[name] for name in PASSED_ON if name in request.headers}


def limit(most: int, default: int) -> int:
    """The `limit` parameter, kept within bounds."""
    return max(1, min(request.args.get("limit", default, int), most))


@app.get("/healthz")
def healthz() -> dict[str, Any]:
    return {"status": "ok", "orders": book.count()}


@app.post("/orders")
def place_order() -> tuple[dict[str, Any], int, dict[str, str]]:
    customer, quantities = parse(request.get_json(force=True, silent=True))
    order = checkout.place(customer, quantities, passed_on())
    return order, 201, {"Location": f"/orders/{order['id']}"}


@app.get("/orders")
def list_orders() -> dict[str, Any]:
    customer = request.args.get("customer", "")
    if not customer:
        raise Problem(400, "customer_needed", "Whose orders? Say ?customer=")
    return {"orders": book.of(customer, limit(100, 20))}


@app.get("/orders/<order_id>")
def get_order(order_id: str) -> dict[str, Any]:
    if (order := book.find(order_id)) is None:
        raise Problem(404, "unknown_order", "No such order")
    return order


@app.get("/baskets")
def baskets() -> dict[str, Any]:
    """For recommendations; lies outside /orders, so the gateway does not show it to the world."""
    return {"baskets": book.baskets(request.args.get("product_id", 0, int), limit(500, 100))}


@app.get("/orders/<order_id>/events")
def events(order_id: str) -> Response:
    order = get_order(order_id)
    after = request.headers.get("last-event-id", "")
    first = int(after) if after.isdecimal() and len(after) < 4 else 0

    def stream() -> Iterator[str]:
        for number, stage in enumerate(fulfilment.stages(order["outcome"])[first:], first + 1):
            if number > first + 1:
                time.sleep(fulfilment.STEP)
            yield f"id: {number}\nevent: {stage}\ndata: {json.dumps({'order_id': order_id, 'status': stage})}\n\n"

    return Response(stream(), mimetype="text/event-stream", headers={"Cache-Control": "no-store"})
