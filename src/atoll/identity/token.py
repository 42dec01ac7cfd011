"""The root token: 32 random bytes in a file that only this user can read. Made once, never logged, never replaced."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from atoll.errors import TokenUnsafe
from atoll.kit.files import PRIVATE_FILE, private_folder, replace_file
from atoll.kit.text import scrub

TOKEN_BYTES = 32
LENGTH_FLOOR = 32
"""Characters of the shortest token that is accepted from a file."""
LENGTH_CEILING = 512


def read_token(path: Path) -> str:
    """The token in `path`.

    Raises:
        FileNotFoundError: there is none.
        TokenUnsafe: others may read the file, it is not a plain file of this user, or its content is no token.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        shown = scrub(str(path))
        if not stat.S_ISREG(found.st_mode):
            raise TokenUnsafe(
                f"{shown} is not a plain file", hint=f"remove {shown}; a new token is made at the next start"
            )
        if found.st_uid != os.getuid():
            raise TokenUnsafe(
                f"{shown} belongs to another user", hint="run atoll as the user who owns its state folder"
            )
        if found.st_mode & 0o077:
            raise TokenUnsafe(
                f"{shown} can be read by others (mode {stat.S_IMODE(found.st_mode):04o})",
                hint=f"chmod 600 {shown}; if others may have read it, remove it and restart for a new one",
            )
        text = file.read(LENGTH_CEILING + 2).strip()
    if not LENGTH_FLOOR <= len(text) <= LENGTH_CEILING or not text.isascii() or not text.decode("ascii").isprintable():
        raise TokenUnsafe(
            f"{shown} does not hold a token", hint=f"remove {shown}; a new token is made at the next start"
        )
    return text.decode("ascii")


def ensure_token(path: Path) -> str:
    """The token in `path`, made now if there is none; blocking (it is on disk when this returns).

    Raises:
        TokenUnsafe: the file that is there must not be used.
    """
    try:
        return read_token(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise TokenUnsafe(
            f"{scrub(str(path))} cannot be read: {error.strerror}", hint="it must be a plain file"
        ) from None
    private_folder(path.parent)
    token = secrets.token_urlsafe(TOKEN_BYTES)
    replace_file(path, token.encode() + b"\n", mode=PRIVATE_FILE)
    return token
