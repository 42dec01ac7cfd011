from __future__ import annotations

import io
import re
import threading

from hypothesis import given
from hypothesis import strategies as st

from atoll.cli.console import LINES_LIMIT, Console
from atoll.cli.screen import Screen
from atoll.cli.tint import service_tint

CODES = re.compile(r"\x1b\[[0-9;]*[mK]|\r")


class Terminal(io.StringIO):
    """A stream that a terminal's picture can be taken of."""

    def picture(self) -> list[str]:
        """The lines as a person sees them: an erased line is gone."""
        lines = [""]
        for part in re.split(r"(\n|\r\x1b\[2K)", self.getvalue()):
            if part == "\n":
                lines.append("")
            elif part == "\r\x1b[2K":
                lines[-1] = ""
            else:
                lines[-1] += CODES.sub("", part)
        return lines


def test_in_plain_mode_every_event_is_a_line() -> None:
    out, err = Terminal(), Terminal()
    console = Console(Screen(out, err))
    console.part_begins("control plane")
    console.part_ready("control plane", 0.42, "http://127.0.0.1:7070")
    console.part_ready("gateway", 0.1, "http://127.0.0.1:8080")
    console.services({"orders": (0, 1), "web": (0, 2)})
    console.line("orders", "orders-1", "listening")
    console.services({"orders": (1, 1), "web": (0, 2)})
    console.services({"orders": (1, 1), "web": (2, 2)})
    console.ready(3.21, [("gateway", "http://127.0.0.1:8080"), ("api", "http://127.0.0.1:7070")], "curl -s http://x/")
    console.stopping({"orders": 1, "web": 2})
    console.stopping({"orders": 0, "web": 1})
    console.stopping({})
    console.close()
    assert err.getvalue().splitlines() == [
        " ✓ control plane    0.4s   http://127.0.0.1:7070",
        " ✓ gateway          0.1s   http://127.0.0.1:8080",
        " … orders 0/1",
        " … web 0/2",
        " ✓ orders 1/1",
        " ✓ web 2/2",
        " ✓ orders 1/1  ✓ web 2/2     ready in 3.2s",
        "   gateway  http://127.0.0.1:8080",
        "   api      http://127.0.0.1:7070",
        "   try: curl -s http://x/",
        "stopping (Ctrl-C again to kill)",
        " ✓ orders stopped",
        " ✓ web stopped",
    ]
    assert out.getvalue() == "orders-1 | listening\n"


def test_on_a_terminal_awaited_things_are_one_status_line_that_makes_way_for_output() -> None:
    both = Terminal()
    screen = Screen(both, both, live=True)
    screen.part_begins("gateway")
    assert both.picture() == [" … gateway"]
    screen.part_ready("gateway", 0.1)
    screen.services({"orders": (0, 1)})
    screen.line("orders", "orders-1", "hello")
    assert both.picture() == [" ✓ gateway          0.1s", "orders-1 | hello", " … orders 0/1"]
    screen.services({"orders": (1, 1)})
    screen.ready(1.0, [])
    assert both.picture()[-2:] == [" ✓ orders 1/1     ready in 1.0s", ""]


def test_a_service_that_fails_is_told_with_its_last_lines() -> None:
    err = Terminal()
    screen = Screen(Terminal(), err)
    screen.service_failed("orders", "exit 1, 5 times in 60 s", ["Traceback", "KeyError: 'x'"])
    assert err.getvalue().splitlines() == [
        " ✗ orders: exit 1, 5 times in 60 s",
        "     | Traceback",
        "     | KeyError: 'x'",
    ]


@given(st.text(), st.text(min_size=1), st.text())
def test_no_service_can_write_control_characters_or_a_second_line(service: str, instance: str, text: str) -> None:
    out, err = Terminal(), Terminal()
    screen = Screen(out, err)
    screen.line(service, instance, text)
    screen.part_ready(service, 1, text)
    screen.services({service: (0, 1)})
    screen.ready(1, [(service, text)], text)
    assert out.getvalue().count("\n") == 1
    for shown in (out.getvalue(), err.getvalue()):
        assert not [character for character in shown if ord(character) < 0x20 and character != "\n"]
        assert not any(code in shown for code in ("\x7f", "\x9b", "\u202e", "\u2028"))


def test_a_terminal_that_does_not_read_makes_nobody_wait_and_misses_only_counted_lines() -> None:
    release = threading.Event()

    class Stuck(Terminal):
        def write(self, text: str) -> int:
            release.wait(10)
            return super().write(text)

    out, err = Stuck(), Terminal()
    console = Console(Screen(out, err))
    for number in range(LINES_LIMIT + 500):
        console.line("orders", "orders-1", str(number))
    console.note("still here")
    release.set()
    console.close(10)
    shown = out.getvalue().splitlines()
    assert LINES_LIMIT <= len(shown) <= LINES_LIMIT + 1
    assert "still here" in err.getvalue()
    missing = LINES_LIMIT + 500 - len(shown)
    assert f"{missing} lines are not shown here" in err.getvalue()


def test_a_terminal_that_is_gone_ends_nothing() -> None:
    out = io.StringIO()
    out.close()
    console = Console(Screen(out, out, live=True))
    console.line("orders", "orders-1", "hello")
    console.ready(1, [])
    console.close()


def test_the_node_file_hears_of_ready_and_failure() -> None:
    heard: list[object] = []
    console = Console(
        Screen(Terminal(), Terminal()),
        on_ready=heard.append,
        on_failed=lambda service, cause: heard.append((service, cause)),
    )
    console.service_failed("orders", "exit 1")
    console.ready(2.5, [])
    console.close()
    assert heard == [("orders", "exit 1"), 2.5]


def test_quiet_keeps_output_and_trouble() -> None:
    out, err = Terminal(), Terminal()
    screen = Screen(out, err, quiet=True)
    screen.part_ready("gateway", 1.0)
    screen.ready(1.0, [])
    screen.line("orders", "orders-1", "x")
    screen.warning("look out", "do this")
    assert out.getvalue() == "orders-1 | x\n"
    assert err.getvalue() == "warning: look out\n  hint: do this\n"


def test_a_service_has_the_same_colour_everywhere_and_always() -> None:
    assert service_tint("x", "orders", on=True) == service_tint("x", "orders", on=True) == "\x1b[34mx\x1b[0m"
    assert len({service_tint("x", f"service-{number}", on=True) for number in range(50)}) > 6
    assert service_tint("x", "orders", on=False) == "x"
