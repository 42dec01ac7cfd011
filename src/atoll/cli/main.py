"""`atoll`: the entry point and the table of commands. A command's module is imported when the command is run."""

from __future__ import annotations

import sys

if __name__ == "__main__":  # before what takes time: a signal may come at any moment
    from atoll.cli.early import listen

    listen(sys.argv[1:])

import contextlib
import importlib
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import click

from atoll.cli.failures import report
from atoll.cli.invocation import Invocation
from atoll.cli.options import AtollGroup, global_options


class Entry(NamedTuple):
    """Where a command lives, and what the overview says of it (the same words as its own help)."""

    module: str
    help: str


SECTIONS: dict[str, dict[str, Entry]] = {
    "Run": {
        "up": Entry("up", "Start the platform and the services of the project file."),
        "down": Entry("down", "Stop everything that `up` started."),
        "run": Entry("run", "Run one command as an instance of a service."),
        "start": Entry("control", "Start services that were stopped."),
        "stop": Entry("control", "Stop services; they stay stopped until `start`."),
        "restart": Entry("control", "Replace the instances of services."),
        "scale": Entry("scale", "Set the number of instances of services."),
        "wait": Entry("wait", "Wait until services are ready; exit 3 when time is up."),
    },
    "Look": {
        "ps": Entry("ps", "List instances with state, endpoint, CPU, memory and restarts."),
        "logs": Entry("logs", "Show and follow what services print and send."),
        "traces": Entry("traces", "List traces, or draw one: all its spans, with its log lines; or compare two."),
        "why": Entry("why", "Say why a request failed, or what it waited for."),
        "map": Entry("map", "Show who calls whom, with rate, errors and durations of each edge."),
        "red": Entry("red", "Show rate, errors and durations of services, routes, instances or edges."),
        "query": Entry("query", "Evaluate PromQL and print a table or spark-lines."),
        "routes": Entry("routes", "List the gateway's routes, or explain which one takes a request."),
        "explain": Entry("explain", "Say what counts for a request or a call, who said it, and what would happen now."),
        "breakers": Entry("breakers", "Show the circuit breakers; force one open or closed, or reset it."),
        "fault": Entry("fault", "Inject faults to see what they do: delays, errors, dropped connections."),
        "call": Entry("call", "Call a service by name, through the mesh."),
        "env": Entry("env", "Show the environment that a service gets, and why."),
        "service": Entry("service", "Look at and edit the registry."),
        "maint": Entry(
            "maint", "Show what is in maintenance; take services, instances, zones or machines out and back."
        ),
        "failover": Entry("failover", "Show where requests of services with groups go; send them elsewhere, and back."),
        "health": Entry("health", "Exit 0 if the platform is ready, else 1."),
        "doctor": Entry("doctor", "Check this machine and platform; say how to fix what is wrong."),
    },
    "Project": {
        "check": Entry("project", "Check the project file and everything it refers to."),
        "plan": Entry("project", "Show what `apply` would change; exit 2 if anything."),
        "apply": Entry("project", "Bring the running platform to what the project file says."),
    },
    "Prove": {
        "drill": Entry("drill", "Break an instance on purpose under load; prove the recovery and count what was lost."),
        "chaos": Entry("chaos", "Break everything once, one thing after the other; score what callers were spared."),
    },
    "Keep": {
        "backup": Entry("keep", "Save the facts of the running platform to a file."),
        "restore": Entry("keep", "Put a backup in the place of a stopped platform's facts."),
    },
    "Other": {
        "server": Entry("server", "Run only the control plane, in the foreground."),
        "telemetry": Entry("telemetry", "Run only the telemetry process, in the foreground."),
        "completion": Entry("completion", "Print the completion script for a shell."),
        "version": Entry("version", "Print the versions of all parts."),
    },
}
COMMANDS: dict[str, Entry] = {name: entry for section in SECTIONS.values() for name, entry in section.items()}


class Root(AtollGroup):
    """The root command: knows names and one-line helps, and imports on demand."""

    def __init__(self, **kwargs: Any) -> None:
        click.Group.__init__(self, **kwargs)
        self.params.extend(global_options(shown=True, json=True))

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """All commands, in the order of the sections."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's signature
        """Import a command."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module = importlib.import_module(f"atoll.cli.commands.{entry.module}")
        found = getattr(module, cmd_name)
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # click's
        """The sections, without importing a single command."""
        for section, entries in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(name, entry.help) for name, entry in entries.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[click.shell_completion.CompletionItem]:
        """Names of commands for the shell's TAB, without importing any of them."""
        from click.shell_completion import CompletionItem

        items = [
            CompletionItem(name, help=entry.help) for name, entry in COMMANDS.items() if name.startswith(incomplete)
        ]
        return items + click.Command.shell_complete(self, ctx, incomplete)


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def atoll() -> None:
    """Run your microservices with a registry, a gateway and supervision.

    Data goes to stdout, words to stderr. Exit codes: 0 done, 1 failed, 2 usage or project file, 3 not ready, 130 Ctrl-C.
    """


def run(arguments: Sequence[str] | None = None, invocation: Invocation | None = None) -> int:
    """Run one command line; returns its exit code. Errors have been told on stderr by then."""
    invocation = invocation or Invocation()
    given = list(sys.argv[1:] if arguments is None else arguments)
    if "--json" in given:
        invocation.json = True  # errors of the command line itself are JSON too
    try:
        result = atoll.main(given, prog_name="atoll", obj=invocation, standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except BaseException as error:  # noqa: BLE001  # the one place where everything is told
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        return report(error, invocation)


def main() -> None:
    """The `atoll` program."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a locale without ✓ loses the mark, not the line
    sys.exit(run())


if __name__ == "__main__":
    main()
