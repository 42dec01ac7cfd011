"""Where the services of this machine send their telemetry to, with which token, and what Python services get beside them."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from atoll.errors import TokenUnsafe
from atoll.identity.token import ensure_token, read_token
from atoll.kit.clock import Clock
from atoll.settings import Settings
from atoll.supervisor import bundle
from atoll.supervisor.instrument import Sending
from atoll.wiring.telemetry_ports import Ports


class Instrumentation:
    """Asked at each start of a service; the work is done once. `settings` hold telemetry's real ports."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], clock: Clock) -> None:
        self._settings = settings
        self._folder = bundle.cache_folder(environ, settings.state)
        self._clock = clock
        self._lock = threading.Lock()
        self._known: Sending | None = None
        self._bundle: bundle.Bundle | None = None

    def sending(self) -> Sending | None:
        """None: nothing is to be sent. Blocking.

        Raises:
            TokenUnsafe: the token's file must not be used.
        """
        knobs = self._settings.telemetry
        if not knobs.enabled or not knobs.instrument:
            return None
        with self._lock:
            if self._known is None or (self._bundle is not None and not self._bundle.lib.is_dir()):
                self._known = self._found()
            return self._known

    def known(self) -> Sending | None:
        """The same for who only looks: nothing is made, neither bundle nor token. Blocking."""
        knobs = self._settings.telemetry
        return self._found(look=True) if knobs.enabled and knobs.instrument else None

    def _found(self, *, look: bool = False) -> Sending:
        knobs = self._settings.telemetry
        python = node = missing = ""
        self._bundle = None
        try:
            self._bundle = bundle.find(self._folder) if look else bundle.ensure(self._folder, self._clock.wall())
            python, node = str(self._bundle.python), str(self._bundle.node)
        except bundle.BundleMissing as error:
            missing = error.detail
        host = "127.0.0.1" if knobs.host in {"", "0.0.0.0", "::"} else knobs.host  # noqa: S104 - recognised, not bound
        return Sending(
            endpoint=f"http://[{host}]:{knobs.http_port}" if ":" in host else f"http://{host}:{knobs.http_port}",
            token=_existing(self._settings.ingest_token_file)
            if look
            else ensure_token(self._settings.ingest_token_file),
            python=python,
            node=node,
            python_missing=missing,
            environment=knobs.environment,
            java_agent=os.path.abspath(knobs.java_agent) if knobs.java_agent else "",  # noqa: PTH100 - it need not exist
        )


def _existing(token: Path) -> str:
    try:
        return read_token(token)
    except (OSError, TokenUnsafe):
        return ""


def as_running(settings: Settings) -> Settings:
    """Settings with the ports that the telemetry of a running platform has; switched off where none was ever started."""
    try:
        ports = msgspec.json.decode((settings.state / "telemetry.json").read_bytes(), type=Ports)
    except (OSError, msgspec.DecodeError):
        return replace(settings, telemetry=replace(settings.telemetry, enabled=False))
    return replace(settings, telemetry=replace(settings.telemetry, **msgspec.structs.asdict(ports)))
