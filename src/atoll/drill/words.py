"""A verdict in words: one sentence, and lines of detail. Pure."""

from __future__ import annotations

from atoll.drill.judge import Promise, Verdict


def sentence(verdict: Verdict) -> str:
    """Such as `recovered in 84 ms, 0 of 1,204 requests lost, 3 retried`."""
    if not verdict.requests:
        return f"no requests were made; all instances serve again after {span(verdict.full)}"
    recovered = (
        "not recovered within the load" if verdict.recovered is None else f"recovered in {span(verdict.recovered)}"
    )
    said = f"{recovered}, {verdict.lost:,} of {verdict.requests:,} requests lost, {verdict.retried:,} retried"
    return f"{said}, {verdict.fallbacks:,} given a fallback" if verdict.fallbacks else said


def details(verdict: Verdict, *, target: str, fault: str, wanted: int, signalled: bool = True) -> list[tuple[str, str]]:
    """What the sentence leaves out, as name and value; values may be empty."""
    kept = fault == "kill"
    silent = fault in {"kill", "pause"}
    last = "none after it" if verdict.last_try is None else f"{span(verdict.last_try)} after it"
    lost = f"{verdict.lost:,}" + (
        f", {verdict.in_flight:,} of them on their way when it began" if verdict.in_flight else ""
    )
    return [
        (f"last request to {target}", last if silent else ""),
        ("taken out", "" if not signalled else "never" if verdict.out is None else f"{span(verdict.out)} after it"),
        (
            f"all {wanted} serve again" if wanted > 1 else "serves again",
            (
                "not within the drill"
                if verdict.full is None
                else f"{span(verdict.full)} after " + ("it" if kept else "its end")
            ),
        ),
        ("answers", ", ".join(f"{count:,} × {status}" for status, count in verdict.statuses.items())),
        ("lost", f"{lost}: {_counts(verdict.errors)}" if verdict.lost else ""),
        ("slowest", f"{span(verdict.slowest)}; usual {span(verdict.usual)}" if verdict.requests else ""),
        ("slow", f"{verdict.slow:,} answers" if verdict.slow else ""),
        ("by instance", _counts(verdict.instances)),
        ("not sent", f"{verdict.unsent:,}: too many were waiting already" if verdict.unsent else ""),
        ("traces", " ".join(verdict.traces)),
        ("seen every", f"{span(verdict.resolution)} at worst: times are this late at most"),
    ]


def promise(one: Promise) -> str:
    """One promise and whether it held."""
    number = f"{one.wanted:g}" if one.name == "lost" else span(one.wanted)
    measured = "never" if one.measured is None else f"{one.measured:g}" if one.name == "lost" else span(one.measured)
    return f"{one.name} ≤ {number}: {'kept' if one.kept else 'BROKEN'} ({measured})"


def span(seconds: float | None) -> str:
    """A duration as people say it."""
    if seconds is None:
        return "?"
    if seconds < 0.00005:
        return "0 ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.1f} ms" if seconds < 0.00995 else f"{seconds * 1000:.0f} ms"
    return f"{seconds:.2f} s"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
