"""The ledger: every charge in one SQLite file, one row an order, and a growing revision that watchers follow."""

from __future__ import annotations

import queue
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from payments_pb2 import DECLINED, PAID, REFUNDED, ChargeRecord

SCHEMA = """
CREATE TABLE IF NOT EXISTS charges (
  id TEXT PRIMARY KEY, order_id TEXT NOT NULL UNIQUE, customer TEXT NOT NULL, amount_cents INTEGER NOT NULL,
  currency TEXT NOT NULL, status INTEGER NOT NULL, reason TEXT NOT NULL, created_at_ms INTEGER NOT NULL,
  revision INTEGER NOT NULL UNIQUE)
"""
NEXT = "(SELECT coalesce(max(revision), 0) + 1 FROM charges)"
LIMIT_CENTS = 500_000  # the most one charge may be


def verdict(customer: str, amount_cents: int) -> str:
    """Why the bank declines; empty when it pays. A customer called "declined" makes the unhappy path easy to see."""
    if "declined" in customer.lower():
        return "the bank declined the card"
    if amount_cents > LIMIT_CENTS:
        return "the amount is above the card's limit"
    return ""


class Ledger:
    """Blocking; every method is one short transaction."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        with self._connection() as db:
            db.execute(SCHEMA)

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

    def charge(self, order_id: str, customer: str, amount_cents: int, currency: str) -> ChargeRecord:
        """Charge an order once; the record that was made then when it is asked again."""
        reason = verdict(customer, amount_cents)
        status = DECLINED if reason else PAID
        row = (f"ch_{secrets.token_hex(8)}", order_id, customer, amount_cents, currency, status, reason, now_ms())
        with self._connection() as db:
            db.execute(f"INSERT INTO charges VALUES (?,?,?,?,?,?,?,?,{NEXT}) ON CONFLICT (order_id) DO NOTHING", row)
        return self.find(order_id=order_id)

    def refund(self, charge_id: str = "", order_id: str = "") -> ChargeRecord:
        """Give a paid charge back; raises KeyError when there is none."""
        which = "id = ?" if charge_id else "order_id = ?"
        with self._connection() as db:
            db.execute(
                f"UPDATE charges SET status = ?, revision = {NEXT} WHERE {which} AND status = ?",
                (REFUNDED, charge_id or order_id, PAID),
            )
        return self.find(charge_id, order_id)

    def find(self, charge_id: str = "", order_id: str = "") -> ChargeRecord:
        """One charge, by its id or its order's; raises KeyError."""
        which = "id = ?" if charge_id else "order_id = ?"
        with self._connection() as db:
            row = db.execute(f"SELECT * FROM charges WHERE {which}", (charge_id or order_id,)).fetchone()
        if row is None:
            raise KeyError(charge_id or order_id)
        return ChargeRecord(**dict(row))

    def revision(self) -> int:
        """The newest revision; 0 when nothing was ever charged."""
        with self._connection() as db:
            return int(db.execute("SELECT coalesce(max(revision), 0) FROM charges").fetchone()[0])

    def since(self, revision: int, customer: str = "", limit: int = 100) -> list[ChargeRecord]:
        """What changed after a revision, oldest first."""
        query = "SELECT * FROM charges WHERE revision > ?1 AND (?2 = '' OR customer = ?2) ORDER BY revision LIMIT ?3"
        with self._connection() as db:
            return [ChargeRecord(**dict(row)) for row in db.execute(query, (revision, customer, limit)).fetchall()]


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000
