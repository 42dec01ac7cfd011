"""Which products to recommend. Pure: baskets and products in, a ranked list with reasons out."""

from __future__ import annotations

from collections import Counter
from typing import Any

Product = dict[str, Any]


def rank(
    products: list[Product], about: list[int], baskets: list[list[int]], owned: set[int], limit: int
) -> list[Product]:
    """Bought together first, then the same category, then whatever is plentiful; never what is owned or sold out."""
    together = Counter(i for basket in baskets for i in set(basket) if i not in about)
    liked = {product["category"] for product in products if product["id"] in about}

    def score(product: Product) -> tuple[int, bool, int]:
        return together[product["id"]], product["category"] in liked, product["stock"]

    def reason(product: Product) -> str:
        if times := together[product["id"]]:
            return f"bought together {times} times" if times > 1 else "bought together"
        return f"more from {product['category']}" if product["category"] in liked else "well stocked"

    offered = [p for p in products if p["stock"] > 0 and p["id"] not in owned and p["id"] not in about]
    return [p | {"reason": reason(p)} for p in sorted(offered, key=score, reverse=True)[:limit]]
