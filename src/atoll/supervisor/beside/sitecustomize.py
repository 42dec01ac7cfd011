"""Begins the instrumentation in a Python process of a service; runs before anything of the service does.

It is found because its folder is first in PYTHONPATH, for every Python that the service starts. It puts the bundle behind
the app's own packages, gives way to the app's own `sitecustomize`, and never lets an error of ours reach the app: the
worst case is one line on stderr. Readable by every Python since 2.7, since any of them may be started.
"""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def _begin():  # type: () -> None
    if sys.version_info < (3, 10) or os.environ.get("ATOLL_OTEL") != "on":
        return
    library = os.path.join(os.path.dirname(HERE), "lib")
    if not os.path.isdir(library):
        return
    if library not in sys.path:
        sys.path.append(library)  # behind site-packages: what the app has pinned wins
    from atoll_beside import start  # type: ignore[import-not-found]  # it is called so in the bundle

    start.begin(library)


def _chain():  # type: () -> None
    """Run the `sitecustomize` that would have been found without us."""
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or os.curdir) != HERE]
    try:
        from importlib.machinery import PathFinder
    except ImportError:
        return
    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is None or spec.loader is None or not hasattr(spec.loader, "exec_module"):
        return
    from importlib.util import module_from_spec

    module = module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


try:
    _begin()
except Exception as error:  # whatever it is, the app must run
    said = "".join(char if " " <= char <= "~" else "?" for char in "%s: %s" % (type(error).__name__, error))
    sys.stderr.write("atoll: not instrumented: %s\n" % said[:300])
_chain()
