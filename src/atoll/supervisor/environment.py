"""The environment a child is given. Pure.

Order of right: what the user wrote for the service wins over all; what is about this very instance (PORT, ATOLL_*) wins
over the node's own environment; a way to another service is filled in only where the node's environment has none.
The node's own ATOLL_* variables and its token never reach a child.
"""

from __future__ import annotations

from collections.abc import Mapping

from atoll.model.names import InstanceId, ServiceName
from atoll.model.service import Protocol, Service
from atoll.settings import Settings

INTERNAL = "ATOLL_"


def environment_of(
    service: Service,
    instance: InstanceId,
    port: int | None,
    services: Mapping[ServiceName, Service],
    inherited: Mapping[str, str],
    settings: Settings,
) -> dict[str, str]:
    """Everything the child of `instance` sees; `port` is the one chosen for it."""
    own = {"ATOLL_URL": api_url(settings), "ATOLL_SERVICE": service.name, "ATOLL_INSTANCE": instance}
    if port is not None:
        own["PORT"] = str(port)
    said: Mapping[str, str] = {}
    if service.run is not None:
        said = service.run.environment
        if service.run.version is not None:
            own["SERVICE_VERSION"] = service.run.version
    usual = {"PYTHONUNBUFFERED": "1", **peers(services, settings, service)}
    kept = {name: value for name, value in inherited.items() if not name.startswith(INTERNAL)}
    merged = {**usual, **kept, **own, **said}
    return {name: value for name, value in merged.items() if _possible(name, value)}


def peers(services: Mapping[ServiceName, Service], settings: Settings, caller: Service | None = None) -> dict[str, str]:
    """`ORDERS_URL`, `ORDERS_HOST` and `ORDERS_PORT` for every service: its stable port on this machine's mesh.

    A caller that says how it calls a service has a port of its own for that.
    """
    variables: dict[str, str] = {}
    for name, service in services.items():
        if service.run is not None and service.run.port is None:
            continue  # a worker: nobody can call it
        word = name.upper().replace("-", "_")
        call = caller.calls.get(name) if caller is not None and service.protocol is not Protocol.TCP else None
        own = None if call is None else mesh_port(call.mesh_index, settings)
        port = own or mesh_port(service.mesh_index, settings)
        if port is not None:
            scheme = "tcp" if service.protocol is Protocol.TCP else "http"
            variables[f"{word}_URL"] = f"{scheme}://127.0.0.1:{port}"
            variables[f"{word}_HOST"] = "127.0.0.1"
            variables[f"{word}_PORT"] = str(port)
        elif service.protocol in {Protocol.HTTP, Protocol.H2C}:
            variables[f"{word}_URL"] = f"http://127.0.0.1:{settings.gateway.mesh_port}/svc/{name}"
    return variables


def mesh_port(index: int, settings: Settings) -> int | None:
    """The port of a service or a call on the mesh; None: the range is used up, only the general listener is left."""
    return settings.gateway.mesh_ports + index if 0 <= index < settings.gateway.mesh_count else None


def api_url(settings: Settings) -> str:
    """Where the control plane answers a process of this machine."""
    host = settings.api.host
    if host in {"", "0.0.0.0", "::"}:  # noqa: S104 - recognised, not bound
        host = "127.0.0.1"
    return f"http://[{host}]:{settings.api.port}" if ":" in host else f"http://{host}:{settings.api.port}"


def _possible(name: str, value: str) -> bool:
    """What the system cannot carry would make the start fail: no `=` or NUL in names, no NUL in values."""
    return bool(name) and "=" not in name and "\0" not in name and "\0" not in value
