"""`atoll completion SHELL`: the script that teaches a shell to complete commands, options and names of services."""

from __future__ import annotations

import sys

import click

from atoll.cli.invocation import Invocation
from atoll.cli.options import command

HOW = {
    "bash": 'eval "$(atoll completion bash)"   # in ~/.bashrc',
    "zsh": 'eval "$(atoll completion zsh)"   # in ~/.zshrc',
    "fish": "atoll completion fish | source   # in ~/.config/fish/config.fish",
}


@command("completion")
@click.argument("shell", type=click.Choice(list(HOW)))
def completion(invocation: Invocation, shell: str) -> None:
    """Print the completion script for a shell.

    bash: eval "$(atoll completion bash)" in ~/.bashrc; zsh and fish likewise.
    """
    from click.shell_completion import get_completion_class

    from atoll.cli.main import atoll

    kind = get_completion_class(shell)
    assert kind is not None
    made = kind(atoll, {}, "atoll", "_ATOLL_COMPLETE")
    # `source` of bash would start a bash to look at its version first; the script itself works without
    sys.stdout.write(made.source_template % made.source_vars() + "\n")
    if sys.stdout.isatty():
        invocation.talk.note(f"to use it: {HOW[shell]}")
