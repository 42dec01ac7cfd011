"""Products, stock and reservations in one SQLite file that several instances share.

Rollback journal, not WAL: it is safe between processes with every SQLite a distribution ships, and a shop reads far more
than it writes. Every write is one IMMEDIATE transaction, so two instances can never sell the same last item.
"""

from __future__ import annotations

import queue
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from seed import PRODUCTS

SCHEMA = """
CREATE TABLE IF NOT EXISTS products (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL, category TEXT NOT NULL, price_cents INTEGER NOT NULL,
  stock INTEGER NOT NULL CHECK (stock >= 0), restocked INTEGER NOT NULL, description TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS reservations (
  reservation TEXT NOT NULL, product_id INTEGER NOT NULL, quantity INTEGER NOT NULL, at REAL NOT NULL,
  PRIMARY KEY (reservation, product_id));
CREATE TABLE IF NOT EXISTS images (
  product_id INTEGER PRIMARY KEY, sha256 TEXT NOT NULL, bytes INTEGER NOT NULL, media_type TEXT NOT NULL);
"""
COLUMNS = """p.id, p.name, p.category, p.price_cents, p.stock, p.description,
  i.sha256 AS image_sha256, i.bytes AS image_bytes, i.media_type AS image_type
  FROM products p LEFT JOIN images i ON i.product_id = p.id"""
LOW, DELIVERY = 20, 200  # items: below LOW the supplier brings DELIVERY more, so a demo can run for weeks
DAY = 86_400.0  # seconds; a reservation is remembered this long for a caller who repeats itself

Row = dict[str, Any]


class UnknownProduct(Exception):
    """No product has this id."""


class OutOfStock(Exception):
    """Fewer items are left than were asked for."""

    def __init__(self, left: int) -> None:
        super().__init__(left)
        self.left = left


class Products:
    """The catalog's table. Blocking: call it from a worker thread."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        with self._write() as db:
            for statement in filter(str.strip, SCHEMA.split(";")):
                db.execute(statement)
            db.executemany(
                "INSERT OR IGNORE INTO products VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(n, name, cat, cents, stock, stock > 0, text)
                 for n, (name, cat, cents, stock, text) in enumerate(PRODUCTS, 1)],
            )  # fmt: skip

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        try:
            db = self._idle.get_nowait()
        except queue.Empty:
            db = sqlite3.connect(self._path, timeout=5, isolation_level=None, check_same_thread=False)
            db.row_factory = sqlite3.Row
        try:
            yield db
        finally:
            self._idle.put(db)

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._read() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the idle connections."""
        while not self._idle.empty():
            self._idle.get_nowait().close()

    def count(self) -> int:
        """How many products there are; raises sqlite3.Error when the file does not answer."""
        with self._read() as db:
            return int(db.execute("SELECT count(*) FROM products").fetchone()[0])

    def search(self, text: str = "", ids: list[int] | None = None, limit: int = 100) -> list[Row]:
        """Products whose name, category or description contains the text, or those with the ids."""
        pattern = "%" + text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        where = "(p.name LIKE ?1 ESCAPE '\\' OR p.category LIKE ?1 ESCAPE '\\' OR p.description LIKE ?1 ESCAPE '\\')"
        if ids is not None:
            where += f" AND p.id IN ({','.join(str(int(i)) for i in ids)})"
        with self._read() as db:
            rows = db.execute(f"SELECT {COLUMNS} WHERE {where} ORDER BY p.id LIMIT ?2", (pattern, limit)).fetchall()
        return [dict(row) for row in rows]

    def find(self, product_id: int) -> Row:
        """One product; raises UnknownProduct."""
        with self._read() as db:
            row = db.execute(f"SELECT {COLUMNS} WHERE p.id = ?", (product_id,)).fetchone()
        if row is None:
            raise UnknownProduct(product_id)
        return dict(row)

    def any(self) -> Row:
        """A product by chance, as it is now."""
        with self._read() as db:
            return dict(db.execute(f"SELECT {COLUMNS} ORDER BY random() LIMIT 1").fetchone())

    def reserve(self, product_id: int, quantity: int, reservation: str) -> Row:
        """Take items out of stock, once per reservation name; raises UnknownProduct, OutOfStock."""
        with self._write() as db:
            known = db.execute("SELECT stock FROM products WHERE id = ?", (product_id,)).fetchone()
            if known is None:
                raise UnknownProduct(product_id)
            again = "SELECT 1 FROM reservations WHERE reservation = ? AND product_id = ?"
            if db.execute(again, (reservation, product_id)).fetchone() is None:
                if known["stock"] < quantity:
                    raise OutOfStock(known["stock"])
                db.execute("UPDATE products SET stock = stock - ? WHERE id = ?", (quantity, product_id))
                db.execute(
                    "INSERT INTO reservations VALUES (?, ?, ?, ?)", (reservation, product_id, quantity, time.time())
                )
        return self.find(product_id)

    def release(self, product_id: int, reservation: str) -> Row:
        """Put a reservation's items back, if it holds any; raises UnknownProduct."""
        with self._write() as db:
            held = db.execute(
                "DELETE FROM reservations WHERE reservation = ? AND product_id = ? RETURNING quantity",
                (reservation, product_id),
            ).fetchall()
            for row in held:
                db.execute("UPDATE products SET stock = stock + ? WHERE id = ?", (row["quantity"], product_id))
        return self.find(product_id)

    def restock(self) -> int:
        """Let the supplier deliver what runs low and forget old reservations; the number of products delivered."""
        with self._write() as db:
            db.execute("DELETE FROM reservations WHERE at < ?", (time.time() - DAY,))
            low = "UPDATE products SET stock = stock + ? WHERE restocked AND stock < ?"
            with closing(db.execute(low, (DELIVERY, LOW))) as done:
                return done.rowcount

    def set_image(self, product_id: int, sha256: str, size: int, media_type: str) -> str | None:
        """Point a product at its new picture; the digest of the old one if nobody uses it now."""
        with self._write() as db:
            old = db.execute("SELECT sha256 FROM images WHERE product_id = ?", (product_id,)).fetchone()
            db.execute("INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?)", (product_id, sha256, size, media_type))
            if old is None:
                return None
            used = db.execute("SELECT 1 FROM images WHERE sha256 = ?", (old["sha256"],)).fetchone()
        return None if used else str(old["sha256"])
