"""Telemetry beside the node: started when it is wanted and can run, kept running, and never waited for.

Nothing else of the platform depends on it: what goes wrong here is a warning, not an error.
"""

from __future__ import annotations

import importlib.util
from dataclasses import replace

from atoll.errors import AtollError, NotReady
from atoll.kit.clock import Clock
from atoll.kit.tasks import owned
from atoll.settings import Settings, Telemetry
from atoll.wiring.console import Console
from atoll.wiring.kept import KeptProcess, Part
from atoll.wiring.telemetry_ports import NAME, VARIABLES
from atoll.wiring.telemetry_words import variables

PACKAGES = ("chdb", "grpc", "google.protobuf", "opentelemetry.proto", "zstandard")
"""What the process imports; `atoll[telemetry]` installs them."""
ENDS_SLOWLY = 60.0
"""Seconds that its first answer may take: an engine that was killed looks through its files first."""
HINT = 'pip install "atoll[telemetry]"'


def missing_packages(knobs: Telemetry) -> tuple[str, ...]:
    """Which of the packages that telemetry needs are not installed; nothing is imported but their parents."""
    needed = tuple(name for name in PACKAGES if name != "chdb") if knobs.clickhouse else PACKAGES
    return tuple(name for name in needed if not _installed(name))


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def possible(settings: Settings) -> Settings:
    """Settings in which telemetry is switched off when it cannot run."""
    if settings.telemetry.enabled and missing_packages(settings.telemetry):
        return replace(settings, telemetry=replace(settings.telemetry, enabled=False))
    return settings


class TelemetryPart:
    """The telemetry process of one node. `wanted`: what the user said; `settings`: what is possible."""

    def __init__(self, settings: Settings, console: Console, clock: Clock, *, wanted: bool) -> None:
        self.enabled = settings.telemetry.enabled
        self.process = KeptProcess(_part(settings), settings, clock)
        self._settings = settings
        self._console = console
        self._clock = clock
        self._wanted = wanted

    def adopt(self) -> bool:
        """Whether an earlier node left one running."""
        return self.process.adopt()

    async def live(self) -> None:
        """Start it, tell when it answers, keep it running; for ever."""
        process, knobs = self.process, self._settings.telemetry
        if not self.enabled:
            if process.adopted:
                await process.replace()  # left by a node that had it switched on
            if self._wanted:
                lack = ", ".join(missing_packages(knobs))
                self._console.note(f"no traces, logs and metrics are kept: {HINT} (missing: {lack})")
            return
        began = self._clock.now()
        self._console.part_begins(NAME)
        try:
            if process.adopted and process.noted_port != knobs.http_port:
                await process.replace()
            await process.begin()
        except (AtollError, OSError) as error:
            self._console.part_failed(NAME, str(error))
            return
        async with owned(NAME) as tasks:
            keeping = tasks.start("keep", process.keep())
            await self._until_it_answers()
            where = f"otlp :{knobs.grpc_port} :{knobs.http_port}"
            self._console.part_ready(NAME, self._clock.now() - began, where)
            await keeping

    async def stop(self, *, force: bool) -> None:
        """End it; what it took is committed before."""
        await self.process.stop(force=force)

    async def _until_it_answers(self) -> None:
        told = False
        while True:
            try:
                await self.process.answers(ENDS_SLOWLY)
            except NotReady as error:
                if not told:
                    self._console.warning(error.detail, error.hint or "")
                    told = True
                await self._clock.sleep(0.5)
            else:
                return


def _part(settings: Settings) -> Part:
    knobs = settings.telemetry
    told = {variable: str(getattr(knobs, name)) for name, variable in VARIABLES.items()}
    own = {"OTEL_SDK_DISABLED": "true", "ATOLL_TELEMETRY_ENABLED": "1"}
    return Part(
        NAME,
        "telemetry",
        "telemetry",
        settings.telemetry_socket,
        knobs.http_port,
        {**variables(settings), **told, **own},
        own_allocator=True,
    )
