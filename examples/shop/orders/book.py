"""The order book: every order in one SQLite file of this service."""

from __future__ import annotations

import json
import queue
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fulfilment

SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
  id TEXT PRIMARY KEY, customer TEXT NOT NULL, total_cents INTEGER NOT NULL, currency TEXT NOT NULL,
  outcome TEXT NOT NULL, charge_id TEXT, created_at REAL NOT NULL, changed_at REAL NOT NULL, items TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS orders_by_customer ON orders (customer, created_at);
CREATE TABLE IF NOT EXISTS items (order_id TEXT NOT NULL, product_id INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS items_by_product ON items (product_id);
CREATE INDEX IF NOT EXISTS items_by_order ON items (order_id)
"""

Order = dict[str, Any]


class Book:
    """Blocking; every method is one short transaction."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        with self._connection() as db:
            for statement in SCHEMA.split(";"):
                db.execute(statement)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            db = self._idle.get_nowait()
        except queue.Empty:
            db = sqlite3.connect(self._path, timeout=5, isolation_level=None, check_same_thread=False)
            db.row_factory = sqlite3.Row
        try:
            yield db
        finally:
            self._idle.put(db)

    def count(self) -> int:
        """How many orders there are; raises sqlite3.Error when the file does not answer."""
        with self._connection() as db:
            return int(db.execute("SELECT count(*) FROM orders").fetchone()[0])

    def open(self, order_id: str, customer: str, items: list[dict[str, Any]]) -> None:
        """Write a new order down before anything is promised for it."""
        now, total = time.time(), sum(item["price_cents"] * item["quantity"] for item in items)
        row = (order_id, customer, total, "EUR", "created", None, now, now, json.dumps(items))
        with self._connection() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                db.execute("INSERT INTO orders VALUES (?,?,?,?,?,?,?,?,?)", row)
                db.executemany("INSERT INTO items VALUES (?,?)", [(order_id, item["product_id"]) for item in items])
                db.execute("COMMIT")
            except BaseException:
                db.execute("ROLLBACK")
                raise

    def settle(self, order_id: str, outcome: str, charge_id: str | None = None) -> None:
        """Write down how the order ended: paid, out_of_stock, declined or failed."""
        with self._connection() as db:
            db.execute(
                "UPDATE orders SET outcome = ?, charge_id = ?, changed_at = ? WHERE id = ?",
                (outcome, charge_id, time.time(), order_id),
            )

    def find(self, order_id: str) -> Order | None:
        """One order as it stands now."""
        with self._connection() as db:
            row = db.execute("SELECT * FROM orders WHERE id = ?", (order_id,)).fetchone()
        return None if row is None else as_order(row)

    def of(self, customer: str, limit: int) -> list[Order]:
        """A customer's orders, newest first."""
        query = "SELECT * FROM orders WHERE customer = ? ORDER BY created_at DESC LIMIT ?"
        with self._connection() as db:
            return [as_order(row) for row in db.execute(query, (customer, limit)).fetchall()]

    def baskets(self, product_id: int, limit: int) -> list[list[int]]:
        """What was bought together with a product, newest first; product ids only, nobody's name."""
        query = """SELECT group_concat(i.product_id) FROM items i WHERE i.order_id IN (
          SELECT o.id FROM orders o JOIN items b ON b.order_id = o.id
          WHERE b.product_id = ? AND o.outcome = 'paid' ORDER BY o.created_at DESC LIMIT ?) GROUP BY i.order_id"""
        with self._connection() as db:
            return [[int(i) for i in row[0].split(",")] for row in db.execute(query, (product_id, limit)).fetchall()]


def as_order(row: sqlite3.Row) -> Order:
    """The row as the API shows it, its status computed for now."""
    order = dict(row) | {"items": json.loads(row["items"])}
    order["status"] = fulfilment.status(row["outcome"], time.time() - row["changed_at"])
    return order
