"""A service that ended while the telemetry process was away spun for a second: the word of what was dropped was dropped,
which was told, which was dropped.
"""

from __future__ import annotations

import atexit
import socket

from atoll.supervisor.beside import wire
from atoll.supervisor.beside.outbox import OWN, Outbox, Target


def test_what_cannot_be_told_at_the_end_is_told_to_nobody() -> None:
    with socket.socket() as nobody:  # the port is ours, and nobody listens there
        nobody.bind(("127.0.0.1", 0))
        outbox = Outbox(Target(f"http://127.0.0.1:{nobody.getsockname()[1]}", {}, {}))
        outbox.put_line(wire.Line(1, OWN, "the last line"))
        thread = outbox._thread
        assert thread is not None
        outbox.close()
        atexit.unregister(outbox.close)
        thread.join(20)
    assert not thread.is_alive()
    assert outbox.dropped == 1
