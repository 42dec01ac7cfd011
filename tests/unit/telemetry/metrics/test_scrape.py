"""The scraper: what it writes of a target, what it marks as ended, whom it asks and whom it leaves alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from atoll.kit.clock import Instant
from atoll.model.names import InstanceId, ServiceName
from atoll.model.service import Instance, Protocol, Scrape, Service, State
from atoll.settings import Telemetry
from atoll.telemetry.metrics.exposition import page_of
from atoll.telemetry.metrics.fetch import OPENMETRICS, Answer, NoAnswer
from atoll.telemetry.metrics.intake import Intake
from atoll.telemetry.metrics.points import Reason
from atoll.telemetry.metrics.scrape import Scraper
from atoll.telemetry.metrics.scraped import Scraped
from atoll.telemetry.metrics.target import AGAIN, Politeness, Target, targets_of
from atoll.testing import FakeClock
from tests.unit.telemetry.metrics.otlp_bodies import NOW
from tests.unit.telemetry.metrics.stage import STALE, Desk, Memory

CART = Target("cart", "cart-1", "127.0.0.1", 8000, asked_for=True)
REPORT = {"up": [1.0], "scrape_duration_seconds": [0.5], "scrape_samples_scraped": [1.0]}


class Visits:
    """One target that is scraped again and again, and what that writes."""

    def __init__(self, target: Target = CART, *, limit: int = 1000) -> None:
        self.desk = Desk(limit)
        self.state = Scraped(target)
        self._at = NOW

    def page(self, text: str | None, *, openmetrics: bool = False) -> dict[str, list[object]]:
        page = None if text is None else page_of(text, openmetrics=openmetrics)
        self._at += 15_000
        self.desk.book.begin(self._at)
        self.refused = self.state.take(self.desk.book, page, self._at, 0.5)
        return {name: list(values) for name, values in self.desk.values().items()}

    def end(self) -> dict[str, list[object]]:
        self.state.end(self.desk.book, self._at + 1)
        return {name: list(values) for name, values in self.desk.values().items()}


def test_a_page_is_written_with_how_the_scrape_went() -> None:
    assert Visits().page('cart_items{kind="book"} 3\n') == {"cart_items{kind=book}": [3.0], **REPORT}


def test_a_series_that_the_page_has_no_more_is_marked_as_ended_once() -> None:
    visits = Visits()
    visits.page("a 1\nb 2\n")
    assert visits.page("a 1\n") == {"a": [1.0], "b": [STALE], **REPORT}
    assert visits.page("a 1\n") == {"a": [1.0], **REPORT}
    assert visits.page("a 1\nb 3\n")["b"] == [3.0]


def test_everything_has_ended_when_there_is_no_page() -> None:
    visits = Visits()
    visits.page("a 1\nb 2\n")
    assert visits.page(None) == {
        "a": [STALE], "b": [STALE], "up": [0.0], "scrape_duration_seconds": [0.5], "scrape_samples_scraped": [0.0]
    }  # fmt: skip


def test_everything_has_ended_when_the_target_is_gone() -> None:
    visits = Visits()
    visits.page("a 1\n")
    assert visits.end() == {name: [STALE] for name in ("a", *REPORT)}


def test_a_time_on_the_page_is_honoured_and_such_a_series_does_not_end_with_the_page() -> None:
    visits = Visits()
    visits.page(f"a 1 {NOW + 10_000}\nb 2 {NOW - 90_000_000}\n")
    assert visits.refused == {Reason.TOO_OLD: 1}
    assert "a" not in visits.page("c 1\n")


def test_labels_of_the_page_do_not_hide_whose_it_is_unless_it_is_our_own() -> None:
    for own, expected in ((False, {"exported_service": "x", "service": "cart"}), (True, {"service": "x"})):
        visits = Visits(replace(CART, own_labels=own))
        visits.desk.book.begin(NOW)
        visits.state.take(visits.desk.book, page_of('a{service="x"} 1\n', openmetrics=False), NOW, 0.0)
        (labels,) = [one.labels for one in visits.desk.book.rows.series if one.name == "a"]
        assert labels == {"job": "cart", "instance": "cart-1", **expected}


def test_a_line_that_stands_twice_is_taken_once() -> None:
    visits = Visits()
    assert visits.page("a 1\na 2\n")["a"] == [1.0]
    assert visits.refused == {Reason.DUPLICATE: 1}


def test_a_page_with_labels_that_cannot_be_read_is_refused_as_a_whole() -> None:
    visits = Visits()
    visits.page("a 1\n")
    assert visits.page('a 1\nb{__name__="c"} 1\n') == {
        "a": [STALE], "up": [0.0], "scrape_duration_seconds": [0.5], "scrape_samples_scraped": [0.0]
    }  # fmt: skip
    assert visits.state.trouble


def test_an_exemplar_of_the_page_is_kept() -> None:
    visits = Visits()
    visits.desk.book.begin(NOW)
    page = page_of('# TYPE took histogram\ntook_bucket{le="1"} 1 # {trace_id="ab"} 0.5\n# EOF\n', openmetrics=True)
    visits.state.take(visits.desk.book, page, NOW, 0.0)
    (one,) = visits.desk.book.rows.exemplars
    assert (one.name, one.value, one.labels, one.at) == ("took_bucket", 0.5, {"trace_id": "ab"}, NOW)


def test_counters_of_a_page_beyond_the_limit_add_up() -> None:
    visits = Visits(limit=200)
    page = "# TYPE hits counter\n" + "".join(f'hits{{user="{no}"}} 2\n' for no in range(100))
    visits.page(page)
    values = visits.page(page.replace("} 2", "} 3"))
    assert sum(float(str(value[-1])) for name, value in values.items() if name.startswith("hits")) == 300.0
    assert values["hits{otel_metric_overflow=true}"] == [80 * 3.0]


# Whom it asks ------------------------------------------------------------------------------------------------------


def instance(service: str, name: str, *, state: State = State.PASSING, protocol: Protocol = Protocol.HTTP) -> Instance:
    return Instance(
        service=ServiceName(service), id=InstanceId(name), host="127.0.0.1", port=8000, state=state, protocol=protocol
    )


@pytest.mark.parametrize(
    ("scrape", "state", "protocol", "expected"),
    [
        (None, State.PASSING, Protocol.HTTP, (8000, False)),
        (None, State.FAILING, Protocol.HTTP, None),
        (None, State.PASSING, Protocol.GRPC, None),
        (Scrape(), State.FAILING, Protocol.GRPC, (8000, True)),
        (Scrape(port=9100), State.PASSING, Protocol.TCP, (9100, True)),
        (Scrape(), State.MAINT, Protocol.HTTP, None),
        (Scrape(enabled=False), State.PASSING, Protocol.HTTP, None),
    ],
)
def test_who_is_named_is_asked_and_an_http_service_may_be(
    scrape: Scrape | None, state: State, protocol: Protocol, expected: tuple[int, bool] | None
) -> None:
    service = Service(name=ServiceName("cart"), scrape=scrape)
    found = targets_of([service], [instance("cart", "cart-1", state=state, protocol=protocol)])
    assert [(target.port, target.asked_for) for target in found] == ([] if expected is None else [expected])


def test_one_instance_of_a_service_that_nobody_named_is_tried_and_not_again_for_an_hour() -> None:
    politeness = Politeness()
    tries = [Target("web", f"web-{no}", "h", 1) for no in range(3)]
    now = Instant(0.0)
    assert politeness.chosen(tries, now) == tries[:1]
    politeness.refuses(tries[0], now)
    assert politeness.chosen(tries, Instant(AGAIN - 1)) == []
    assert politeness.chosen(tries, Instant(AGAIN)) == tries[:1]
    assert politeness.chosen([replace(tries[0], version="2")], now) == [replace(tries[0], version="2")]


def test_all_instances_of_a_service_that_has_metrics_are_asked() -> None:
    politeness = Politeness()
    tries = [Target("web", f"web-{no}", "h", 1) for no in range(3)]
    politeness.exposes(tries[0])
    assert politeness.chosen(tries, Instant(0.0)) == tries


# The loop ----------------------------------------------------------------------------------------------------------


class Web:
    """Answers of targets by instance; remembers who was asked, and with which trace."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer | NoAnswer] = {}
        self.asked: list[str] = []
        self.traces: list[str] = []

    async def __call__(self, target: Target, trace: str) -> Answer:
        self.asked.append(target.instance)
        self.traces.append(trace)
        answer = self.answers.get(target.instance, NoAnswer("nobody"))
        if isinstance(answer, NoAnswer):
            raise answer
        return answer


class Direct(Intake):
    """An intake whose work is done at once and committed nowhere."""

    async def take(self, work: Callable[..., object]) -> object:  # type: ignore[override]
        self.book.begin(int(self._clock.wall() * 1000))
        return work(self.book)


@asynccontextmanager
async def scraper(web: Web, clock: FakeClock, targets: list[Target]) -> AsyncIterator[Scraper]:
    from atoll.kit.tasks import owned

    intake = Direct(Memory(), clock, Telemetry())
    made = Scraper(intake, web, clock, lambda: targets)
    async with owned("scraper") as tasks:
        tasks.start("follow", made.run(tasks))
        yield made
    await intake.close()


def page(text: str = "a 1\n", media: str = "text/plain; version=0.0.4") -> Answer:
    return Answer(200, media, text.encode())


async def test_a_target_is_asked_at_its_interval_and_its_requests_are_not_traced() -> None:
    web, clock = Web(), FakeClock()
    web.answers["cart-1"] = page()
    async with scraper(web, clock, [CART]) as made:
        await clock.advance(62)
        assert 4 <= len(web.asked) <= 5
        assert made.counts.scrapes == len(web.asked)
        assert all(trace.startswith("00-") and trace.endswith("-00") and len(trace) == 55 for trace in web.traces)
        assert len(set(web.traces)) == len(web.traces)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(404, "text/html"),
        Answer(200, "text/html; charset=utf-8", b"<html>up 1</html>"),
        Answer(200, "application/json", b"{}"),
        page("<html>"),
        page(""),
        page("a 1\n", OPENMETRICS),
        NoAnswer("refused"),
    ],
)
async def test_who_has_no_metrics_and_was_not_named_is_asked_once_and_nothing_is_written(
    answer: Answer | NoAnswer,
) -> None:
    web, clock = Web(), FakeClock()
    web.answers["web-1"] = answer
    async with scraper(web, clock, [Target("web", "web-1", "h", 1)]) as made:
        await clock.advance(40)
        assert web.asked == ["web-1"]
        assert (made.counts.scrapes, made.counts.failed) == (0, 0)


async def test_a_target_that_fails_is_told_with_the_reason_until_it_answers() -> None:
    web, clock = Web(), FakeClock()
    async with scraper(web, clock, [CART]) as made:
        await clock.advance(6)
        assert made.counts.trouble == {"cart-1": "nobody"}
        web.answers["cart-1"] = page()
        await clock.advance(16)
        assert made.counts.trouble == {}
        assert made.counts.samples == 1


async def test_a_target_that_goes_away_is_ended() -> None:
    web, clock, targets = Web(), FakeClock(), [CART]
    web.answers["cart-1"] = page()
    async with scraper(web, clock, targets) as made:
        await clock.advance(6)
        targets.clear()
        await clock.advance(2)
        rows = made._intake.book.rows
        assert rows.names.count("a") == 2
        assert rows.names.count("up") == 2
        assert made.counts.targets == 0
