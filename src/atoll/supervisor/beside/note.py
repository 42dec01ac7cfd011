"""One line on stderr for what did not work, once for each cause: the app's output is the app's."""

import os

_said: set[str] = set()
LIMIT = 8
"""Lines in a process's life at most."""


def note(cause: str, error: BaseException | str = "") -> None:
    """Say that something of ours did not work; never raises."""
    if cause in _said or len(_said) >= LIMIT:
        return
    _said.add(cause)
    what = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    line = " ".join(f"atoll: {cause}{': ' if what else ''}{what}".split())
    text = "".join(c if c.isprintable() else "?" for c in line)[:300] + "\n"
    try:
        os.write(2, text.encode("utf-8", "replace"))
    except OSError:
        pass
