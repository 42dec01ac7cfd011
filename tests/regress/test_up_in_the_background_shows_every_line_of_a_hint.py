"""`atoll up -d` told "hint: it said:" and left out what the control plane had said, which was the reason."""

from __future__ import annotations

from atoll.cli.starting import _hint


def test_up_in_the_background_shows_every_line_of_a_hint() -> None:
    said = [
        "atoll 0.1.0  shop  (atoll.yaml)",
        "error: the control plane ended at once",
        "  hint: it said:",
        "error: port 7070 is taken by python (pid 4711)",
        "  hint: stop it (kill 4711)",
        "  code: not-ready",
        "stopped",
    ]
    assert _hint(said) == "it said:\nerror: port 7070 is taken by python (pid 4711)\n  hint: stop it (kill 4711)"
    assert _hint(["error: bad", "  hint: do better", "something else"]) == "do better"
    assert _hint(["error: bad"]) == ""
