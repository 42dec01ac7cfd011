"""Acts once a module has been imported, so that nothing is imported which the app does not import itself."""

import importlib.util
import sys
from _thread import get_ident
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from .note import note

Action = Callable[[ModuleType], None]


def when_imported(actions: dict[str, Action]) -> None:
    """Call each action with its module after that was imported; at once where it has been already."""
    waiting = {}
    for name, action in actions.items():
        if (module := sys.modules.get(name)) is not None:
            act(name, action, module)
        else:
            waiting[name] = action
    sys.meta_path.insert(0, _Finder(waiting))  # no base class: importlib.abc takes 4 ms


def act(name: str, action: Action, module: ModuleType) -> None:
    """Call it; what goes wrong is noted."""
    try:
        action(module)
    except Exception as error:
        note(f"{name} is not instrumented", error)


class _Finder:
    """Finds what the others find, with a loader that acts afterwards. Looking alone uses nothing up: `python -m celery`,
    and apps that ask whether a library is there, look before they import.
    """

    def __init__(self, waiting: dict[str, Action]) -> None:
        self._waiting = waiting
        self._asking: set[tuple[int, str]] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self._waiting:
            return None
        mark = (get_ident(), fullname)
        if mark in self._asking:  # it is us who ask the others
            return None
        self._asking.add(mark)
        try:
            spec = importlib.util.find_spec(fullname)
        except (ImportError, ValueError, AttributeError):
            return None
        finally:
            self._asking.discard(mark)
        if spec is None or spec.loader is None or not hasattr(spec.loader, "exec_module"):
            return None
        spec.loader = _Loader(spec.loader, fullname, self._waiting)  # type: ignore[assignment]
        return spec


class _Loader:
    """Loads as the real loader does, then acts. In the module stands the real one."""

    def __init__(self, real: Any, name: str, waiting: dict[str, Action]) -> None:
        self._real = real
        self._name = name
        self._waiting = waiting

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._real.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._real
        if module.__spec__ is not None:
            module.__spec__.loader = self._real
        self._real.exec_module(module)
        action = self._waiting.pop(self._name, None)
        if action is not None:
            act(self._name, action, module)
