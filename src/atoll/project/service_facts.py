"""One service of the file to its fact: command split and filled, environment gathered, check and balance chosen."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

from atoll.errors import InvalidName
from atoll.kit.text import scrub
from atoll.model.failover import Failover, parse_group
from atoll.model.names import ServiceName, Token
from atoll.model.service import (
    Balance,
    BalanceKind,
    Check,
    CheckKind,
    Condition,
    Mode,
    Otel,
    Protocol,
    Restart,
    Run,
    Scrape,
    Service,
)
from atoll.project import schema
from atoll.project.dotenv import read_dotenv
from atoll.project.facts import Facts, Surroundings
from atoll.project.fill import tell
from atoll.project.finding import Code, Finding, Path
from atoll.project.interpolate import expand
from atoll.project.policy_facts import calls_of, policy_of, queue_of

NEEDS_COMMAND = (
    "working_dir", "environment", "env_file", "port", "replicas", "version", "depends_on", "restart", "stop_grace_period",
    "stop_signal", "otel",
)  # fmt: skip
"""Keys that say how a service is run, and so mean nothing without a command."""
UNUSABLE = ("?",)
"""Stands for a command of which a finding was made."""
SHELL_WORDS = frozenset({"&&", "||", "|", ";", "&", "<", ">", ">>", "<<", "2>&1", "2>", "&>"})
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*")


def service_fact(name: str, said: schema.Service, facts: Facts, around: Surroundings, peers: frozenset[str]) -> Service:
    """The fact of the service `name`; findings and warnings go to `facts`. `peers`: variables of `peer_variables`."""
    return _Service(name, said, facts, around, peers).fact()


def peer_variables(services: Iterable[str]) -> frozenset[str]:
    """The variables by which an instance finds the others."""
    words = (name.upper().replace("-", "_") for name in services)
    return frozenset(f"{word}_{end}" for word in words for end in ("URL", "HOST", "PORT"))


class _Service:
    """One service on its way to a fact."""

    def __init__(
        self, name: str, said: schema.Service, facts: Facts, around: Surroundings, peers: frozenset[str]
    ) -> None:
        self._name = name
        self._said = said
        self._facts = facts
        self._around = around
        self._peers = peers
        self._here: Path = ("services", name)
        self._environment: dict[str, str] = {}

    def fact(self) -> Service:
        said = self._said
        kind, hash_on = said.balance or ("least_connections", "client_ip")
        return Service(
            name=ServiceName(self._name),
            protocol=Protocol(said.protocol),
            check=self._check(),
            balance=Balance(kind=BalanceKind(kind), hash_on=hash_on),
            sticky=said.sticky,
            mode=Mode(said.mode),
            failover=self._failover(),
            slow_start=said.slow_start,
            instance_concurrency=said.instance_concurrency,
            queue=queue_of(said),
            policy=policy_of(said, self._here, self._facts, self._around),
            calls=calls_of(said, self._here, self._facts, self._around),
            scrape=self._scrape(),
            origin=self._facts.name,
            run=self._run(),
        )

    def _say(self, code: Code, message: str, *path: str | int, hint: str = "") -> None:
        self._facts.findings.append(Finding(code=code, message=message, path=(*self._here, *path), hint=hint))

    def _run(self) -> Run | None:
        said = self._said
        if said.command is None:
            self._without_command()
            return None
        self._gather()
        return Run(
            command=self._command(said.command),
            working_dir=said.working_dir,
            root=str(self._around.folder),
            environment=self._environment,
            port=said.port,
            replicas=said.replicas,
            version=None if said.version is None else Token(said.version),
            depends_on={ServiceName(name): Condition(d.condition) for name, d in said.depends_on.items()},
            restart=Restart.ALWAYS if said.restart == "unless-stopped" else Restart(said.restart),
            stop_grace=said.stop_grace_period,
            stop_signal=said.stop_signal,
            otel=Otel(
                enabled=said.otel.enabled,
                disabled=tuple(said.otel.disabled),
                java_agent="" if said.otel.java_agent is None else str(self._around.folder / said.otel.java_agent),
            ),
        )

    def _without_command(self) -> None:
        keys = [key for key in NEEDS_COMMAND if key in self._said.model_fields_set]
        if keys and self._around.complete(self._here):
            self._say(
                Code.MISSING_KEY,
                f"`{scrub(self._name)}` has `{keys[0]}` but no `command`",
                keys[0],
                hint="give it a command; without one, its instances register themselves",
            )

    def _gather(self) -> None:
        """The environment: files in their order, then the service's own words."""
        for index, file in enumerate(self._said.env_file):
            self._from_file(file, index)
        for name, value in self._said.environment.items():
            known = self._around.values.get(name) if value is None else value
            if known is not None:
                self._environment[name] = str(known)
        port = self._environment.get("PORT")
        if port is not None and self._said.port is not None:
            del self._environment["PORT"]
            if "PORT" in self._said.environment and port != str(self._said.port):
                self._facts.warnings.append(
                    Finding(
                        code=Code.IGNORED,
                        message=f"PORT of `{scrub(self._name)}` is not taken from its environment: atoll chooses it",
                        path=(*self._here, "environment", "PORT"),
                        hint="say `port: 8000` for a fixed one",
                    )
                )

    def _from_file(self, file: schema.EnvFile, index: int) -> None:
        path = self._around.folder / file.path
        try:
            text = self._around.read(path)
        except FileNotFoundError:
            if file.required:
                shown = scrub(str(path), limit=200)
                self._say(
                    Code.ENV_FILE,
                    f"env_file `{scrub(file.path, limit=200)}` does not exist",
                    "env_file",
                    index,
                    hint=f"looked for {shown}",
                )
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            self._say(
                Code.ENV_FILE,
                f"env_file `{scrub(file.path, limit=200)}` cannot be read: {scrub(reason, limit=200)}",
                "env_file",
                index,
            )
        else:
            values, findings = read_dotenv(text, file.path, self._around.values)
            self._environment.update(values)
            self._facts.findings += findings

    def _command(self, said: str | list[str]) -> tuple[str, ...]:
        if isinstance(said, list):
            return tuple(self._filled(word) for word in said)
        text = self._filled(said)
        try:
            words = tuple(shlex.split(text))
        except ValueError as error:
            reason = str(error).lower()
            self._say(Code.INVALID_VALUE, f"`command` cannot be split into arguments: {reason}", "command")
            return UNUSABLE
        if not words:
            self._say(Code.INVALID_VALUE, "`command` is empty once its variables are filled in", "command")
            return UNUSABLE
        self._no_shell(text, words)
        return words

    def _filled(self, text: str) -> str:
        expansion = expand(text, self._around.values, own=self._own)
        findings, warnings = tell(expansion, (*self._here, "command"))
        self._facts.findings += findings
        self._facts.warnings += warnings
        return expansion.text

    def _own(self, name: str) -> str | None:
        """The value of a variable that an instance has of its own, or `set` when it is known only at its start."""
        if name in self._environment:
            return self._environment[name]
        mine = (
            (name == "PORT" and self._said.port is not None)
            or (name == "SERVICE_VERSION" and self._said.version is not None)
            or name.startswith("ATOLL_")
            or name in self._peers
        )
        return "set" if mine else None

    def _no_shell(self, text: str, words: tuple[str, ...]) -> None:
        try:
            quoted = shlex.split(text, posix=False)
        except ValueError:
            quoted = []
        found = next((word for word in quoted if word in SHELL_WORDS or (word.endswith(";") and len(word) > 1)), None)
        if _ASSIGNMENT.fullmatch(words[0]):
            found = words[0]
        if found is not None:
            shown = shlex.join(["sh", "-c", text])
            self._say(
                Code.SHELL_SYNTAX,
                f"`{scrub(found, limit=80)}` is for a shell, and commands are run without one",
                "command",
                hint=f"set variables in `environment`, or ask for a shell: {scrub(shown, limit=200)}",
            )

    def _failover(self) -> Failover | None:
        said = self._said.failover
        if said is None:
            return None
        groups = []
        for index, text in enumerate(said.groups):
            try:
                groups.append(parse_group(text, field="group"))
            except InvalidName as error:
                hint = "write a group as orders, orders@zone:b or orders@v2"
                self._say(Code.INVALID_VALUE, error.detail, "failover", "groups", index, hint=hint)
        if len(groups) < len(said.groups):
            return None
        return Failover(groups=tuple(groups), error_rate=said.when.error_rate, return_after=said.return_after)

    def _scrape(self) -> Scrape | None:
        said = self._said.scrape
        if said is None:
            return None
        if said.enabled and said.port is None and self._said.command is not None and self._said.port is None:
            self._say(
                Code.INVALID_VALUE,
                f"`{scrub(self._name)}` listens nowhere (port: none), so its metrics cannot be asked for",
                "scrape",
                hint="say `scrape: {port: 9100}`, where its metrics are",
            )
        return Scrape(
            enabled=said.enabled, path=said.path, port=said.port, interval=said.interval, timeout=said.timeout
        )

    def _check(self) -> Check:
        said = self._said.healthcheck or schema.Healthcheck()
        listens = self._said.port is not None or self._said.command is None
        kinds = {
            CheckKind.HTTP: said.http is not None,
            CheckKind.TCP: said.tcp,
            CheckKind.GRPC: said.grpc is not None and said.grpc is not False,
            CheckKind.PROCESS: said.process,
            CheckKind.NONE: said.disable,
        }
        chosen = [kind for kind, wanted in kinds.items() if wanted]
        words = {CheckKind.NONE: "disable"}
        if len(chosen) > 1:
            listed = " and ".join(f"`{words.get(kind, kind.value)}`" for kind in chosen)
            self._say(Code.EXCLUSIVE, f"{listed} exclude each other", "healthcheck", hint="keep one")
        kind = chosen[0] if chosen else CheckKind.TCP if listens else CheckKind.PROCESS
        if not listens and kind in {CheckKind.HTTP, CheckKind.TCP, CheckKind.GRPC}:
            self._say(
                Code.INVALID_VALUE,
                f"`{scrub(self._name)}` listens nowhere (port: none), so `{kind.value}` cannot be asked",
                "healthcheck",
                hint="use {process: true}, or give it a port",
            )
        usual = Check()
        return Check(
            kind=kind,
            path=said.http if said.http is not None else usual.path,
            grpc_service=said.grpc if isinstance(said.grpc, str) else "",
            interval=usual.interval if said.interval is None else said.interval,
            timeout=said.timeout,
            fall=said.retries or usual.fall,
            rise=said.rise or usual.rise,
            start_period=usual.start_period if said.start_period is None else said.start_period,
        )
