"""The shop's own rules: what an order is, how it moves on, what is recommended. Pure parts only, loaded by folder."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SHOP = Path(__file__).resolve().parents[3] / "examples" / "shop"
MODULES = {"fulfilment": "orders", "basket": "orders", "problem": "orders", "ranking": "recommendations"}


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Import one module of one service, and forget it afterwards: services may use the same names."""

    def load(name: str) -> Any:
        monkeypatch.syspath_prepend(str(SHOP / MODULES[name]))
        return importlib.import_module(name)

    yield load
    for name in MODULES:
        sys.modules.pop(name, None)


def product(number: int, category: str = "Desk", stock: int = 5) -> dict[str, Any]:
    return {"id": number, "name": f"product {number}", "category": category, "stock": stock}


@pytest.mark.parametrize(
    ("age", "status"), [(-1, "paid"), (0, "paid"), (0.19, "paid"), (0.2, "packed"), (0.41, "shipped"), (9, "delivered")]
)
def test_a_paid_order_moves_on_with_its_age(shop: Any, age: float, status: str) -> None:
    assert shop("fulfilment").status("paid", age) == status


def test_an_order_that_was_not_paid_stays_where_it_is(shop: Any) -> None:
    fulfilment = shop("fulfilment")
    assert fulfilment.status("declined", 100) == "declined"
    assert fulfilment.stages("declined") == ("created", "declined")
    assert fulfilment.stages("created") == ("created",)


def test_quantities_of_the_same_product_add_up(shop: Any) -> None:
    items = [{"product_id": 3, "quantity": 2}, {"product_id": 3, "quantity": 1}, {"product_id": 4, "quantity": 1}]
    assert shop("basket").parse({"customer": " ada ", "items": items}) == ("ada", {3: 3, 4: 1})


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"customer": "ada"},
        {"customer": "ada", "items": []},
        {"customer": "ada", "items": ["x"]},
        {"customer": "", "items": [{"product_id": 1, "quantity": 1}]},
        {"customer": "a\nb", "items": [{"product_id": 1, "quantity": 1}]},
        {"customer": "a\x1b[31m", "items": [{"product_id": 1, "quantity": 1}]},
        {"customer": "a\x00", "items": [{"product_id": 1, "quantity": 1}]},
        {"customer": "\ud800", "items": [{"product_id": 1, "quantity": 1}]},
        {"customer": "a" * 101, "items": [{"product_id": 1, "quantity": 1}]},
        {"customer": "ada", "items": [{"product_id": True, "quantity": 1}]},
        {"customer": "ada", "items": [{"product_id": "1", "quantity": 1}]},
        {"customer": "ada", "items": [{"product_id": 10**12, "quantity": 1}]},
        {"customer": "ada", "items": [{"product_id": 1, "quantity": 0}]},
        {"customer": "ada", "items": [{"product_id": 1, "quantity": 1.5}]},
        {"customer": "ada", "items": [{"product_id": 1, "quantity": 60}, {"product_id": 1, "quantity": 60}]},
        {"customer": "ada", "items": [{"product_id": n, "quantity": 1} for n in range(1, 52)]},
    ],
)
def test_what_is_no_order_is_refused_with_422(shop: Any, body: Any) -> None:
    basket, problem = shop("basket"), shop("problem")
    with pytest.raises(problem.Problem) as refused:
        basket.parse(body)
    assert refused.value.status == 422
    assert refused.value.body["detail"]


def test_bought_together_comes_before_the_same_category(shop: Any) -> None:
    products = [product(1), product(2), product(3, "Books", stock=1), product(4, "Books", stock=99)]
    ranked = shop("ranking").rank(products, about=[1], baskets=[[1, 3], [1, 3]], owned=set(), limit=10)
    assert [(p["id"], p["reason"]) for p in ranked] == [
        (3, "bought together 2 times"),
        (2, "more from Desk"),
        (4, "well stocked"),
    ]


def test_nothing_is_recommended_that_is_owned_sold_out_or_asked_about(shop: Any) -> None:
    products = [product(1), product(2), product(3, stock=0), product(4)]
    ranked = shop("ranking").rank(products, about=[1], baskets=[], owned={2}, limit=10)
    assert [p["id"] for p in ranked] == [4]


def test_recommendations_keep_to_their_limit(shop: Any) -> None:
    ranked = shop("ranking").rank([product(n) for n in range(1, 30)], about=[], baskets=[], owned=set(), limit=3)
    assert len(ranked) == 3
