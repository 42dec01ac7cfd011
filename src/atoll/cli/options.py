"""The global options, accepted before and after the subcommand, and the command classes that carry them.

A command that uses a letter for itself (`logs -f`) keeps it; the long form of the global option still works there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from atoll.cli.invocation import Invocation

EPILOG = "The global options (`atoll --help`) are accepted here as well."

PREFIX = "global_"
"""Of the parameters' names, so that a command may have a `file` of its own."""


def _store(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Write a global option into the invocation; one that was not given changes nothing."""
    invocation = ctx.ensure_object(Invocation)
    name = str(param.name).removeprefix(PREFIX)
    if value is None or value is False or (name == "verbose" and value == 0):
        return
    if name == "verbose":
        value += invocation.verbose
    setattr(invocation, name, value)


def global_options(taken: Sequence[str] = (), *, shown: bool, json: bool) -> list[click.Parameter]:
    """Fresh options; `taken` letters are left out, `shown` puts them all into the help, `json` the one for data."""
    path = click.Path(path_type=Path)
    table: tuple[tuple[tuple[str, ...], str, dict[str, Any]], ...] = (
        (("--json",), "Data as JSON on stdout, errors as problem+json on stderr.", {"is_flag": True}),
        (("-q", "--quiet"), "Only data and errors.", {"is_flag": True}),
        (("-v", "--verbose"), "More detail; tracebacks of bugs.", {"count": True}),
        (
            ("--color",),
            "Colours; NO_COLOR and FORCE_COLOR are respected.",
            {"type": click.Choice(["auto", "always", "never"])},
        ),
        (("--progress",), "How progress is shown.", {"type": click.Choice(["auto", "plain", "none"])}),
        (("--no-input",), "Never ask; fail instead.", {"is_flag": True}),
        (("-f", "--file"), "The project file.", {"type": path, "metavar": "FILE"}),
        (("-C", "--directory"), "Work as if started in DIR.", {"type": path, "metavar": "DIR"}),
        (("--state",), "The platform's state folder (ATOLL_STATE).", {"type": path, "metavar": "DIR"}),
        (("--url",), "The control plane's URL (ATOLL_URL).", {"metavar": "URL"}),
        (("--token",), "Its token; ATOLL_TOKEN shows in no process list.", {"metavar": "TOKEN"}),
    )
    names = {"--directory": "folder"}
    options: list[click.Parameter] = []
    for spellings, text, more in table:
        free = [spelling for spelling in spellings if spelling not in taken]
        if free:
            name = names.get(spellings[-1], spellings[-1].removeprefix("--").replace("-", "_"))
            hidden = not shown and not (json and name == "json")
            default: dict[str, Any] = {} if "count" in more else {"default": None}
            options.append(
                click.Option(
                    [*free, PREFIX + name],
                    help=text,
                    expose_value=False,
                    callback=_store,
                    hidden=hidden,
                    **default,
                    **more,
                )
            )
    return options


def _with_globals(command: click.Command, *, json: bool) -> None:
    taken = [spelling for param in command.params for spelling in (*param.opts, *param.secondary_opts)]
    command.params.extend(global_options(taken, shown=False, json=json))
    command.epilog = command.epilog or EPILOG


class AtollCommand(click.Command):
    """A command that takes the global options too. `reads`: it only looks, so it must have a `--json` form."""

    def __init__(self, *args: Any, reads: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.reads = reads
        _with_globals(self, json=reads)


class AtollGroup(click.Group):
    """A noun with verbs; takes the global options too."""

    command_class = AtollCommand

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _with_globals(self, json=False)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does; an unknown command comes with a did-you-mean."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise unknown(ctx, args[0] if args else "", self.list_commands(ctx)) from error


def unknown(ctx: click.Context, word: str, known: Sequence[str]) -> click.UsageError:
    """The refusal of a command that does not exist."""
    from atoll.kit.text import closest, scrub

    near = closest(word, known)
    said = f"unknown command `{scrub(word, limit=80)}`" + (f"; did you mean `{near}`?" if near else "")
    return click.UsageError(said, ctx)


def command(
    name: str, *, cls: type[AtollCommand] = AtollCommand, reads: bool = False, **more: Any
) -> Callable[[Callable[..., Any]], AtollCommand]:
    """Declare a command; its function gets the Invocation first."""

    def declare(function: Callable[..., Any]) -> AtollCommand:
        made = click.command(name, cls=cls, reads=reads, **more)(_pass_invocation(function))
        assert isinstance(made, AtollCommand)
        return made

    return declare


def _pass_invocation(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(click.get_current_context().ensure_object(Invocation), *args, **kwargs)

    return call


def complete_services(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Names of services for the shell's TAB: quick, and silent when no platform answers."""
    from atoll.errors import AtollError

    invocation = ctx.find_object(Invocation) or Invocation()
    try:
        from atoll.cli.facts import service_names

        return [name for name in service_names(invocation.quick_api) if name.startswith(incomplete)]
    except (AtollError, OSError):
        return []
