from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import InvalidValue, Origin
from atoll.gateway import problem
from atoll.gateway.backend import server_line, server_options
from atoll.gateway.config import Files, GatewayConfig, Kind, Server, Traits
from atoll.gateway.frontend import port_ranges
from atoll.gateway.render import render
from atoll.gateway.request_log import RequestLog
from atoll.model.names import InstanceId
from atoll.model.service import Balance, BalanceKind, Check, CheckKind, Protocol
from tests.unit.gateway.facts import SETTINGS, config, instance, route, service, snapshot
from tests.unit.gateway.words import split

GOLDEN = Path(__file__).parents[2] / "golden" / "gateway"
FILES = Files(Path('/run/atoll\'s "own" folder/haproxy'))


def shop() -> GatewayConfig:
    """One of everything that changes the file."""
    check = Check(kind=CheckKind.HTTP, path="/ready", interval=5.0, fall=3)
    return config(
        snapshot(
            [
                service("orders", check=check, slow_start=10.0, mesh_index=0),
                service("cart", check=check, sticky=True, balance=Balance(kind=BalanceKind.ROUND_ROBIN), mesh_index=1),
                service("search", balance=Balance(kind=BalanceKind.HASH, hash_on="header:x-user"), mesh_index=2),
                service(
                    "payments", protocol=Protocol.GRPC, check=Check(kind=CheckKind.GRPC, timeout=2.0), mesh_index=3
                ),
                service("db", protocol=Protocol.TCP, mesh_index=4),
            ],
            [
                instance("orders", "o1", 9001),
                instance("orders", "o2", 9002, host="::1", weight=50),
                instance("cart", "c1", 9003),
                instance("payments", "p1", 9004, protocol=Protocol.GRPC),
                instance("db", "d1", 9005, protocol=Protocol.TCP),
            ],
            [
                route("web", "cart"),
                route("orders", "orders", path="/api/orders", methods=("GET",), headers={"x-a": "1", "x-b": "2"}),
            ],
        )
    )


@pytest.mark.parametrize("name", ["empty", "shop", "shop-logged"])
def test_the_files_are_as_reviewed(name: str) -> None:
    log = RequestLog(socket=FILES.root.parent / "requests.sock", ring_bytes=1 << 20, sampling=0.25)
    config = GatewayConfig() if name == "empty" else shop()
    rendered = render(config, SETTINGS, FILES, log=log if name == "shop-logged" else None)
    maps = "".join(f"# {key}.map\n{text}" for key, text in sorted(rendered.maps.items()))
    golden = GOLDEN / f"{name}.cfg"
    text = f"{rendered.config}\n{maps}"
    if os.environ.get("UPDATE_GOLDEN"):  # after a wanted change; review the diff
        golden.write_text(text)
    assert text == golden.read_text()


def test_rendering_twice_gives_the_same_bytes() -> None:
    assert render(shop(), SETTINGS, FILES) == render(shop(), SETTINGS, FILES)


def test_a_path_with_quotes_and_blanks_is_one_word() -> None:
    rendered = render(GatewayConfig(), SETTINGS, FILES)
    (socket,) = (text for text in rendered.config.splitlines() if "stats socket" in text)
    assert split(socket)[2] == str(FILES.runtime)


def test_a_config_that_intent_would_not_make_is_refused_not_written() -> None:
    evil = GatewayConfig(maps={"routes": (("k", "v\nserver x"),)})
    with pytest.raises(InvalidValue):
        render(evil, SETTINGS, FILES)


identities = st.text(min_size=1).map(InstanceId)


@given(st.text(), identities, st.integers(1, 65535), st.integers(0, 256))
def test_no_server_name_ends_its_line(name: str, identity: InstanceId, port: int, weight: int) -> None:
    server = Server(name=name, instance=identity, host="127.0.0.1", port=port, weight=weight)
    try:
        written = server_line(Traits(), server)
    except InvalidValue:
        assert not name.isprintable()
    else:
        assert split(written) == ["server", name, f"127.0.0.1:{port}", "weight", str(weight)]


def test_every_option_of_a_server_is_said_on_it() -> None:
    check = Check(kind=CheckKind.HTTP, interval=2.0, fall=3, rise=2)
    server = Server(
        name="n",
        instance=InstanceId("i"),
        host="::1",
        port=1,
        h2=True,
        check=check,
        slow_start=1.5,
        eject=True,
        drained=True,
    )
    assert " ".join(server_options(Traits(sticky=True), server)) == (
        "weight 0 check inter 2000ms fastinter 200ms downinter 2000ms fall 3 rise 2"
        " observe layer7 error-limit 5 on-error mark-down proto h2 slowstart 1500ms cookie de7d1b721a1e0632"
    )
    assert "layer4" in server_options(Traits(kind=Kind.TCP), server)
    assert server_line(Traits(), server).startswith("  server n '[::1]:1' ")


def test_the_mesh_listens_on_its_range_but_for_the_ports_of_tcp_services() -> None:
    base = SETTINGS.mesh_ports
    for taken, expected in (
        ((), [f"{base}-{base + 7}"]),
        ((0,), [f"{base + 1}-{base + 7}"]),
        ((3,), [f"{base}-{base + 2}", f"{base + 4}-{base + 7}"]),
        ((1, 2, 7), [f"{base}", f"{base + 3}-{base + 6}"]),
    ):
        ports = tuple((base + index, "x") for index in taken)
        assert port_ranges(GatewayConfig(tcp_ports=ports), SETTINGS) == expected


@pytest.mark.parametrize("answer", problem.ANSWERS, ids=lambda answer: f"{answer.status}-{answer.title}")
def test_every_answer_of_the_gateway_is_a_problem_document(answer: problem.Answer) -> None:
    assert ("be_name" in answer.code) == bool(answer.codes)
    plain = answer.body().replace(answer.retryable, "true").replace("%[be_name,nbsrv]", "0")
    plain = re.sub(r"%\[(srv_id|var\(txn\.picked)[^\]]*\]", "", plain)
    plain = plain.replace("%[be_name,map_str(emptied.map),b64dec]", "")
    document = json.loads(re.sub(r"%\[be_name[^\]]*\]", "no-instance", re.sub(r"%\[(?!be_name)[^\]]*\]", "x", plain)))
    assert document["status"] == answer.status
    assert {"type", "title", "detail", "code", "instance", "origin", "retryable"} <= document.keys()
    assert document["origin"] in {*Origin, "no-instance"}
    assert ("retry-after" in dict(answer.headers)) <= (answer.retryable == "true")


def test_a_code_stands_for_one_status() -> None:
    known: dict[str, int] = {}
    for answer in problem.ANSWERS:
        for code in answer.codes or (answer.code,):
            assert known.setdefault(code, answer.status) == answer.status


def test_every_code_is_documented_as_it_is() -> None:
    page = (Path(__file__).parents[3] / "docs" / "errors.md").read_text()
    for answer in problem.ANSWERS:
        for code in answer.codes or (answer.code,):
            row = next(line for line in page.splitlines() if line.startswith(f"| `{code}` | {answer.status} |"))
            cells = [cell.strip() for cell in row.split("|")]
            known = {"true": "yes", "false": "no"}.get(answer.retryable, "when repeating is harmless")
            assert cells[4] == known, row
            assert cells[3] in answer.origin, row
