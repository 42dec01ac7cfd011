"""The folder that is put beside Python services: OpenTelemetry and what instruments with it, out of atoll's own installation.

Built offline from the installed distributions of the extra `telemetry`, named for its content, made in a folder aside and
moved into place, so that any number of nodes may build at once and none ever sees half of it. In it:
`python` (only `sitecustomize.py`; goes into PYTHONPATH), `lib` (the packages; goes behind the app's own) and `node`. Nothing in it
is compiled for one Python only, but for wrapt's accelerator, which other versions pass by. Refuses: to build without
the extra's packages.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePath

from atoll.errors import AtollError
from atoll.kit.files import private_folder

NEEDED = (
    "opentelemetry-api", "opentelemetry-sdk", "opentelemetry-semantic-conventions", "opentelemetry-instrumentation",
    "opentelemetry-util-http", "asgiref", "packaging", "typing-extensions", "wrapt",
)  # fmt: skip
"""Without one of these there is no bundle. No protobuf and no requests: what is sent is written by `beside.wire`."""
INSTRUMENTATION = "opentelemetry-instrumentation-"
"""How the rest begin: whichever are installed."""
BESIDE = Path(__file__).with_name("beside")
OURS = "atoll_beside"
OWN_PLACES = {"sitecustomize.py": "python/sitecustomize.py", "node.cjs": "node/atoll.cjs"}
"""What of our own goes elsewhere than beside the packages."""
KEPT_UNUSED = 30 * 86_400.0
"""Seconds after which a bundle that no service was started with is removed."""
FORMAT = b"1"


class BundleMissing(AtollError):
    """The packages are not installed, or the folder cannot be written."""

    code, title = "bundle-missing", "No instrumentation bundle"


@dataclass(frozen=True)
class Bundle:
    """A finished one."""

    folder: Path

    @property
    def python(self) -> Path:
        """What PYTHONPATH begins with."""
        return self.folder / "python"

    @property
    def node(self) -> Path:
        """What Node.js requires."""
        return self.folder / "node" / "atoll.cjs"

    @property
    def lib(self) -> Path:
        """The packages."""
        return self.folder / "lib"


def cache_folder(environ: Mapping[str, str], state: Path) -> Path:
    """Where bundles lie: in this user's cache, so that all platforms share one; without a home, in the state folder."""
    base = environ.get("XDG_CACHE_HOME") or (f"{home}/.cache" if (home := environ.get("HOME")) else "")
    return Path(base) / "atoll" / "instrument" if os.path.isabs(base) else state / "instrument"  # noqa: PTH117


def ensure(folder: Path, wall: float) -> Bundle:
    """The bundle of this installation in `folder`, made if it is not there. `wall`: now, in seconds. Blocking.

    The first time some 100 ms, afterwards 10.

    Raises:
        BundleMissing: packages are missing, or the folder cannot be written.
    """
    found = _distributions()
    place = folder / _digest(found)
    if not (place / "lib").is_dir():
        try:
            private_folder(folder)
            _build(found, place)
        except OSError as error:
            raise BundleMissing(
                f"the instrumentation bundle cannot be written: {error.strerror or error}",
                hint=f"make {folder} writable, or switch instrumentation off with --no-otel",
            ) from None
        _sweep(folder, wall)
    with contextlib.suppress(OSError):
        os.utime(place, (wall, wall))
    return Bundle(place)


def find(folder: Path) -> Bundle:
    """The bundle of this installation if it was made already. Changes nothing. Blocking.

    Raises:
        BundleMissing: packages are missing, or no service was started with it yet.
    """
    place = folder / _digest(_distributions())
    if not (place / "lib").is_dir():
        raise BundleMissing("it is made at the first start of a service", hint="start one")
    return Bundle(place)


def _distributions() -> dict[str, metadata.Distribution]:
    found: dict[str, metadata.Distribution] = {}
    for one in metadata.distributions():
        name = str(one.metadata["Name"] or "").lower().replace("_", "-")
        if (name in NEEDED or name.startswith(INSTRUMENTATION)) and name not in found:
            found[name] = one
    missing = [name for name in NEEDED if name not in found]
    if missing:
        raise BundleMissing(
            f"not installed: {', '.join(missing)}", hint='pip install "atoll[telemetry]" instruments Python services'
        )
    return dict(sorted(found.items()))


def _digest(found: Mapping[str, metadata.Distribution]) -> str:
    content = hashlib.sha256(FORMAT)
    for name, one in found.items():
        content.update(f"{name} {one.version}\n{one.read_text('RECORD') or one.locate_file('')}\n".encode())
    for file in sorted(_own()):
        content.update(file.name.encode() + b"\0" + file.read_bytes())
    return content.hexdigest()[:20]


def _build(found: Mapping[str, metadata.Distribution], place: Path) -> None:
    aside = Path(tempfile.mkdtemp(prefix=".building-", dir=place.parent))
    try:
        for one in found.values():
            for file in _files(one):
                source = Path(str(one.locate_file(file)))
                target = aside / "lib" / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
                _take_compiled(source, target)
        for file in _own():
            target = aside / OWN_PLACES.get(file.name, f"lib/{OURS}/{file.name}")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target)
        try:
            aside.rename(place)
        except OSError:
            if not (place / "lib").is_dir():  # else another node was faster, with the same content
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _own() -> Iterator[Path]:
    yield from (file for file in BESIDE.iterdir() if file.suffix in {".py", ".cjs"})


def _files(one: metadata.Distribution) -> Iterator[PurePath]:
    for file in one.files or ():
        inside = not file.is_absolute() and ".." not in file.parts
        if inside and "__pycache__" not in file.parts and Path(str(one.locate_file(file))).is_file():
            yield file


def _take_compiled(source: Path, target: Path) -> None:
    """Bytecode that is there already: its source has the same time and size here, so it is valid."""
    if source.suffix == ".py":
        for compiled in (source.parent / "__pycache__").glob(f"{source.stem}.cpython-*[0-9].pyc"):
            (target.parent / "__pycache__").mkdir(exist_ok=True)
            with contextlib.suppress(OSError):
                shutil.copy2(compiled, target.parent / "__pycache__" / compiled.name)


def _sweep(folder: Path, wall: float) -> None:
    """Remove what no service has been started with for long, and what a crash left half made."""
    for entry in folder.iterdir():
        with contextlib.suppress(OSError):
            if wall - entry.stat().st_mtime > KEPT_UNUSED:
                shutil.rmtree(entry, ignore_errors=True)
