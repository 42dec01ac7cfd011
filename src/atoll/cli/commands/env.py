"""`atoll env SERVICE`: what is in the environment of a service, where each variable comes from, and why atoll put it there."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click

from atoll.cli import nodefile
from atoll.cli.facts import children, nodes, require_services, snapshot
from atoll.cli.invocation import Invocation
from atoll.cli.options import command, complete_services
from atoll.cli.show import Cell
from atoll.errors import NotFound, Unreachable
from atoll.kit.clock import SystemClock
from atoll.kit.text import scrub
from atoll.model import names
from atoll.model.keys import SERVICES
from atoll.model.names import InstanceId, ServiceName
from atoll.model.report import ChildReport
from atoll.model.service import Service
from atoll.settings import Settings
from atoll.supervisor.appfolder import has_node_hook
from atoll.supervisor.environment import environment_of, peers
from atoll.supervisor.instrument import instrument
from atoll.supervisor.processes import MARK
from atoll.wiring.instrumentation import Instrumentation, as_running
from atoll.wiring.mesh import settled

MASK = "••••"
_SECRET = re.compile(
    r"KEY|TOKEN|SECRET|PASSW|_PWD$|CREDENTIAL|AUTH|COOKIE|DSN|PRIVATE|SALT|SIGNATURE|_HEADERS$", re.IGNORECASE
)
_IN_URL = re.compile(r"(?P<before>[a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s/@]+@", re.IGNORECASE)
OURS = {
    "PORT": "the port chosen for it",
    "ATOLL_URL": "where the control plane answers",
    "ATOLL_SERVICE": "its name",
    "ATOLL_INSTANCE": "its id",
    "SERVICE_VERSION": "the version in the project file",
    "PYTHONUNBUFFERED": "its lines are seen at once",
}
"""Why what is always given is given; ways to other services are recognised by their names."""


class Variable(NamedTuple):
    """One, with who put it there (`atoll`, `project` or `inherited`) and why."""

    name: str
    value: str
    origin: str
    reason: str

    @property
    def masked(self) -> bool:
        """Whether the value is not shown as it is."""
        return self.shown != self.value

    @property
    def shown(self) -> str:
        """The value, without what must not be seen over a shoulder or in a bug report."""
        if _SECRET.search(self.name) and self.value:
            return MASK
        return _IN_URL.sub(rf"\g<before>{MASK}@", self.value)


@command("env", reads=True)
@click.argument("name", metavar="SERVICE", shell_complete=complete_services)
@click.option("--export", is_flag=True, help="As lines for a shell; masked values are left out.")
@click.option("--all", "everything", is_flag=True, help="With what it inherits from the node.")
def env(invocation: Invocation, name: str, *, export: bool, everything: bool) -> None:
    """Show the environment that a service gets, and why.

    Where an instance runs here, it is what that process was given. Tokens and passwords are masked.
    """
    wanted = names.service_name(name)
    facts = snapshot(invocation.api, SERVICES)
    require_services(facts, (wanted,))
    service = facts.services[wanted]
    if service.run is None:
        raise NotFound(
            f"atoll does not run {wanted}", hint="its instances register themselves, with their own environment"
        )
    settings = invocation.place.settings
    if settings is None:
        raise Unreachable("`env` needs the platform of this machine", hint="go to its folder, or name it with -f or -C")
    mine = [child for (of, _), child in sorted(children(nodes(invocation.api)).items()) if of == wanted]
    child = next((one for one in mine if one.pid is not None), None)
    settings = settled(settings, (), invocation.environ)
    given = Given(service, child, facts.services, settings, invocation.environ)
    variables, notes = sorted(given.variables()), given.notes()
    if invocation.show.as_json:
        invocation.show.json(
            {
                "service": wanted,
                "instance": child.instance if child is not None else None,
                "variables": [_json(one) for one in variables],
                "notes": notes,
            }
        )
        return
    chosen = [one for one in variables if everything or one.origin != "inherited"]
    if export:
        invocation.show.text("\n".join(_exports(chosen)))
        return
    rows: list[list[str | Cell]] = [[one.name, scrub(one.shown, limit=500), one.origin, one.reason] for one in chosen]
    invocation.show.table(("VARIABLE", "VALUE", "FROM", "WHY"), rows)
    for note in notes:
        invocation.talk.note(note)
    left_out = len(variables) - len(chosen)
    if left_out:
        invocation.talk.note(f"{left_out} more are inherited from the node (--all shows them)")


class Given:
    """What an instance was given when it runs here, else what it would be given."""

    def __init__(
        self,
        service: Service,
        child: ChildReport | None,
        services: Mapping[ServiceName, Service],
        settings: Settings,
        environ: Mapping[str, str],
    ) -> None:
        self._service = service
        self._services = services
        self._settings = settings
        node = nodefile.read(settings)
        inherited = environ_of(node.pid) if node is not None else None
        instance = child.instance if child is not None else InstanceId(f"{service.name}-1")
        sending = Instrumentation(as_running(settings), environ, SystemClock()).known()
        run = service.run
        hook = run is not None and has_node_hook(run.root, run.working_dir)
        port = child.port if child is not None else None
        expected = environment_of(service, instance, port, services, inherited or environ, settings)
        self._injected = instrument(service, instance, expected, sending, node_hook=hook)
        actual = environ_of(child.pid) if child is not None and child.pid is not None else None
        self._running = actual is not None
        self._values = actual if actual is not None else {**expected, **self._injected.variables}
        self._values.pop(MARK, None)

    def variables(self) -> Iterator[Variable]:
        """Each with its origin and reason."""
        said = self._service.run.environment if self._service.run is not None else {}
        ways = peers(self._services, self._settings, self._service)
        for name, value in self._values.items():
            if self._injected.variables.get(name) == value:
                yield Variable(name, value, "atoll", self._injected.reasons[name])
            elif name in said:
                yield Variable(name, value, "project", "")
            elif ways.get(name) == value:
                yield Variable(name, value, "atoll", "the way to another service")
            elif name in OURS:
                yield Variable(name, value, "atoll", OURS[name])
            else:
                yield Variable(name, value, "inherited", "")

    def notes(self) -> list[str]:
        """What else is to be said."""
        notes = list(self._injected.notes)
        if not self._running:
            notes.append("no instance runs here: this is what one would be given")
        elif self._injected.variables and not self._injected.variables.keys() & self._values.keys():
            notes.append("nothing was injected for telemetry when it was started (--no-otel)")
        return notes


def environ_of(pid: int) -> dict[str, str] | None:
    """The environment that a process of this user was started with; None when it cannot be seen."""
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    pairs = (os.fsdecode(pair).partition("=") for pair in raw.split(b"\0") if pair)
    return {name: value for name, _, value in pairs}


def _json(one: Variable) -> dict[str, Any]:
    return {**one._asdict(), "value": one.shown, "masked": one.masked}


def _exports(variables: list[Variable]) -> Iterator[str]:
    for one in variables:
        if one.masked:
            yield f"# {one.name} is masked"
        elif one.value.isprintable():
            yield f"export {one.name}={shlex.quote(one.value)}"
        else:
            yield f"# {one.name} has more than one line, or characters that a terminal obeys"
