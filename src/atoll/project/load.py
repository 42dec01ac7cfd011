"""From a path to a project: finds the file, reads it, and tells every problem at once before anything starts.

In a folder the first of atoll.yaml, compose.yaml and Procfile is taken. What comes out is `model` words; nothing of the
file's own shape leaves this package.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path as File

import msgspec

from atoll import settings
from atoll.errors import InvalidValue, ProjectInvalid
from atoll.kit.text import closest, scrub
from atoll.model.names import RouteName
from atoll.model.project import Project
from atoll.model.route import Route, Share
from atoll.model.service import Protocol
from atoll.project import schema
from atoll.project.compose import Converted, fold, from_compose
from atoll.project.dotenv import read_dotenv
from atoll.project.facts import Facts, Surroundings
from atoll.project.fill import fill
from atoll.project.finding import Code, Finding, Path, findings_of, invalid
from atoll.project.machine import check_environment
from atoll.project.node import Document, place_of
from atoll.project.policy_facts import policy_of
from atoll.project.procfile import WEB, read_procfile
from atoll.project.route_facts import add_route
from atoll.project.service_facts import peer_variables, service_fact
from atoll.project.shape import read_shape
from atoll.project.source import find_file, read_env_file, read_source, shown
from atoll.project.telemetry_facts import TelemetryWords, scraped_services, telemetry_words
from atoll.project.valid import problems
from atoll.project.yaml import read_yaml

LISTENERS = 1
"""Listeners that the gateway opens beside the mesh's."""


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    """Where the project wants the gateway to listen, for plain HTTP."""

    name: str
    host: str
    port: int


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """A project that can be started, and where it came from."""

    project: Project
    file: str
    """Absolute path of the file."""
    folder: str
    """Absolute folder that relative paths start from."""
    profiles: tuple[str, ...] = ()
    """Those that are on."""
    listener: Listener | None = None
    """None: the gateway's settings decide."""
    telemetry: TelemetryWords = TelemetryWords()
    external: tuple[str, ...] = ()
    """Services of a compose file that atoll does not run."""
    warnings: tuple[Finding, ...] = ()


def load_project(
    path: File | str, environ: Mapping[str, str], profiles: Sequence[str] | None = None, *, machine: bool = True
) -> Loaded:
    """The project in a file or folder. `profiles` override the file's own; without `machine` programs are not looked for.

    Raises:
        ProjectInvalid: with every problem of the file and (with `machine`) of this machine.
    """
    source = find_file(File(path))
    file = shown(source)
    text = read_source(source, file)
    reading = _Reading(file, text, source.absolute().parent, environ, read_env_file)
    loaded = reading.load(profiles, str(source.absolute()), machine=machine)
    reading.refuse()
    return loaded


def parse_project(
    text: str,
    file: str,
    folder: File,
    environ: Mapping[str, str],
    profiles: Sequence[str] | None = None,
    *,
    read: Callable[[File], str],
) -> Loaded:
    """As `load_project`, of text that is at hand; looks at nothing but through `read`, which gives the env files.

    Raises:
        ProjectInvalid: with every problem of the text.
    """
    reading = _Reading(file, text, folder, environ, read)
    loaded = reading.load(profiles, str(folder / file), machine=False)
    reading.refuse()
    return loaded


def _at(finding: Finding) -> tuple[str, int, int]:
    return finding.file, finding.line, finding.column


def _rank(finding: Finding) -> int:
    """0: what could not be read at all, 2: what this machine makes of it, 1: all else."""
    if finding.code in {Code.INTERPOLATION, Code.NOT_SUPPORTED}:
        return 0
    return 2 if finding.code in {Code.PROGRAM_MISSING, Code.PROGRAM_UNUSABLE, Code.INTERPRETER} else 1


class _Reading:
    """One file on its way to a project; gathers what is wrong in `findings`."""

    def __init__(
        self, file: str, text: str, folder: File, environ: Mapping[str, str], read: Callable[[File], str]
    ) -> None:
        self.findings: list[Finding] = []
        self._warnings: list[Finding] = []
        self._file = file
        self._text = text
        self._folder = folder
        self._environ = environ
        self._read = read
        self._compose: Converted | None = None
        self._kind = File(file).name
        self._procfile = self._kind.startswith("Procfile")

    def refuse(self) -> None:
        """Raise ProjectInvalid if anything is wrong; of cause and consequence at one place, the cause is told."""
        first: dict[tuple[str, int, int], int] = {}
        for finding in self.findings:
            first[_at(finding)] = min(_rank(finding), first.get(_at(finding), _rank(finding)))
        told = [f for f in dict.fromkeys(self.findings) if not f.line or _rank(f) == first[_at(f)]]
        if told:
            raise invalid(sorted(told, key=self._order), what=self._file)

    def _order(self, finding: Finding) -> tuple[bool, str, bool, int, int, str]:
        """The project file first, then others; by place, what has none last."""
        unplaced = finding.line == 0
        return finding.file != self._file, finding.file, unplaced, finding.line, finding.column, finding.message

    def load(self, profiles: Sequence[str] | None, path: str, *, machine: bool) -> Loaded:
        nothing = Loaded(project=Project(name=""), file=path, folder=str(self._folder))
        try:
            document, values = self._document()
        except ProjectInvalid as error:
            self.findings += findings_of(error)
            return nothing
        known = _names(document)
        shape = read_shape(document)
        self.findings += shape.findings
        if shape.root is None:
            return nothing
        root, document = shape.root, shape.document
        on = tuple(profiles) if profiles is not None else tuple(root.profiles)
        around = Surroundings(
            folder=self._folder,
            values=values,
            profiles=on,
            read=self._read,
            complete=lambda at: place_of(document.root, at) not in shape.damaged,
        )
        name = root.name or fold(self._folder.name) or "project"
        facts = _facts_of(root, name if name[0].isalpha() or root.name else f"project-{name}"[:63], around)
        whole = around.complete(("gateway",)) and not shape.damaged
        if whole and not root.gateway.routes:
            facts.routes += self._default_route(facts)
        listener = self._listener(root, document)
        self._judge(facts, document, known, root, machine=machine)
        self._reserved(facts, document, listener)
        self._unknown_profiles(root, on)
        return Loaded(
            project=facts.project(),
            file=path,
            folder=str(self._folder),
            profiles=on,
            listener=listener,
            telemetry=telemetry_words(root.telemetry),
            external=tuple(self._compose.external) if self._compose else (),
            warnings=tuple(sorted(dict.fromkeys(self._warnings), key=self._order)),
        )

    def _document(self) -> tuple[Document, Mapping[str, str]]:
        """The file's tree in atoll's words, and the variables that are known."""
        if self._procfile:
            document, warnings = read_procfile(self._text, self._file)
            self._warnings += warnings
            return document, self._environ
        document = read_yaml(self._text, self._file)
        values = {**self._dotenv(), **self._environ}
        document, findings, warnings = fill(document, values)
        self.findings += findings
        self._warnings += warnings
        if self._kind.startswith(("compose", "docker-compose")):
            self._compose = from_compose(document)
            document = self._compose.document
            self.findings += self._compose.findings
            self._warnings += self._compose.warnings
            if self._compose.nothing:
                raise invalid(self._compose.findings, what=self._file)
        return document, values

    def _dotenv(self) -> Mapping[str, str]:
        try:
            text = self._read(self._folder / ".env")
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            message = f".env cannot be read: {scrub(str(error), limit=200)}"
            self.findings.append(Finding(code=Code.ENV_FILE, message=message, file=".env"))
            return {}
        values, findings = read_dotenv(text, ".env", self._environ)
        self.findings += findings
        return values

    def _judge(
        self,
        facts: Facts,
        document: Document,
        known: frozenset[str],
        root: schema.Root,
        *,
        machine: bool,
    ) -> None:
        """Everything that the facts say about each other and, with `machine`, about this machine."""
        project = facts.project()
        also = known - set(facts.services) - facts.off
        found = [*facts.findings, *problems(project, {}, off=facts.off, also=also, vague=facts.vague)]
        if machine:
            found += (self._in_image(finding) for finding in check_environment(project, self._environ))
        for finding in found:
            path = _in_file(finding.path, facts, root)
            self.findings.append(document.locate(msgspec.structs.replace(finding, path=path)))
        self._warnings += (document.locate(warning) for warning in facts.warnings)

    def _in_image(self, finding: Finding) -> Finding:
        image = self._compose.images.get(str(finding.path[1])) if self._compose else None
        if image is None or finding.code not in {Code.PROGRAM_MISSING, Code.FOLDER_MISSING}:
            return finding
        hint = f"compose has it in the image {scrub(image, limit=80)}: install it here, or say `x-atoll: {{external: true}}`"
        return msgspec.structs.replace(finding, hint=hint)

    def _default_route(self, facts: Facts) -> list[Route]:
        """Without routes, the only HTTP service gets `/`; among several, in compose and Procfile, the one called `web`."""
        reachable = [
            service
            for service in facts.services.values()
            if service.protocol in {Protocol.HTTP, Protocol.H2C}
            and (service.run is None or service.run.port is not None)
        ]
        chosen = reachable if len(reachable) == 1 and not self._procfile else []
        if not chosen and (self._procfile or self._compose):
            chosen = [service for service in reachable if service.name == WEB]
        return [
            Route(
                name=RouteName(service.name),
                shares=(Share(service=service.name),),
                defaults=facts.defaults,
                origin=facts.name,
            )
            for service in chosen
        ]

    def _listener(self, root: schema.Root, document: Document) -> Listener | None:
        for index, said in enumerate(root.gateway.listeners):
            here: Path = ("gateway", "listeners", index)
            if index >= LISTENERS:
                message = "a second listener is not supported by this version of atoll"
                self.findings.append(document.locate(Finding(code=Code.NOT_SUPPORTED, message=message, path=here)))
            try:
                ipaddress.ip_address("127.0.0.1" if said.host == "localhost" else said.host)
            except ValueError:
                message = f"host `{scrub(said.host, limit=80)}` is not an IP address"
                hint = "127.0.0.1 is this machine only, 0.0.0.0 every interface"
                finding = Finding(code=Code.INVALID_VALUE, message=message, path=(*here, "host"), hint=hint)
                self.findings.append(document.locate(finding))
        if not root.gateway.listeners:
            return None
        first = root.gateway.listeners[0]
        return Listener(name=first.name, host="127.0.0.1" if first.host == "localhost" else first.host, port=first.port)

    def _reserved(self, facts: Facts, document: Document, listener: Listener | None) -> None:
        """Fixed ports of services against the platform's own."""
        try:
            ours = settings.load(self._folder, self._environ)
        except InvalidValue:
            ours = settings.Settings(state=self._folder)  # whoever starts the platform refuses it
        gateway = ours.gateway
        taken = {ours.api.port: "the control plane's", gateway.mesh_port: "the mesh's"}
        taken[listener.port if listener else gateway.port] = "the gateway's"
        mesh = range(gateway.mesh_ports, gateway.mesh_ports + gateway.mesh_count)
        for name, service in facts.services.items():
            port = service.run.port if service.run is not None else None
            owner = taken.get(port or 0, "one of the mesh's" if port in mesh else "")
            if port and owner:
                message = f"port {port} of `{scrub(name)}` is {owner}"
                hint = "use `port: auto`, or move atoll's own with its settings"
                finding = Finding(code=Code.PORT_TWICE, message=message, path=("services", name, "port"), hint=hint)
                self.findings.append(document.locate(finding))

    def _unknown_profiles(self, root: schema.Root, on: tuple[str, ...]) -> None:
        known = {profile for service in root.services.values() for profile in service.profiles}
        for profile in on:
            if profile not in known:
                message = f"no service has the profile `{scrub(profile, limit=80)}`"
                suggestion = closest(profile, known) or ""
                finding = Finding(code=Code.UNKNOWN_REFERENCE, message=message, file=self._file, suggestion=suggestion)
                self._warnings.append(finding)


def _facts_of(root: schema.Root, name: str, around: Surroundings) -> Facts:
    """The facts of `root`, for the project called `name`; services whose profiles are not on are left out."""
    facts = Facts(name)
    facts.defaults = policy_of(root.gateway.defaults, ("gateway", "defaults"), facts, around)
    peers = peer_variables(root.services)
    scraped = scraped_services(root, facts)
    for key, service in root.services.items():
        said = scraped.get(key, service)
        if said.profiles and not set(said.profiles) & set(around.profiles):
            facts.off.add(key)
        else:
            facts.services[key] = service_fact(key, said, facts, around, peers)
    for index, route in enumerate(root.gateway.routes):
        add_route(route, index, facts, around)
    return facts


def _names(document: Document) -> frozenset[str]:
    """The services that the file names, however wrong they are: references to them are not unknown."""
    services = document.root.get("services")
    entries = getattr(services, "entries", {})
    return frozenset(str(name) for name in entries)


def _in_file(path: Path, facts: Facts, root: schema.Root) -> Path:
    """A path through the facts as a path through the file: routes by index, short forms where they were used."""
    if path[:1] == ("services",) and path[2:3] == ("scrape",) and path[1] in facts.scraped:
        return ("telemetry", "scrape", facts.scraped[str(path[1])], *path[3:])
    if path[:2] != ("gateway", "routes") or len(path) < 3:
        return path
    index = facts.positions.get(str(path[2]), path[2])
    if not isinstance(index, int) or index >= len(root.gateway.routes):
        return ("gateway",)
    said, rest = root.gateway.routes[index], path[3:]
    if rest[:1] == ("backends",) and said.backends is None:
        rest = ("service",)
    elif rest[:2] == ("match", "hosts") and said.match.hosts is None:
        rest = ("match", "host")
    elif rest[:2] == ("match", "methods"):
        rest = next(
            (("match", "methods", at) for at, word in enumerate(said.match.methods) if word.upper() == rest[-1]), rest
        )
    return ("gateway", "routes", index, *rest)
