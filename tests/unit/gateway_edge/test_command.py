from __future__ import annotations

import pytest

from atoll.errors import GatewayRefused
from atoll.gateway import command
from atoll.gateway.command import Command
from atoll.gateway.output import complaints
from atoll.gateway.runtime import Unanswered, answers, batches


def test_commands_read_as_haproxys_manual_writes_them() -> None:
    assert (
        command.add_server("b", "i:1", "::1", 80, ["weight", "7", "check"]).line
        == "add server b/i:1 [::1]:80 weight 7 check"
    )
    assert command.drain("b", "s").line == "set server b/s state drain"
    assert command.health_up("b", "s").line == "set server b/s health up"
    assert command.readdress("b", "s", "127.0.0.1", 1).line == "set server b/s addr 127.0.0.1 port 1"
    assert command.drop_version("routes.map", 4).line == "clear map @4 routes.map"


@pytest.mark.parametrize(("weight", "port"), [(-1, 80), (257, 80), (0, 0), (0, 65536)])
def test_numbers_outside_their_limits_are_refused(weight: int, port: int) -> None:
    with pytest.raises(GatewayRefused, match=r"weight|port"):
        command.weigh("b", "s", weight)
        command.readdress("b", "s", "127.0.0.1", port)


@pytest.mark.parametrize("file", ["../routes.map", "/etc/passwd", "a//b", ".hidden", "a/../b"])
def test_a_map_stands_in_its_own_folder(file: str) -> None:
    with pytest.raises(GatewayRefused, match="map"):
        command.prepare_map(file)


def test_a_key_that_would_be_a_comment_in_the_file_is_refused() -> None:
    with pytest.raises(GatewayRefused, match="map key"):
        list(command.fill_map("routes.map", 1, [("#a", "b")]))


def test_success_is_what_haproxy_says_for_it_and_nothing_else() -> None:
    assert command.add_server("b", "s", "127.0.0.1", 1, []).accepts("New server registered.\n")
    assert not command.add_server("b", "s", "127.0.0.1", 1, []).accepts("")
    assert not command.delete_server("b", "s").accepts("Server still has connections attached to it, cannot remove it.")
    assert command.ready("b", "s").accepts("")
    assert not command.ready("b", "s").accepts("No such server.")
    assert command.readdress("b", "s", "127.0.0.1", 2).accepts(
        "port changed from '1' to '2', by 'stats socket command'"
    )


def test_the_version_of_a_prepared_map_is_read() -> None:
    assert command.prepared("New version created: 12") == 12
    with pytest.raises(GatewayRefused):
        command.prepared("Unknown map identifier.")


def test_answers_are_parted_by_empty_lines_and_counted() -> None:
    assert answers("\nServer deleted.\n\n\nUnknown command: x\n  help\n\n", 4) == [
        "",
        "Server deleted.",
        "",
        "Unknown command: x\n  help",
    ]
    for text, count in (("\n", 2), ("a\n\n", 2), ("a\n", 1), ("a", 1), ("", 1), ("\n\n", 1)):
        with pytest.raises(Unanswered):
            answers(text, count)


def test_a_command_with_a_payload_is_sent_alone() -> None:
    plain, loaded = Command("a"), Command("b", payload=("x",))
    assert batches([plain, plain, loaded, plain]) == [[plain, plain], [loaded], [plain]]


def test_haproxys_own_complaint_is_found_among_its_lines() -> None:
    output = """\
[NOTICE]   (24387) : haproxy version is 2.8.25-5cf5d0683
[ALERT]    (24387) : config : parsing [haproxy.cfg:5] : unknown keyword 'foo' in 'defaults' section
[ALERT]    (24387) : config : Error(s) found in configuration file : haproxy.cfg
[ALERT]    (24387) : config : Fatal errors found in configuration.
"""
    assert complaints(output) == ["parsing [haproxy.cfg:5] : unknown keyword 'foo' in 'defaults' section"]
