from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from atoll.supervisor.beside.imports import when_imported


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "some_library.py").write_text("loaded = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    finders = list(sys.meta_path)
    yield "some_library"
    sys.meta_path[:] = finders
    sys.modules.pop("some_library", None)


def test_an_action_comes_once_after_the_import_and_the_module_is_as_without_us(library: str) -> None:
    seen: list[ModuleType] = []
    when_imported({library: seen.append})
    module = importlib.import_module(library)
    importlib.reload(importlib.import_module(library))
    assert seen == [module]
    assert module.loaded
    assert type(module.__loader__).__name__ == "SourceFileLoader"


def test_whoever_only_looks_uses_nothing_up(library: str) -> None:
    """`python -m celery` looks before it imports; so do apps that ask whether a library is there."""
    seen: list[ModuleType] = []
    when_imported({library: seen.append})
    for _ in range(2):
        assert importlib.util.find_spec(library) is not None
    assert not seen
    module = importlib.import_module(library)
    assert seen == [module]


def test_a_library_that_is_not_there_is_missing_as_ever() -> None:
    finders = list(sys.meta_path)
    try:
        when_imported({"no_such_library": lambda _: None})
        assert importlib.util.find_spec("no_such_library") is None
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("no_such_library")
    finally:
        sys.meta_path[:] = finders
