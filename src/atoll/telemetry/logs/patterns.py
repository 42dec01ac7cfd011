"""Similar lines, grouped in two steps: the store counts lines that are equal but for words with a digit (the column
Pattern), and this miner merges what is left after the manner of Drain (He et al., 2017): lines of one service with as
many words and the same first word, of which enough are equal, become one with `<*>` where they differ. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from atoll.telemetry.logs.twins import first_line

WILD = "<*>"
SIMILAR = 0.7
"""Share of words that must be equal: of four, three."""
WORDS = 64
"""Words of a line that are looked at."""
LEAF = 200
"""Patterns that one line is compared with at most."""
WAVE = 60.0
"""Seconds between two starts of instances that belong to one deployment, at most."""
_PART = re.compile(r"[0-9A-Za-z]+")
_DIGIT = re.compile(r"[0-9]")
TRACEBACK = "Traceback "


@dataclass
class Seen:
    """Lines that the store counts as equal. Times in nanoseconds since 1970."""

    service: str
    example: str
    count: int
    first: int
    last: int
    severity: int


@dataclass
class Mined:
    """Similar lines."""

    service: str
    words: list[str]
    example: str
    count: int
    first: int
    last: int
    severity: int
    parts: int = 1

    @property
    def text(self) -> str:
        """The words, WILD where the lines differ."""
        return " ".join(self.words)

    def add(self, seen: Seen, words: list[str]) -> None:
        """Take more lines."""
        self.words = [one if one == other else WILD for one, other in zip(self.words, words, strict=True)]
        if seen.last > self.last:
            self.last, self.example = seen.last, seen.example
        self.count += seen.count
        self.first = min(self.first, seen.first)
        self.severity = max(self.severity, seen.severity)
        self.parts += 1


@dataclass
class Miner:
    """Merges; feed it the most frequent lines first, so that they shape the patterns."""

    _leaves: dict[tuple[str, int, str], list[Mined]] = field(default_factory=dict)

    def add(self, seen: Seen) -> None:
        """Take lines that are equal but for numbers."""
        words = words_of(seen.example)
        leaf = self._leaves.setdefault((seen.service, len(words), words[0]), [])
        best, most = None, 0.0
        for mined in leaf[:LEAF]:
            share = similarity(mined.words, words)
            if share > most:
                best, most = mined, share
        if best is not None and most >= SIMILAR:
            best.add(seen, words)
        else:
            leaf.append(Mined(seen.service, words, seen.example, seen.count, seen.first, seen.last, seen.severity))

    @property
    def found(self) -> list[Mined]:
        """All patterns, the most frequent first."""
        return sorted((one for leaf in self._leaves.values() for one in leaf), key=lambda one: -one.count)


def words_of(text: str) -> list[str]:
    """The words of the telling line of a text, those parts with a digit as WILD. Never empty."""
    line = text.rstrip().rpartition("\n")[2] if text.startswith(TRACEBACK) else first_line(text)
    return [_PART.sub(_masked, word) for word in line.split(None, WORDS)[:WORDS]] or [""]


def _masked(part: re.Match[str]) -> str:
    return WILD if _DIGIT.search(part[0]) else part[0]


def similarity(words: list[str], others: list[str]) -> float:
    """The share of words that are equal; what is WILD in the pattern counts half."""
    equal = sum(1.0 if one == other else 0.5 if one == WILD else 0.0 for one, other in zip(words, others, strict=True))
    return equal / len(words)


def last_deployments(runs: Mapping[str, Iterable[float]]) -> dict[str, float]:
    """When the last deployment of each service began, out of the starts of all runs of its instances (wall seconds):
    the first start of the last wave, in which no two are further apart than WAVE. A lone restart is one too.
    """
    found: dict[str, float] = {}
    for service, starts in runs.items():
        ordered = sorted(starts, reverse=True)
        if ordered:
            begin = ordered[0]
            for start in ordered[1:]:
                if begin - start > WAVE:
                    break
                begin = start
            found[service] = begin
    return found
