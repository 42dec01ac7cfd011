"""`atoll doctor` called the port that gRPC listens on free: it listens on 127.0.0.1 through an IPv6 socket."""

from __future__ import annotations

import os
import socket

from atoll.kit.listeners import listener_of


def test_who_listens_through_ipv6_on_an_ipv4_address_is_found_there() -> None:
    with socket.socket(socket.AF_INET6) as mapped:
        mapped.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        mapped.bind(("::ffff:127.0.0.1", 0))
        mapped.listen()
        found = listener_of(mapped.getsockname()[1])
        assert found is not None
        assert (found.host, found.pid) == ("127.0.0.1", os.getpid())
