"""The store as a dict: what every engine must be indistinguishable from."""

from __future__ import annotations

from dataclasses import dataclass, field

Value = tuple[str, int, int, str | None]
"""value, created, modified, lease."""
Said = tuple[str, str, str, int]
"""kind, key, value, modified: one event."""


@dataclass
class Model:
    """Every revision's whole state and what it said."""

    revision: int = 0
    compacted: int = 0
    states: list[dict[str, Value]] = field(default_factory=lambda: [{}])
    said: list[list[Said]] = field(default_factory=lambda: [[]])
    leases: dict[str, None] = field(default_factory=dict)

    @property
    def now(self) -> dict[str, Value]:
        return self.states[-1]

    def commit(self, puts: dict[str, tuple[str, str | None]], deletes: set[str]) -> int:
        state, said, next_revision = dict(self.now), [], self.revision + 1
        for key, (value, lease) in puts.items():
            created = state[key][1] if key in state else next_revision
            state[key] = (value, created, next_revision, lease)
            said.append(("put", key, value, next_revision))
        for key in sorted(deletes & state.keys()):
            gone = state.pop(key)
            said.append(("delete", key, gone[0], gone[2]))
        if said:
            self.revision = next_revision
            self.states.append(state)
            self.said.append(said)
        return self.revision

    def end(self, lease: str) -> None:
        self.leases.pop(lease, None)
        self.commit({}, {key for key, value in self.now.items() if value[3] == lease})

    def changes(self, prefix: str, start: int) -> list[tuple[int, list[Said]]]:
        found = []
        for revision in range(start, self.revision + 1):
            said = [event for event in self.said[revision] if event[1].startswith(prefix)]
            if said:
                found.append((revision, said))
        return found

    def listing(self, prefix: str, revision: int) -> dict[str, Value]:
        state = self.states[revision]
        return {key: state[key] for key in sorted(state) if key.startswith(prefix)}
