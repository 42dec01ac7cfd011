"""One target between two scrapes: which series its last page had, so that the next one shows which have ended."""

from __future__ import annotations

from collections import Counter

from atoll.telemetry.metrics.book import Book, Make, Shape
from atoll.telemetry.metrics.entry import Entry
from atoll.telemetry.metrics.exposition import Family, Page, Sample, labels_of
from atoll.telemetry.metrics.names import EXPORTED, VALUE_LIMIT, Kind
from atoll.telemetry.metrics.points import Points, Reason, Refused
from atoll.telemetry.metrics.rows import About, Exemplar
from atoll.telemetry.metrics.target import Target

OLDEST = 24 * 3_600_000
"""Milliseconds that the time of a scraped sample may be back."""
UP = About("up", Kind.GAUGE, "", "1 if the target answered with metrics, 0 if not.")
DURATION = About("scrape_duration_seconds", Kind.GAUGE, "seconds", "Time that the scrape took.")
SAMPLES = About("scrape_samples_scraped", Kind.GAUGE, "", "Samples on the page.")
EXEMPLAR_TEXT = 256
"""Characters of an exemplar's labels together."""


class Scraped:
    """The state of one target. Its methods run in the intake's thread, but never two at once."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.trouble = ""
        """Why the last page was not taken, when a series of it could not be read."""
        self.began = False
        """Something was written that will have to end."""
        self._key = hash((target.service, target.instance, target.host, target.port, target.path))
        self._live: dict[int, Entry] = {}

    def take(self, book: Book, page: Page | None, at: int, took: float) -> dict[str, int]:
        """Write a page (None: there was none), what has ended since the one before, and how the scrape went.

        Returns samples that were refused, by reason.
        """
        self.began = True
        points = Points(book, oldest=at - OLDEST)
        refused: Counter[str] = Counter()
        live: dict[int, Entry] = {}
        self.trouble = ""
        if page is not None:
            try:
                entries = [self._entry(book, page, sample) for sample in page.samples]
            except ValueError as error:
                self.trouble, page = str(error), None
            else:
                for (key, entry, rising), sample in zip(entries, page.samples, strict=True):
                    if entry is None:
                        refused[Reason.SERIES] += 1
                        continue
                    try:
                        self._write(book, points, key, entry, sample, at, rising=rising)
                    except Refused as reason:
                        refused[reason.reason] += 1
                    if sample.at is None and not entry.overflow:
                        live[key] = entry
        for key in self._live.keys() - live.keys():
            points.ended(self._live[key], at)
        self._live = live
        self._report(book, at, (float(page is not None), took, float(len(page.samples) if page else 0)))
        for total in book.finish():
            points.total(total)
        return dict(refused)

    def end(self, book: Book, at: int) -> None:
        """The target is gone: all of its series have ended."""
        points = Points(book, oldest=at - OLDEST)
        for entry in self._live.values():
            points.ended(entry, at)
        for about in (UP, DURATION, SAMPLES):
            if (told := book.find(hash((self._key, about.family)))) is not None:
                points.ended(told, at)
        self._live = {}

    def _entry(self, book: Book, page: Page, sample: Sample) -> tuple[int, Entry | None, bool]:
        """Key and entry of a line, and whether it only rises."""
        key = hash((self._key, sample.series))
        entry = book.find(key)
        if entry is not None:
            return key, entry, entry.rising
        name, said = labels_of(sample.series)
        family = page.family(name)
        rising = family.kind is Kind.COUNTER or (
            family.kind is Kind.HISTOGRAM and name.endswith(("_bucket", "_count", "_sum"))
        )
        entry = book.enter(key, _about(family), self.target.labels, *self._shape(name, said))
        if entry is not None:
            entry.rising = rising
        return key, entry, rising

    def _shape(self, name: str, said: dict[str, str]) -> tuple[Shape, Make]:
        le = said.get("le", "")

        def make(shared: dict[str, str] | None) -> list[tuple[str, dict[str, str]]]:
            if shared is None:
                return [(name, self._labels(said))]
            return [(name, {**shared, "le": le} if le else shared)]

        return Shape(1, (), f"{name} {le}"), make

    def _labels(self, said: dict[str, str]) -> dict[str, str]:
        """The line's labels and ours; what hides ours is told under another name."""
        own = self.target.labels
        if self.target.own_labels:
            return {**own, **said}
        labels = {}
        for name, value in said.items():
            while name in own:
                name = EXPORTED + name
            labels[name] = value[:VALUE_LIMIT]
        return {**labels, **own}

    def _write(
        self, book: Book, points: Points, key: int, entry: Entry, sample: Sample, at: int, *, rising: bool
    ) -> None:
        when = at if sample.at is None else sample.at
        if not at - OLDEST <= when <= at + 600_000:
            raise Refused(Reason.TOO_OLD if when < at else Reason.FUTURE)
        if rising:
            points.grown(entry, key, when, 0, (sample.value,), rising=1)
        else:
            points.level(entry, when, (sample.value,))
        example = sample.example
        if example is None or entry.overflow:
            return
        if sum(len(name) + len(text) for name, text in example.labels.items()) <= EXEMPLAR_TEXT:
            seen = when if example.at is None else example.at
            if at - OLDEST <= seen <= at + 600_000:
                made = Exemplar(entry.names[0], entry.ids[0], seen, example.value, example.labels)
                book.rows.exemplars.append(made)

    def _report(self, book: Book, at: int, values: tuple[float, float, float]) -> None:
        own = self.target.labels
        for about, value in zip((UP, DURATION, SAMPLES), values, strict=True):
            key = hash((self._key, about.family))

            def make(shared: dict[str, str] | None, about: About = about) -> list[tuple[str, dict[str, str]]]:
                return [(about.family, own if shared is None else shared)]

            entry = book.find(key) or book.enter(key, about, own, Shape(), make)
            if entry is not None and not entry.overflow:
                book.rows.sample(about.family, entry.ids[0], at, value)


def _about(family: Family) -> About:
    return About(family.name, family.kind, family.unit, family.help)
