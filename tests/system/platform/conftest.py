"""One shop for the tests that only look at it; platforms of their own for those that break something."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import pytest

from tests.system.platform.stage import SHOP, Platform, closing


@pytest.fixture(scope="session")
def shop() -> Iterator[Platform]:
    """The demo shop, running; stopped at the end, and nothing of it is left."""
    folder = Path(tempfile.mkdtemp(prefix="atoll-shop-"))
    shutil.copytree(
        SHOP, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("data", ".atoll", "__pycache__", "*.pyc")
    )
    with closing(Platform(folder, SHOP_DATA=str(folder / "data"))) as platform:
        platform.up()
        yield platform


@contextmanager
def running(project: str, files: Mapping[str, str] = MappingProxyType({})) -> Iterator[Platform]:
    """A platform that several tests share; each makes sure that it is as it needs it. `files` lie beside its project."""
    with closing(Platform.of(project)) as platform:
        for name, text in files.items():
            (platform.folder / name).write_text(text)
        platform.up()
        yield platform


class Maker(Protocol):
    """Makes a platform of a project's text; it runs once `up` is called."""

    def __call__(self, project: str, **environ: str) -> Platform: ...


@pytest.fixture
def platform() -> Iterator[Maker]:
    """Makes platforms from a project's text; closed, and proved gone, when the test ends."""
    with ExitStack() as stack:
        yield lambda project, **environ: stack.enter_context(closing(Platform.of(project, **environ)))
