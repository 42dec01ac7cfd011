"""What the folder of an app tells of it. Reads the disk."""

from __future__ import annotations

from pathlib import Path

from atoll.supervisor.instrument import NODE_HOOK, NODE_PACKAGE


def has_node_hook(root: str, working_dir: str) -> bool:
    """Whether Node.js, started there, would find OpenTelemetry's auto-instrumentation: in the folder or one above."""
    folder = Path(root, working_dir)
    hook = f"{NODE_HOOK.removeprefix(NODE_PACKAGE).lstrip('/')}.js"
    for place in (folder, *folder.parents):
        package = place / "node_modules" / NODE_PACKAGE
        if package.is_dir():
            return any((package / build / hook).is_file() for build in ("", "build/src", "dist"))
    return False
