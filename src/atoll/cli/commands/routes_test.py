"""`atoll routes test METHOD URL`."""

from atoll.cli.invocation import Invocation
from atoll.cli.options import command


@command("test", reads=True)
def test(invocation: Invocation) -> None:
    """Placeholder."""
