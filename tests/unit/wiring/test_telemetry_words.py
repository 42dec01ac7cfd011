from __future__ import annotations

from pathlib import Path

from atoll.project.telemetry_facts import TelemetryWords
from atoll.settings import load
from atoll.wiring.telemetry_words import KNOBS, variables, with_words

SAID = TelemetryWords(traces_days=1.5, kept_days=2, logs_days=3, metrics_days=4, sampling=0.1, keep_errors=False)


def test_the_environment_wins_over_the_file_and_the_file_over_the_defaults() -> None:
    environ = {"ATOLL_TELEMETRY_LOGS_DAYS": "9"}
    found = with_words(load(Path("/x"), environ), SAID, environ)
    assert (found.telemetry.traces_days, found.telemetry.logs_days, found.telemetry.sampling) == (1.5, 9.0, 0.1)
    assert found.tail.errors is False
    plain = load(Path("/x"), {})
    assert with_words(plain, TelemetryWords(), {}) == plain


def test_the_telemetry_process_is_told_what_was_settled() -> None:
    settled = with_words(load(Path("/x"), {}), SAID, {})
    assert load(Path("/x"), variables(settled)) == settled
    assert set(KNOBS) == set(TelemetryWords.__struct_fields__)
