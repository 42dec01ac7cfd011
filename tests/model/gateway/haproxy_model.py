"""HAProxy's state as far as a plan changes it, and what each operation does to it. The pure twin of the real one."""

from __future__ import annotations

from dataclasses import dataclass, field

from atoll.gateway.config import ROUTES, SERVICES, GatewayConfig
from atoll.gateway.plan import AddServer, Operation, RemoveServer, SetWeight, SwapMap, sections


@dataclass
class HaproxyModel:
    """Sections with the weights of their servers, and maps. Refuses what HAProxy would refuse."""

    servers: dict[str, dict[str, int]] = field(default_factory=dict)
    maps: dict[str, dict[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, config: GatewayConfig) -> HaproxyModel:
        """The state after a start from the file of `config`."""
        found = sections(config)
        return cls(
            {
                name: {each.name: each.effective_weight for each in part.servers.values()}
                for name, part in found.items()
            },
            {name: dict(entries) for name, entries in config.maps.items()},
        )

    def apply(self, operation: Operation) -> None:
        """One operation; an assertion fails where HAProxy would refuse or a request could get lost."""
        match operation:
            case AddServer():
                assert operation.server.name not in self.servers[operation.backend]
                self.servers[operation.backend][operation.server.name] = operation.server.effective_weight
            case SetWeight():
                assert operation.server in self.servers[operation.backend]
                self.servers[operation.backend][operation.server] = operation.weight
            case RemoveServer():
                del self.servers[operation.backend][operation.server]
            case SwapMap():
                self.maps[operation.name] = dict(operation.entries)
        for name in (ROUTES, SERVICES):
            assert self.pointed_at(name) <= self.servers.keys() | {"edge:nobody"}

    def pointed_at(self, name: str) -> set[str]:
        """The sections that a map's verdicts lead to."""
        fields = (value.split("|") for value in self.maps.get(name, {}).values())
        return {each[2] for each in fields if len(each) > 3 and each[2]}

    def serving(self, upstream: str) -> int:
        """How many servers of the section that the mesh name leads to take requests."""
        verdict = self.maps.get(SERVICES, {}).get(upstream)
        return sum(weight > 0 for weight in self.servers[verdict.split("|")[2]].values()) if verdict else 0
