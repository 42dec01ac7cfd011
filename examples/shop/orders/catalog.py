"""The catalog as orders sees it: prices and stock over HTTP."""

from __future__ import annotations

from typing import Any

import httpx2
from problem import Problem, broken, unavailable

TIMEOUT = httpx2.Timeout(2.0, connect=0.5)  # seconds


class Catalog:
    """A client with its own connection pool; safe to share between threads."""

    def __init__(self, url: str) -> None:
        self._http = httpx2.Client(base_url=url, timeout=TIMEOUT, trust_env=False)

    def _call(self, method: str, path: str, headers: dict[str, str], body: dict[str, Any] | None = None) -> Any:
        try:
            answer = self._http.request(method, path, headers=headers, json=body)
            if answer.status_code in {502, 503, 504}:
                raise unavailable("catalog", f"{method} {path}: {answer.status_code}")
            if answer.status_code in {404, 409}:
                return answer
            answer.raise_for_status()
            return answer
        except httpx2.TransportError as error:
            raise unavailable("catalog", f"{type(error).__name__}: {error}") from error
        except httpx2.HTTPError as error:
            raise broken("catalog", error) from error

    def products(self, ids: list[int], headers: dict[str, str]) -> dict[int, dict[str, Any]]:
        """The products with these ids; those that do not exist are left out."""
        try:
            found = self._call("GET", f"/products?ids={','.join(map(str, ids))}", headers).json()["products"]
            return {product["id"]: product for product in found}
        except (ValueError, KeyError, TypeError) as error:
            raise broken("catalog", error) from error

    def reserve(self, product_id: int, quantity: int, reservation: str, headers: dict[str, str]) -> None:
        """Take items out of stock; raises Problem 409 when there are too few."""
        body = {"quantity": quantity, "reservation": reservation}
        answer = self._call("POST", f"/products/{product_id}/reserve", headers, body)
        if answer.status_code != 200:
            raise Problem(409, "out_of_stock", "Out of stock", product_id=product_id, wanted=quantity)

    def release(self, product_id: int, reservation: str, headers: dict[str, str]) -> None:
        """Put items back; harmless when nothing was reserved."""
        self._call("POST", f"/products/{product_id}/release", headers, {"reservation": reservation})
