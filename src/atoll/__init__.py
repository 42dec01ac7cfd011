"""atoll: run your microservices with a registry, a gateway and supervision. One pip install, one file, one command.

What a service written in Python may use of it stands here, and is loaded when it is used: `import atoll` alone costs
next to nothing. See docs/sdk.md.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atoll.sdk.attach import Node as Node
    from atoll.sdk.attach import attach as attach
    from atoll.sdk.discovery import Endpoints as Endpoints
    from atoll.sdk.discovery import endpoints as endpoints
    from atoll.sdk.lifecycle import joined as joined

__version__ = "0.1.0"
_PLACES = {
    "Endpoints": "atoll.sdk.discovery",
    "Node": "atoll.sdk.attach",
    "attach": "atoll.sdk.attach",
    "endpoints": "atoll.sdk.discovery",
    "joined": "atoll.sdk.lifecycle",
}
__all__ = ["Endpoints", "Node", "__version__", "attach", "endpoints", "joined"]


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
