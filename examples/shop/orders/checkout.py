"""Placing an order: price it, write it down, reserve the stock, take the money; undo what was done if a step fails."""

from __future__ import annotations

import secrets

from book import Book, Order
from catalog import Catalog
from payments import Payments
from problem import Problem


class Checkout:
    """The one way an order comes into the book."""

    def __init__(self, book: Book, catalog: Catalog, payments: Payments) -> None:
        self._book, self._catalog, self._payments = book, catalog, payments

    def place(self, customer: str, quantities: dict[int, int], headers: dict[str, str]) -> Order:
        """The paid order; raises Problem when it could not be completed, and then nothing stays reserved."""
        products = self._catalog.products(list(quantities), headers)
        if missing := sorted(set(quantities) - set(products)):
            raise Problem(422, "unknown_product", "No such product", product_ids=missing)
        items = [
            {"product_id": i, "name": products[i]["name"], "price_cents": products[i]["price_cents"], "quantity": n}
            for i, n in quantities.items()
        ]
        order_id = f"o_{secrets.token_hex(8)}"
        self._book.open(order_id, customer, items)
        total = sum(item["price_cents"] * item["quantity"] for item in items)
        tried: list[int] = []
        try:
            for product_id, quantity in quantities.items():
                tried.append(product_id)
                self._catalog.reserve(product_id, quantity, order_id, headers)
            charge_id = self._payments.charge(order_id, customer, total, headers)
        except BaseException as error:
            self._release(tried, order_id, headers)
            outcome = error.code if isinstance(error, Problem) and error.status < 500 else "failed"
            self._book.settle(order_id, outcome)
            if isinstance(error, Problem):
                error.body["order_id"] = order_id
            raise
        self._book.settle(order_id, "paid", charge_id)
        order = self._book.find(order_id)
        assert order is not None
        return order

    def _release(self, tried: list[int], order_id: str, headers: dict[str, str]) -> None:
        for product_id in tried:
            try:
                self._catalog.release(product_id, order_id, headers)
            except Problem as problem:
                print(f"order {order_id}: product {product_id} stays reserved: {problem.code}", flush=True)
