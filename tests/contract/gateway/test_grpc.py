"""What a real client of gRPC is told where gateway and mesh answer in the service's place."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from atoll.gateway.request_log import RequestLog
from atoll.model.breaker import BreakerState, BreakerWord
from atoll.model.bulkhead import Queue
from atoll.model.fallback import USUAL, Fallback, Other
from atoll.model.keys import maintenance_key
from atoll.model.maintenance import Maintenance, parse_target
from atoll.model.names import ServiceName
from atoll.model.policy import Policy
from atoll.model.service import Protocol
from tests.contract.gateway.lines import Line, Lines
from tests.contract.gateway.rig import (
    Running,
    free_ports,
    free_range,
    instance,
    running,
    service,
    small_settings,
    snapshot_of,
)

UNAVAILABLE, EXCEEDED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED


@contextlib.contextmanager
def server(name: str) -> Iterator[int]:
    """Says its name (`Name`), only after half a second (`Slow`), for each of many (`Chat`), or that it will not (`Fail`), or not a word (`Mute`)."""

    def slow(said: bytes, _: grpc.ServicerContext) -> bytes:
        time.sleep(0.5)
        return name.encode()

    def fail(said: bytes, context: grpc.ServicerContext) -> None:
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now")

    def mute(said: bytes, context: grpc.ServicerContext) -> None:
        context.abort(grpc.StatusCode.NOT_FOUND, "")

    def chat(said: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
        for one in said:
            yield name.encode() + one

    methods: dict[str, Any] = {
        "Name": grpc.unary_unary_rpc_method_handler(lambda *_: name.encode()),
        "Slow": grpc.unary_unary_rpc_method_handler(slow),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "Mute": grpc.unary_unary_rpc_method_handler(mute),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
    }
    found = grpc.server(ThreadPoolExecutor(8))
    found.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.Test", methods),))
    port = found.add_insecure_port("127.0.0.1:0")
    found.start()
    try:
        yield port
    finally:
        found.stop(0).wait()


def call(port: int, method: str = "Name", said: bytes = b"", **more: Any) -> tuple[Any, str, dict[str, Any]]:
    """A unary call: its answer or its status, the words, and what came with it."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            answer, told = channel.unary_unary(f"/t.Test/{method}").with_call(said, timeout=5, **more)
            return answer, "", dict(told.initial_metadata())
        except grpc.RpcError as error:
            assert isinstance(error, grpc.Call)
            return error.code(), str(error.details()), dict(error.trailing_metadata() or ())


def drip() -> Iterator[bytes]:
    """A word now and then."""
    while True:
        yield b"x"
        time.sleep(0.05)


Port = Callable[[str], int]


@contextlib.contextmanager
def meshed(folder: Path, *, log: RequestLog | None = None, **said: dict[str, Any]) -> Iterator[tuple[Running, Port]]:
    """A service of gRPC for each name, `instance`: the ports of its instances; and the mesh port of each."""
    first = free_range(len(said))
    settings = small_settings(mesh_ports=first, mesh_count=len(said), connect_timeout=0.2)
    services, members = [], []
    for at, (name, words) in enumerate(said.items()):
        rest = {key: value for key, value in words.items() if key not in {"instance", "word"}}
        services.append(service(name, **{"protocol": Protocol.GRPC, "mesh_index": at, **rest}))
        if "instance" in words:
            members.append(instance(name, words["instance"], protocol=services[-1].protocol))
    facts = snapshot_of(services, members)
    for name, words in said.items():
        if "word" in words:
            facts.maintenance[maintenance_key(parse_target(name))] = Maintenance(target=name, reason=words["word"])
    with running(facts, folder, settings, log) as haproxy:
        yield haproxy, lambda name: first + list(said).index(name)


def test_every_answer_in_the_services_place_is_a_status_of_grpc_with_its_code_in_words(tmp_path: Path) -> None:
    opened = BreakerWord(state=BreakerState.OPEN, until=time.time() + 3600)
    (nobody,) = free_ports(1)
    path = tmp_path / "requests.sock"
    with (
        server("one") as one,
        Lines(path) as lines,
        meshed(
            tmp_path,
            log=RequestLog(socket=path, ring_bytes=1 << 20),
            fine={"instance": one},
            empty={},
            gone={"instance": nobody},
            open={"instance": one, "breaker_word": opened},
            late={"instance": one, "policy": Policy(timeout=0.2)},
            busy={"instance": one, "policy": Policy(max_concurrency=1)},
            full={"instance": one, "instance_concurrency": 1, "queue": Queue(size=0)},
            waits={"instance": one, "instance_concurrency": 1, "queue": Queue(size=5, timeout=0.1)},
            out={"instance": one, "word": "moves"},
        ) as (haproxy, port),
    ):
        assert call(port("fine"))[0] == b"one"
        assert call(port("fine"), "Fail")[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "not now"), (
            "its own pass untouched"
        )
        told = {
            "empty": (UNAVAILABLE, "no-instance (empty): None of its instances is ready"),
            "gone": (UNAVAILABLE, "upstream-unreachable (gone): Its instances are up, but none could be reached"),
            "open": (UNAVAILABLE, "breaker-open (open): It is kept from requests for a while"),
            "out": (UNAVAILABLE, "maintenance (out): An operator took the service out of the traffic"),
        }
        for name, (code, words) in told.items():
            status, said, more = call(port(name))
            assert (status, said[: len(words)]) == (code, words)
            assert int(more["retry-after"]) >= 1
        status, said, _ = call(port("late"), "Slow")
        assert (status, said) == (EXCEEDED, "upstream-timeout (late): The instance did not answer in time")
        over = [("baggage", f"atoll.deadline={int(time.time() * 1000) - 5}")]
        status, said, _ = call(port("fine"), metadata=over)
        assert (status, said.partition(":")[0]) == (EXCEEDED, "deadline-exceeded (fine)")
        limits = {
            "busy": "too-busy (busy): 1 requests",
            "full": "queue-full (full): No",
            "waits": "queue-timeout (waits): None",
        }
        for name, words in limits.items():
            with grpc.insecure_channel(f"127.0.0.1:{port(name)}") as channel:
                stream = channel.stream_stream("/t.Test/Chat")(drip(), timeout=10)
                next(stream)
                status, said, more = call(port(name))
                assert (status, said[: len(words)]) == (UNAVAILABLE, words)
                assert int(more["retry-after"]) >= 1
                stream.cancel()

        def line(name: str, word: str = "") -> tuple[str, str]:
            found = lines.next(lambda line: f"|{name}" in line["Target"] and word in line["Path"])
            return found["Status"], found["Mark"]

        assert line("fine", "Fail") == ("200", "grpc=9")
        assert (line("empty"), line("open"), line("late")) == (("503", "-"), ("503", "forced"), ("504", "-"))
        assert haproxy.ask("/x", port=port("empty")).status == 503, "who speaks HTTP goes by its status"


def test_services_of_other_protocols_answer_as_ever(tmp_path: Path) -> None:
    h2c = Protocol.H2C
    with (
        server("one") as one,
        meshed(tmp_path, some={"instance": one, "protocol": h2c}, none={"protocol": h2c}) as found,
    ):
        haproxy, port = found
        assert call(port("some"))[0] == b"one"
        answer = haproxy.ask("/x", port=port("none"))
        assert (answer.status, answer.json()["code"]) == (503, "no-instance")


def instead(*on: str) -> Policy:
    other = Other(service=ServiceName("best"))
    return Policy(fallback=Fallback(service=other, on=on or USUAL), timeout=0.3)


def marked(name: str, mark: str, line: Line) -> bool:
    return f"|{name}" in line["Target"] and line["Edge"] == "mesh" and line["Mark"].startswith(mark)


def test_another_service_of_the_same_methods_answers_calls_of_grpc(tmp_path: Path) -> None:
    opened = BreakerWord(state=BreakerState.OPEN, until=time.time() + 3600)
    (nobody,) = free_ports(1)
    path = tmp_path / "requests.sock"
    with (
        server("one") as one,
        server("best") as best,
        Lines(path) as lines,
        meshed(
            tmp_path,
            log=RequestLog(socket=path, ring_bytes=1 << 20),
            fine={"instance": one, "policy": Policy(fallback=instead().fallback)},
            late={"instance": one, "policy": instead()},
            empty={"policy": instead()},
            gone={"instance": nobody, "policy": instead("unreachable")},
            open={"instance": one, "breaker_word": opened, "policy": instead("breaker-open")},
            best={"instance": best},
        ) as (_, port),
    ):
        for said in (b"", b"x" * 10_000):
            answer, _, told = call(port("fine"), said=said)
            assert (answer, told.get("x-fallback")) == (b"one", None)
            for name in ("empty", "gone", "open"):
                answer, words, told = call(port(name), said=said)
                assert (answer, told.get("x-fallback")) == (b"best", "service"), (name, answer, words)
        answer, words, told = call(port("late"), "Slow")
        assert (answer, told.get("x-fallback")) == (b"best", "service")
        for name, mark in (("fine", "@one:"), ("empty", "fallback-service@@")):
            lines.next(partial(marked, name, mark))
        assert lines.next(lambda line: line["Edge"] == "instead")["Status"] == "200"
        assert lines.next(lambda line: line["Edge"] == "attempt")["Mark"] == "no-instance"


def test_what_passes_the_way_around_is_of_grpc_to_the_last_trailer_and_streams_flow(tmp_path: Path) -> None:
    with (
        server("one") as one,
        server("best") as best,
        meshed(
            tmp_path,
            fine={"instance": one, "policy": Policy(fallback=instead().fallback)},
            empty={"policy": instead()},
            lost={"policy": Policy(fallback=Fallback(service=Other(service=ServiceName("none"))))},
            none={},
            best={"instance": best},
        ) as (_, port),
    ):
        assert call(port("fine"), "Fail")[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "not now")
        assert call(port("fine"), "Mute")[:2] == (grpc.StatusCode.NOT_FOUND, "")
        assert call(port("fine"), "Unknown")[0] == grpc.StatusCode.UNIMPLEMENTED
        assert call(port("fine"), said=b"x" * 300_000)[0] == b"one"
        assert call(port("empty"), said=b"x" * 300_000)[:2] == (
            UNAVAILABLE, "no-instance (empty): None of its instances is ready",
        ), "too long to be sent again"  # fmt: skip
        assert call(port("lost"))[:2] == (UNAVAILABLE, "no-instance (none): None of its instances is ready")
        for name, first in (("fine", b"onex"), ("empty", None)):
            with grpc.insecure_channel(f"127.0.0.1:{port(name)}") as channel:
                grpc.channel_ready_future(channel).result(5)
                stream = channel.stream_stream("/t.Test/Chat")(drip(), timeout=10)
                if first is None:
                    with pytest.raises(grpc.RpcError) as failed:
                        next(stream)
                    assert (failed.value.code(), failed.value.details()[:19]) == (UNAVAILABLE, "no-instance (empty)")
                else:
                    assert [next(stream) for _ in range(3)] == [first] * 3
                    stream.cancel()


def test_a_call_whose_end_comes_soon_is_sent_again_and_one_that_stays_open_is_not(tmp_path: Path) -> None:
    with (
        server("best") as best,
        meshed(tmp_path, empty={"policy": instead()}, best={"instance": best}) as (_, port),
        grpc.insecure_channel(f"127.0.0.1:{port('empty')}") as channel,
    ):

        def answer(pause: float) -> bytes | None:
            def said() -> Iterator[bytes]:
                yield b"x"
                time.sleep(pause)

            try:
                found: bytes = next(channel.stream_stream("/t.Test/Chat")(said(), timeout=5))
            except grpc.RpcError as error:
                assert isinstance(error, grpc.Call)
                assert error.code() is UNAVAILABLE
                return None
            return found

        assert answer(0.5) is None
        # on a busy machine the end comes later than it was meant to
        assert any(answer(0.01) == b"bestx" for _ in range(50))
