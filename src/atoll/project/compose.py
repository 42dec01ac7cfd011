"""compose.yaml as an atoll tree: what is a process comes over, what is a container is said out loud.

Every value keeps its place in compose.yaml, so the one schema and its messages serve both files. Keys that atoll does
not use are listed in one warning. A service that has only an image is external: reported, not run. `x-atoll` in a
service or at the top holds what compose has no words for, in the words of atoll.yaml.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field, replace

from atoll.kit.text import scrub
from atoll.project.finding import Code, Finding
from atoll.project.node import Document, Mapping, Node, Place, Scalar, Sequence, walk

AS_IS = ("environment", "env_file", "stop_grace_period", "stop_signal", "profiles")
HANDLED = frozenset(
    (*AS_IS, "command", "entrypoint", "working_dir", "depends_on", "healthcheck", "deploy", "scale", "restart", "ports",
     "expose", "image", "build", "x-atoll", "container_name", "hostname", "init", "tty", "stdin_open", "pull_policy")
)  # fmt: skip
"""Keys that are used, or that say only how a container is made."""
CHECK_TIMES = ("interval", "timeout", "retries", "start_period")
_PORT = re.compile(
    r"(?:(?P<host>[0-9]+(?:[.][0-9]+){3}|\[[0-9a-fA-F:]+\]):)?(?:(?P<published>[0-9]*):)?(?P<target>[0-9]+)(?:/tcp)?"
)
_URL = re.compile(
    r"https?://(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1\])(?::\S+?)?(?P<path>/[^\s\"'|;]*)?(?=[\s\"'|;]|$)"
)
_USES_PORT = re.compile(r"(?<!\$)(?:\$\$)*\$(?:PORT\b|\{PORT\b)")
LISTED_LIMIT = 40
"""Unused keys that the warning names."""


@dataclass
class Converted:
    """A document in atoll's words, and what was said on the way."""

    document: Document
    warnings: list[Finding] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    external: list[str] = field(default_factory=list)
    nothing: bool = False
    """No service is a process; a finding says so."""
    images: dict[str, str] = field(default_factory=dict)
    """Services that run as a process although compose would run them in this image."""


def from_compose(document: Document) -> Converted:
    """`document` (variables filled in) as if it had been written as an atoll.yaml."""
    return _Compose(document).convert()


def fold(name: str) -> str:
    """A compose or Procfile name as a service name: lower case, `-` for everything else."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


class _Compose:
    def __init__(self, document: Document) -> None:
        self._document = document
        self._made = Converted(document)
        self._unused: list[tuple[str, Place]] = []

    def convert(self) -> Converted:
        root = self._document.root
        for key, (label, _) in root.entries.items():
            if key not in {"name", "services", "version"} and not key.startswith("x-"):
                self._unused.append((key, label.place))
        entries: dict[str, tuple[Scalar, Node]] = {}
        name = root.entries.get("name")
        if name is not None and isinstance(name[1], Scalar):
            entries["name"] = (name[0], replace(name[1], text=fold(name[1].text)))
        extra = root.get("x-atoll")
        if isinstance(extra, Mapping):
            entries.update(extra.entries)
        services = root.entries.get("services")
        if services is not None:
            label, value = services
            entries["services"] = (label, self._services(value) if isinstance(value, Mapping) else value)
        self._made.document = replace(self._document, root=replace(root, entries=entries))
        self._tell_unused()
        return self._made

    def _services(self, services: Mapping) -> Mapping:
        for name, (label, service) in services.entries.items():
            if isinstance(service, Mapping) and (reason := _why_external(service)):
                self._made.external.append(name)
                self._tell_external(name, label, reason)
        entries: dict[str, tuple[Scalar, Node]] = {}
        for name, (label, service) in services.entries.items():
            if name in self._made.external:
                continue
            folded = self._folded(name, label)
            if folded in entries:
                message = f"`{scrub(name)}` and another service are both called `{folded}` here"
                self._say(self._made.findings, Code.NAME_TWICE, message, label.place)
            made = self._service(folded, service) if isinstance(service, Mapping) else service
            entries[folded] = (label, made)
        if services.entries and not entries:
            self._made.nothing = True
            message = "no service of this file is a process: all are images"
            hint = "give one a `build` and a `command`, or write an atoll.yaml"
            self._say(self._made.findings, Code.MISSING_KEY, message, services.place, hint)
        return replace(services, entries=entries)

    def _folded(self, name: str, label: Scalar) -> str:
        folded = fold(name)
        if folded == name or not folded:
            return name
        message = f"`{scrub(name)}` is called `{folded}` here"
        hint = "service names are DNS labels: a-z, 0-9 and '-'"
        self._say(self._made.warnings, Code.RENAMED, message, label.place, hint)
        return folded

    def _service(self, name: str, service: Mapping) -> Mapping:
        entries: dict[str, tuple[Scalar, Node]] = {}

        def put(key: str, value: Node | None, at: Place | None = None) -> None:
            if value is not None and not _is_null(value):
                label = service.entries.get(key)
                entries[key] = (label[0] if label else Scalar(key, at or value.place), value)

        for key, (label, _) in service.entries.items():
            if key not in HANDLED and not key.startswith("x-"):
                self._unused.append((f"{name}.{key}", label.place))
        command = _command(service.get("entrypoint"), service.get("command"))
        put("command", command)
        for key in AS_IS:
            put(key, service.get(key))
        put("working_dir", service.get("working_dir") or _context(service.get("build")))
        put("depends_on", self._depends_on(name, service.get("depends_on")))
        put("healthcheck", self._healthcheck(name, service.get("healthcheck")))
        put("restart", self._restart(name, service.get("restart")) or Scalar("no", service.place))
        put("replicas", self._replicas(name, service))
        put("port", self._port(name, service, command))
        extra = service.get("x-atoll")
        if isinstance(extra, Mapping):
            entries.update({key: entry for key, entry in extra.entries.items() if key != "external"})
        elif extra is not None:
            message = f"`x-atoll` of `{scrub(name)}` should be a map"
            self._say(self._made.findings, Code.WRONG_TYPE, message, extra.place)
        image = service.get("image")
        if isinstance(image, Scalar):
            self._made.images[name] = image.text
        return Mapping(entries, service.place)

    def _depends_on(self, name: str, said: Node | None) -> Node | None:
        if isinstance(said, Sequence):
            items = {item.text: item for item in said.items if isinstance(item, Scalar)}
            entries: dict[str, tuple[Scalar, Node]] = {
                fold(text) or text: (item, _condition("service_started", item.place))
                for text, item in items.items()
                if text not in self._made.external
            }
            return Mapping(entries, said.place)
        if not isinstance(said, Mapping):
            return said
        entries = {}
        for other, (label, value) in said.entries.items():
            if other in self._made.external:
                continue
            condition = value.get("condition") if isinstance(value, Mapping) else None
            if isinstance(value, Mapping):
                self._rest(f"{name}.depends_on.{other}", value, {"condition"})
                value = Mapping({}, value.place).with_entry("condition", condition) if condition else value
                value = value if condition else _condition("service_started", label.place)
            elif _is_null(value):
                value = _condition("service_started", label.place)
            entries[fold(other) or other] = (label, value)
        return Mapping(entries, said.place)

    def _healthcheck(self, name: str, said: Node | None) -> Node | None:
        if not isinstance(said, Mapping):
            return said
        entries = {key: said.entries[key] for key in (*CHECK_TIMES, "disable") if key in said.entries}
        self._rest(f"{name}.healthcheck", said, {*CHECK_TIMES, "disable", "test"})
        test = said.get("test")
        words = [part.text for part in walk(test) if isinstance(part, Scalar)] if test is not None else []
        found = _URL.search(" ".join(words)) if {"curl", "wget"} & set(" ".join(words).split()) else None
        if test is not None and words[:1] == ["NONE"]:
            entries["disable"] = (Scalar("disable", test.place), Scalar("true", test.place, plain=True))
        elif test is not None and found is not None:
            path = (found["path"] or "/").split("?")[0].split("#")[0]
            entries["http"] = (Scalar("http", test.place), Scalar(path, test.place))
        elif test is not None:
            self._unused.append((f"{name}.healthcheck.test", test.place))
        return Mapping(entries, said.place)

    def _restart(self, name: str, said: Node | None) -> Node | None:
        if isinstance(said, Scalar) and said.text.startswith("on-failure:"):
            self._unused.append((f"{name}.restart (the count in {scrub(said.text, limit=40)})", said.place))
            return replace(said, text="on-failure")
        if isinstance(said, Scalar) and said.plain and said.text == "false":
            return Scalar("no", said.place)
        return said

    def _replicas(self, name: str, service: Mapping) -> Node | None:
        deploy = service.get("deploy")
        if isinstance(deploy, Mapping):
            self._rest(f"{name}.deploy", deploy, {"replicas"})
            return deploy.get("replicas") or service.get("scale")
        return service.get("scale")

    def _port(self, name: str, service: Mapping, command: Node | None) -> Node:
        """The port a process listens on: $PORT when the command asks for it, else the container's own."""
        asks = command is not None and any(
            isinstance(part, Scalar) and _USES_PORT.search(part.text) for part in walk(command)
        )
        found = [pair for key in ("ports", "expose") for pair in self._ports(name, service.get(key))]
        if not found:
            return Scalar("auto" if asks else "none", service.place)
        (published, target), *others = found
        if others:
            self._unused.append((f"{name}.ports (all but the first)", service.place))
        port = published or (None if asks else target)
        if port is None:
            return Scalar("auto", service.place)
        if not asks and published is not None and published.text != target.text:
            message = f"`{scrub(name)}` listens on {target.text}; its published port {published.text} is not opened"
            hint = "write the command with $PORT, and it gets the published port"
            self._say(self._made.warnings, Code.IGNORED, message, published.place, hint)
            port = target
        return port

    def _ports(self, name: str, said: Node | None) -> list[tuple[Scalar | None, Scalar]]:
        pairs: list[tuple[Scalar | None, Scalar]] = []
        for item in said.items if isinstance(said, Sequence) else ():
            if isinstance(item, Mapping):
                target, published = item.get("target"), item.get("published")
                if isinstance(target, Scalar):
                    pairs.append((_number(published) if isinstance(published, Scalar) else None, _number(target)))
                    self._rest(f"{name}.ports", item, {"target", "published", "protocol", "mode", "name"})
            elif isinstance(item, Scalar) and (parts := _PORT.fullmatch(item.text)):
                published_text = parts["published"]
                published = replace(item, text=published_text, plain=True) if published_text else None
                pairs.append((published, replace(item, text=parts["target"], plain=True)))
            else:
                self._unused.append((f"{name}.ports", item.place))
        return pairs

    def _rest(self, where: str, said: Mapping, used: set[str]) -> None:
        self._unused += [(f"{where}.{key}", label.place) for key, (label, _) in said.entries.items() if key not in used]

    def _tell_unused(self) -> None:
        if not self._unused:
            return
        names = list(dict.fromkeys(name for name, _ in self._unused))
        more = f" and {len(names) - LISTED_LIMIT} more" if len(names) > LISTED_LIMIT else ""
        listed = ", ".join(scrub(name, limit=80) for name in names[:LISTED_LIMIT])
        message = f"compose keys that atoll does not use: {listed}{more}"
        hint = "they are for containers; what atoll.yaml says instead goes under `x-atoll`"
        self._say(self._made.warnings, Code.IGNORED, message, self._unused[0][1], hint)

    def _tell_external(self, name: str, label: Scalar, reason: str) -> None:
        message = f"`{scrub(name)}` is external: {scrub(reason, limit=200)}; atoll does not run it"
        hint = f"start it yourself, for example with `docker compose up -d {scrub(name)}`"
        self._say(self._made.warnings, Code.EXTERNAL, message, label.place, hint)

    def _say(self, where: list[Finding], code: Code, message: str, place: Place, hint: str = "") -> None:
        where.append(self._document.at(Finding(code=code, message=message, hint=hint), place))


def _why_external(service: Mapping) -> str:
    """Why a service cannot be run as a process; empty when it can."""
    extra = service.get("x-atoll")
    if isinstance(extra, Mapping):
        external = extra.get("external")
        if isinstance(external, Scalar) and external.text == "true":
            return "it says so under x-atoll"
        if extra.get("command") is not None:
            return ""
    if any(not _is_null(value) for key in ("command", "entrypoint") if (value := service.get(key)) is not None):
        return ""
    image = service.get("image")
    if service.get("build") is not None:
        return "its command is in the image that it builds"
    return f"it has only an image ({image.text})" if isinstance(image, Scalar) else ""


def _command(entrypoint: Node | None, command: Node | None) -> Node | None:
    """What a container would run: entrypoint, then command."""
    parts = [part for part in (entrypoint, command) if part is not None and not _is_null(part)]
    if len(parts) < 2:
        return parts[0] if parts else None
    words: list[Node] = []
    for part in parts:
        if isinstance(part, Sequence):
            words += part.items
        elif isinstance(part, Scalar):
            try:
                words += (Scalar(word, part.place) for word in shlex.split(part.text))
            except ValueError:
                return part  # said where the command is split
        else:
            return part
    return Sequence(tuple(words), parts[0].place)


def _context(build: Node | None) -> Node | None:
    """The folder a service is built from: where its process starts."""
    said = build.get("context") if isinstance(build, Mapping) else build
    return said if isinstance(said, Scalar) and "://" not in said.text else None


def _condition(word: str, place: Place) -> Mapping:
    return Mapping({}, place).with_entry("condition", Scalar(word, place))


def _is_null(node: Node) -> bool:
    return isinstance(node, Scalar) and node.plain and node.text in {"", "~", "null"}


def _number(scalar: Scalar) -> Scalar:
    return replace(scalar, plain=True)
