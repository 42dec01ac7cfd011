"""Nobody took the request: dead, stopped, failing or unknown instances. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from atoll.cli.why.evidence import BEFORE, DURING, Case, End, Hop, Verdict
from atoll.cli.why.words import duration, last_words, look, verdict, whom
from atoll.errors import Origin
from atoll.model.answers import Record, Verb
from atoll.model.report import Phase

LOOP = 2
"""Unasked ends within BEFORE that make a crash loop."""


def nobody(case: Case, hop: Hop) -> Iterable[Verdict]:
    """Why no instance took it."""
    service, ends = hop.service, lately(case, hop)
    unasked = [one for one in ends if not one.asked]
    if hop.termination == "sC":
        yield verdict(
            hop,
            "upstream-unreachable",
            70,
            Origin.NETWORK,
            f"{whom(hop)} did not take the connection in time ({duration(hop)})",
            *look(service),
        )
    again = [one for one in unasked if (one.instance, one.words) == (unasked[-1].instance, unasked[-1].words)]
    looping = [
        one
        for one in case.children
        if one.service == service and one.restarts >= LOOP and one.phase in {Phase.CRASH_LOOP, Phase.BACKOFF}
    ]
    if len(again) >= LOOP or (looping and (unasked or hop.end > looping[0].started - BEFORE)):
        if again:
            told = f"{again[-1].words}, {len(again)} times in the {BEFORE:.0f} s before"
        else:
            told = f"{looping[0].cause}, restarted {looping[0].restarts} times"
        yield verdict(
            hop, "crash-loop", 95, Origin.SERVICE,
            f"{service} is in a crash loop: {told}{last_words(case, service)}",
            f"atoll logs {service}", f"correct what makes it end, then atoll restart {service}",
        )  # fmt: skip
    elif unasked:
        end, who = unasked[-1], list(dict.fromkeys(one.instance for one in unasked))
        were = (
            f"{len(who)} instances of {service} were dead ({', '.join(who)})"
            if who[1:]
            else f"{who[0]} of {service} was dead"
        )
        yield verdict(
            hop, "dead-instance", 90, Origin.SERVICE,
            f"{were}: {end.words} {ago(end, hop)}{last_words(case, service)}",
            *look(service), f"more instances ride this out: atoll scale {service}={len(who) + 1}",
        )  # fmt: skip
    last = {record.instance: record for record in case.records if record.service == service and record.at <= hop.end}
    operator = [one for one in last.values() if one.verb in {Verb.MAINT, Verb.DRAINING} and not one.gone]
    failing = [one for one in last.values() if one.verb is Verb.FAILING]
    if service in case.stopped and not unasked:
        yield verdict(
            hop, "stopped", 92, Origin.SERVICE, f"{service} is stopped: somebody said so", f"atoll start {service}"
        )
    if operator and not unasked:
        names, said = ", ".join(one.instance for one in operator), operator[-1].cause
        yield verdict(
            hop, "out-of-service", 85, Origin.SERVICE,
            f"all of {service} was taken out: {names} {operator[-1].verb}" + (f" ({said})" if said else ""),
            f"atoll service history {service}",
        )  # fmt: skip
    if failing:
        one = failing[-1]
        yield verdict(
            hop, "failing", 80 if not unasked else 60, Origin.SERVICE,
            f"no instance of {service} passed its check: {len(failing)} failing, {one.instance} since {hop.at - one.at:.0f} s before ({one.cause})",
            *look(service),
        )  # fmt: skip
    if service and service not in case.known:
        yield verdict(hop, "unknown-service", 88, Origin.SERVICE, f"{service} is not registered", "atoll service ls")
    code, words = (
        ("upstream-unreachable", f"{whom(hop)} could not be reached")
        if hop.instance
        else ("no-instance", f"no instance of {service} was ready")
    )
    yield verdict(hop, code, 50, Origin.NETWORK if hop.instance else Origin.SERVICE, words + gone(last), *look(service))


def gone(last: Mapping[str, Record]) -> str:
    """What is known when nothing is."""
    return "" if last else ": none was ever registered around that time"


def lately(case: Case, hop: Hop) -> list[End]:
    """The ends of the service's instances shortly before, or at, the request."""
    return [one for one in case.ends if one.service == hop.service and hop.at - BEFORE <= one.at <= hop.end + DURING]


def ago(end: End, hop: Hop) -> str:
    """How long before the request that was."""
    before = hop.at - end.at
    return f"{before:.1f} s before the request" if before >= 0.05 else "at that moment"
