"""Before anything starts: that nobody else has the ports which control plane, telemetry and services insist on.

The gateway's ports are its driver's to ask for. What an earlier node left running is ours and no hindrance.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator

from atoll.errors import PortTaken
from atoll.model.names import ServiceName
from atoll.model.project import Project
from atoll.server.ports import bind_tcp
from atoll.settings import Settings
from atoll.supervisor import ports, record
from atoll.supervisor.record import Places
from atoll.supervisor.tree import fixed_port
from atoll.wiring.telemetry_ports import VARIABLES


def refuse_taken(
    settings: Settings, project: Project, wanted: Collection[ServiceName], *, api: bool, otlp: bool = False
) -> None:
    """Make sure that the services in `wanted` can listen, with `api` the control plane and with `otlp` telemetry. Blocking.

    Raises:
        PortTaken: one or several cannot; all are told, with who is in the way.
        AddressForbidden: the control plane's address is not one of this machine.
    """
    found: list[PortTaken] = []
    if api:
        try:
            bind_tcp(settings.api.host, settings.api.port).close()
        except PortTaken as error:
            found.append(error)
    if otlp:
        found.extend(_taken_of_telemetry(settings))
    ours = {one.note.port for one in record.read_all(Places.of(settings)) if record.proved(one)}
    for service in project.services:
        port = fixed_port(service.run) if service.run is not None and service.name in wanted else None
        if port is None or port in ours:
            continue
        try:
            ports.require(port)
        except PortTaken as error:
            told = f"service {service.name}: {error.detail}"
            found.append(PortTaken(told, hint=error.hint, **error.fields))
    if len(found) == 1:
        raise found[0]
    if found:
        raise PortTaken(
            "; ".join(one.detail for one in found),
            hint="; ".join(dict.fromkeys(one.hint for one in found if one.hint)),
            ports=[one.fields.get("port") for one in found],
        )


def _taken_of_telemetry(settings: Settings) -> Iterator[PortTaken]:
    """Ports of OTLP that somebody else has, of those that were asked for; others would have been changed."""
    knobs = settings.telemetry
    for name, variable in VARIABLES.items():
        if variable not in os.environ:
            continue
        try:
            bind_tcp(knobs.host, int(getattr(knobs, name))).close()
        except PortTaken as error:
            hint = (error.hint or "").replace("ATOLL_API_PORT", f"{variable} (unset: a free one is taken)")
            yield PortTaken(f"telemetry: {error.detail}", hint=hint, **error.fields)
