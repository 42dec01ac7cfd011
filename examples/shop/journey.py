"""A customer's journey through the shop: browse, search, look, be recommended, order, pay, watch it travel, read it back.

Standard library only. From a shell: `python journey.py --base http://127.0.0.1:8080 --forever`; from a test: `run_once(base)`.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import secrets
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

TIMEOUT = 10.0  # seconds for each request
STAGES = ["created", "paid", "packed", "shipped", "delivered"]
NAMES = ["ada", "grace", "linus", "barbara", "edsger", "radia", "dennis", "margaret"]
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class JourneyFailed(Exception):
    """A step did not do what the shop promises; the message says which and why."""


@dataclass(frozen=True)
class Step:
    """One step that went well."""

    name: str
    ms: float
    detail: str


@dataclass
class Journey:
    """What happened, step by step, and what came of it."""

    base: str
    customer: str
    request_id: str
    steps: list[Step] = field(default_factory=list)
    product: dict[str, Any] = field(default_factory=dict)
    recommended: dict[str, Any] = field(default_factory=dict)
    order: dict[str, Any] = field(default_factory=dict)

    @property
    def ms(self) -> float:
        """All steps together, in milliseconds."""
        return sum(step.ms for step in self.steps)


def printable(text: object, most: int = 300) -> str:
    """Text from a server, safe to print on a terminal."""
    return "".join(c if c.isprintable() else "?" for c in str(text))[:most]


def run_once(base: str, tell: Callable[[Step], None] = lambda _: None, customer: str | None = None) -> Journey:
    """Make the whole journey through the gateway at `base`; raises JourneyFailed at the first step that goes wrong."""
    customer = customer or f"{random.choice(NAMES)}-{secrets.token_hex(2)}"
    journey = Journey(base.rstrip("/"), customer, f"journey-{secrets.token_hex(6)}")
    for name, walk in STEPS.items():
        started = time.perf_counter()
        try:
            detail = walk(journey)
        except JourneyFailed as failure:
            raise JourneyFailed(f"{name}: {failure}") from None
        except urllib.error.HTTPError as error:
            said = printable(error.read(600).decode(errors="replace"))
            raise JourneyFailed(f"{name}: {error.code} from {error.url}: {said}") from error
        except (OSError, http.client.HTTPException) as error:
            raise JourneyFailed(f"{name}: {journey.base}: {printable(error)}") from error
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise JourneyFailed(f"{name}: unexpected answer: {type(error).__name__} {printable(error)}") from error
        step = Step(name, (time.perf_counter() - started) * 1000, printable(detail))
        journey.steps.append(step)
        tell(step)
    return journey


def call(journey: Journey, path: str, body: Any = None, accept: str = "application/json") -> http.client.HTTPResponse:
    """Send one request; a POST when there is a body."""
    headers = {"x-request-id": journey.request_id, "accept": accept, "content-type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    answer: http.client.HTTPResponse = opener.open(
        urllib.request.Request(journey.base + path, data, headers), timeout=TIMEOUT
    )
    return answer


def read(journey: Journey, path: str, body: Any = None) -> Any:
    """The JSON of an answer."""
    with call(journey, path, body) as answer:
        return json.load(answer)


def expect(fact: bool, otherwise: str) -> None:
    """Fail the step with a sentence when the fact is none."""
    if not fact:
        raise JourneyFailed(printable(otherwise))


def browse_home(journey: Journey) -> str:
    """The page itself, then its data, put together from three services."""
    with call(journey, "/", accept="text/html") as answer:
        expect(b"<title>Lagoon Supply</title>" in answer.read(), "the page is not the shop's")
    home = read(journey, f"/api/home?customer={quote(journey.customer)}")
    expect(len(home["products"]) >= 40, f"only {len(home['products'])} products")
    expect(not home["degraded"], f"the page works without {home['degraded']}")
    journey.product = random.choice([p for p in home["products"] if p["stock"] > 3 and p["price_cents"] < 20_000])
    return f"{len(home['products'])} products, {len(home['recommendations'])} recommended"


def search(journey: Journey) -> str:
    """Look for the product by the first word of its name, and find it."""
    word = journey.product["name"].split()[0].strip(",")
    found = read(journey, f"/api/catalog/products?q={quote(word)}")["products"]
    expect(any(p["id"] == journey.product["id"] for p in found), f"“{word}” does not find {journey.product['name']}")
    return f"“{word}” finds {len(found)}"


def look(journey: Journey) -> str:
    """One product, and which instance of the catalog told us."""
    with call(journey, f"/api/catalog/products/{journey.product['id']}") as answer:
        instance, journey.product = answer.headers.get("x-instance", ""), json.load(answer)
    price = journey.product["price_cents"] / 100
    return f"{journey.product['name']}, {price:.2f} EUR" + (f" (from {instance})" if instance else "")


def recommendations(journey: Journey) -> str:
    """What goes with it."""
    answer = read(
        journey, f"/api/recommendations?product_id={journey.product['id']}&customer={quote(journey.customer)}"
    )
    expect(not answer["degraded"], f"recommended without {answer['degraded']}")
    journey.recommended = answer["recommendations"][0]
    return f"{journey.recommended['name']} ({journey.recommended['reason']})"


def order(journey: Journey) -> str:
    """Two of the product and one of what was recommended, at the prices the catalog says."""
    two, one = journey.product, journey.recommended
    items = [{"product_id": two["id"], "quantity": 2}, {"product_id": one["id"], "quantity": 1}]
    with call(journey, "/checkout", {"customer": journey.customer, "items": items}) as answer:
        expect(answer.status == 201, f"{answer.status} instead of 201")
        journey.order = json.load(answer)
    total = 2 * two["price_cents"] + one["price_cents"]
    expect(journey.order["total_cents"] == total, "the total is not what the catalog says")
    return f"{journey.order['id']}, {journey.order['total_cents'] / 100:.2f} EUR"


def pay(journey: Journey) -> str:
    """The order came back paid, with the charge that paid for it."""
    expect(journey.order["outcome"] == "paid", f"the order is {journey.order['outcome']}")
    expect(str(journey.order["charge_id"]).startswith("ch_"), "there is no charge")
    return str(journey.order["charge_id"])


def watch(journey: Journey) -> str:
    """Follow the order by server-sent events until the stream ends."""
    with call(journey, f"/api/orders/{journey.order['id']}/events", accept="text/event-stream") as answer:
        stages = list(events(answer))
    expect(stages == STAGES, f"events were {stages}")
    return " → ".join(stages)


def events(lines: Iterator[bytes]) -> Iterator[str]:
    """The event names of a text/event-stream."""
    for line in lines:
        if line.startswith(b"event:"):
            yield line[6:].strip().decode()


def read_back(journey: Journey) -> str:
    """The order as the shop remembers it, alone and among the customer's orders."""
    again = read(journey, f"/api/orders/{journey.order['id']}")
    expect(again["status"] == "delivered", f"the order is {again['status']}")
    expect(again["items"] == journey.order["items"], "other items than ordered")
    mine = read(journey, f"/api/orders?customer={quote(journey.customer)}")["orders"]
    expect(journey.order["id"] in [o["id"] for o in mine], "the order is not in the customer's list")
    journey.order = again
    return again["status"]


STEPS: dict[str, Callable[[Journey], str]] = {
    "browse home": browse_home,
    "search": search,
    "look at a product": look,
    "recommendations": recommendations,
    "order": order,
    "pay": pay,
    "watch the order": watch,
    "read it back": read_back,
}


def main() -> int:
    """Run journeys and report them; 1 when one failed."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--base", default="http://127.0.0.1:8080", help="the gateway (default %(default)s)")
    many = options.add_mutually_exclusive_group()
    many.add_argument("--rounds", type=int, default=1, help="how many journeys (default 1)")
    many.add_argument("--forever", action="store_true", help="until Ctrl-C")
    options.add_argument("--interval", type=float, default=1.0, help="seconds between two journeys (default 1)")
    chosen = options.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    done = 0
    try:
        while chosen.forever or done < chosen.rounds:
            if done:
                time.sleep(chosen.interval)
            print(f"journey {done + 1}", flush=True)
            journey = run_once(chosen.base, lambda s: print(f"  ✓ {s.name:<18}{s.ms:8.1f} ms  {s.detail}", flush=True))
            done += 1
            print(f"  {journey.customer}'s order {journey.order['status']} after {journey.ms / 1000:.2f} s", flush=True)
    except JourneyFailed as failure:
        print(f"  ✗ {failure}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        print(f"{done} journeys, all delivered", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
