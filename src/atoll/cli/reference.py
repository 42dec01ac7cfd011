"""docs/cli.md, made from the commands themselves: `python -m atoll.cli.reference > docs/cli.md`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator

import click

from atoll.cli.main import SECTIONS, atoll

HEAD = """# The command line

*Made from the commands by `python -m atoll.cli.reference > docs/cli.md`; a test keeps it current.*

Data goes to stdout, words to stderr. With `--json` data is JSON and an error is an RFC 9457 problem document on stderr.
Colours, progress and questions appear only on a terminal; `NO_COLOR`, `FORCE_COLOR`, `--color`, `--progress` and
`--no-input` are respected. What would destroy something asks on a terminal and needs `--yes` elsewhere.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | failed: the platform is down or refused, something is broken |
| 2 | wrong usage or project file; for `plan`: something would change |
| 3 | not ready in time |
| 130 | interrupted by Ctrl-C |

The platform is found by `--url` (`ATOLL_URL`), else `--state` (`ATOLL_STATE`), else the folder of `-f FILE`, else the
nearest folder upward in which one runs. Its token is read from its state folder, or given with `--token` (`ATOLL_TOKEN`).
`ATOLL_TIMEOUT` is how long the control plane may take for one answer (10 s).
"""


def reference() -> str:
    """The whole document."""
    context = click.Context(atoll, info_name="atoll", **atoll.context_settings)
    parts = [
        HEAD,
        "## Global options\n\nAccepted before and after the command.\n",
        *_options(atoll, context, all_shown=True),
    ]
    for section, entries in SECTIONS.items():
        parts.append(f"\n## {section}\n")
        for name in entries:
            command = atoll.get_command(context, name)
            assert command is not None
            parts += _command(command, click.Context(command, info_name=name, parent=context))
    return "\n".join(parts).rstrip() + "\n"


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"### `{context.command_path}`\n"
    yield f"{_text(command.help)}\n"
    yield f"```text\n{usage}\n```\n"
    yield from _options(command, context, all_shown=False)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _command(inner, click.Context(inner, info_name=name, parent=context))


def _options(command: click.Command, context: click.Context, *, all_shown: bool) -> Iterator[str]:
    rows = [
        record
        for param in command.params
        if isinstance(param, click.Option) and (all_shown or not param.hidden)
        if (record := param.get_help_record(context)) is not None
    ]
    if rows:
        yield "| option | |\n|---|---|"
        yield from (f"| `{option.replace('|', chr(92) + '|')}` | {help_text} |" for option, help_text in rows)
        yield ""


def _text(text: str | None) -> str:
    return inspect.cleandoc(text or "").replace("\b", "")


if __name__ == "__main__":
    sys.stdout.write(reference())
