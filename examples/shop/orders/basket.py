"""What a customer may send us: a name and a list of items. Pure."""

from __future__ import annotations

from typing import Any

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
