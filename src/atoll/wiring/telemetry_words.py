"""What a project file says of telemetry, as settings of the platform that it starts: the environment wins over the file,
the file over the defaults. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from atoll.project.telemetry_facts import TelemetryWords
from atoll.settings import Settings

KNOBS = {
    "traces_days": ("telemetry", "traces_days"),
    "kept_days": ("telemetry", "kept_days"),
    "logs_days": ("telemetry", "logs_days"),
    "metrics_days": ("telemetry", "metrics_days"),
    "sampling": ("telemetry", "sampling"),
    "keep_errors": ("tail", "errors"),
}
"""The file's words, and the settings that they are."""


def with_words(settings: Settings, words: TelemetryWords, environ: Mapping[str, str]) -> Settings:
    """Settings as the file wants them, but for what `environ` says."""
    for word, (group, knob) in KNOBS.items():
        value = getattr(words, word)
        if value is not None and _variable(group, knob) not in environ:
            settings = replace(settings, **{group: replace(getattr(settings, group), **{knob: value})})
    return settings


def variables(settings: Settings) -> dict[str, str]:
    """The same for the environment of the telemetry process, which reads no file."""
    found = {}
    for group, knob in KNOBS.values():
        value = getattr(getattr(settings, group), knob)
        found[_variable(group, knob)] = str(int(value) if isinstance(value, bool) else value)
    return found


def _variable(group: str, knob: str) -> str:
    return f"ATOLL_{group}_{knob}".upper()
