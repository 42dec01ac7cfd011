"""Placing an order: price it, write it down, reserve the stock, take the money; undo what was done if a step fails."""

from __future__ import annotations

import secrets
from typing import Any

from book import Book, Order
from catalog import Catalog
from payments import Payments
from problem import Problem

MOST_LINES, MOST_ITEMS, LONGEST_NAME = 50, 100, 100


def parse(body: Any) -> tuple[str, dict[int, int]]:
    """The customer, and quantity by product; raises Problem 422 naming the first thing that is wrong."""

    def wrong(detail: str) -> Problem:
        return Problem(422, "invalid_order", "This is no order", detail=detail)

    if not isinstance(body, dict):
        raise wrong("a JSON object with customer and items is needed")
    customer, items = body.get("customer"), body.get("items")
    if not isinstance(customer, str) or not 0 < len(customer.strip()) <= LONGEST_NAME or not customer.isprintable():
        raise wrong(f"customer: a name of 1 to {LONGEST_NAME} printable characters is needed")
    if not isinstance(items, list) or not 0 < len(items) <= MOST_LINES:
        raise wrong(f"items: a list of 1 to {MOST_LINES} is needed")
    quantities: dict[int, int] = {}
    for item in items:
        product_id, quantity = (item.get("product_id"), item.get("quantity")) if isinstance(item, dict) else (0, 0)
        if type(product_id) is not int or not 0 < product_id < 10**9:
            raise wrong("items: product_id must be a positive whole number")
        quantities[product_id] = quantities.get(product_id, 0) + (quantity if type(quantity) is int else 0)
        if type(quantity) is not int or quantity < 1 or quantities[product_id] > MOST_ITEMS:
            raise wrong(f"items: quantity must be a whole number from 1 to {MOST_ITEMS}")
    return customer.strip(), quantities


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
