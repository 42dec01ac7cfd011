"""One query from text to answer: read what it needs, then evaluate in a thread; time, samples and turns are bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from atoll.kit.clock import Clock
from atoll.telemetry.metrics.series import SeriesSamples
from atoll.telemetry.promql import ast
from atoll.telemetry.promql.evaluate import LOOKBACK, SAMPLES, Bounds, evaluate, needs
from atoll.telemetry.promql.refusal import QueryTimeout, QueryTooLarge
from atoll.telemetry.promql.source import Source
from atoll.telemetry.promql.value import Grid, Value

STEPS = 11_000
"""Steps of one range query, as in Prometheus: a minute's resolution for a week."""
SECONDS = 20.0
"""Of one query at most, its wait for a turn included; a caller may ask for less."""
AT_A_TIME = 2
"""Queries that are read and evaluated at a time: each may hold SAMPLES several times over."""
T = TypeVar("T")


@dataclass(frozen=True)
class Question:
    """What is asked of the evaluator."""

    expr: ast.Expr
    grid: Grid
    lookback: int = LOOKBACK
    seconds: float = SECONDS


@dataclass(eq=False)
class Evaluator:
    """Answers questions, a few at a time."""

    samples: int = SAMPLES
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_A_TIME))

    async def answer(self, source: Source, question: Question, clock: Clock, finish: Callable[[Value, Grid], T]) -> T:
        """What `finish` makes of the value, in the same thread.

        Raises:
            EvaluationError, QueryTooLarge, QueryTimeout: see `refusal`.
        """
        deadline = clock.now() + min(question.seconds, SECONDS)
        left = asyncio.Event()
        bounds = Bounds(self.samples, lambda: left.is_set() or clock.now() > deadline)
        expr, grid, lookback = question.expr, question.grid, question.lookback
        await _in_time(self._turns.acquire, deadline - clock.now(), "in the queue")
        try:
            data = await _in_time(lambda: self._read(source, question), deadline - clock.now(), "in query preparation")
            work = asyncio.get_running_loop().run_in_executor(
                None, lambda: finish(evaluate(expr, grid, data, lookback=lookback, bounds=bounds), grid)
            )
        except BaseException:
            self._turns.release()
            raise
        work.add_done_callback(self._done)
        try:
            return await asyncio.shield(work)
        finally:
            left.set()  # whoever asked may have gone: the thread ends at its next look, and only then the turn

    def _done(self, work: asyncio.Future[T]) -> None:
        self._turns.release()
        if not work.cancelled():
            work.exception()  # whoever asked may not be there to take it

    async def _read(self, source: Source, question: Question) -> dict[ast.Selector, list[SeriesSamples]]:
        data: dict[ast.Selector, list[SeriesSamples]] = {}
        count = 0
        for selector, (start, end) in needs(question.expr, question.grid, question.lookback).items():
            data[selector] = await source.select(selector.matchers, start, end)
            count += sum(len(one.timestamps) for one in data[selector])
            if count > self.samples:
                raise QueryTooLarge(
                    f"query processing would load too many samples into memory: more than {self.samples}",
                    hint="ask for a shorter time or fewer series",
                )
        return data


async def _in_time(wait: Callable[[], Awaitable[T]], seconds: float, where: str) -> T:
    try:
        if seconds <= 0:
            raise TimeoutError
        async with asyncio.timeout(seconds):
            return await wait()
    except TimeoutError:
        raise QueryTimeout(f"query timed out {where}", hint="ask for less, or try again when less is asked") from None
