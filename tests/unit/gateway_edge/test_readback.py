from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.gateway.config import Backend, GatewayConfig, Kind, Server
from atoll.gateway.counts import parse_counts, parse_stat
from atoll.gateway.readback import (
    in_flight,
    parse_info,
    parse_map,
    parse_map_versions,
    parse_servers,
    parse_workers,
    present,
)
from atoll.gateway.runtime import Unanswered
from atoll.model.names import InstanceId, ServiceName

STATE = """\
1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change \
srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn \
srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port
"""
PROC = """\
#<PID>          <type>          <reloads>       <uptime>        <version>
16             master          2 [failed: 1]   0d00h00m03s     2.8.25-5cf5d0683
# workers
30             worker          0               0d00h00m00s     2.8.25-5cf5d0683
# old workers
20             worker          1               0d00h00m01s     2.8.25-5cf5d0683
18             worker          2               0d00h00m03s     2.8.25-5cf5d0683
# programs
"""


def _row(
    backend: str, name: str, *, port: int = 80, weight: int = 100, admin: int = 0, up: int = 2, checks: int = 6
) -> str:
    return f"3 {backend} 1 {name} 127.0.0.1 {up} {admin} {weight} 100 1 6 3 4 {checks} 0 0 0 - {port} - 0 0 - - 0\n"


def _server(name: str, *, port: int = 80, weight: int = 100, drained: bool = False) -> Server:
    instance = InstanceId(name.partition(":")[0])
    return Server(name=name, instance=instance, host="127.0.0.1", port=port, weight=weight, drained=drained)


def _config(*servers: Server) -> GatewayConfig:
    backend = Backend(name="b", upstream="orders", service=ServiceName("orders"), servers=servers)
    return GatewayConfig(generation=3, revision=7, backends=(backend,), slots=((Kind.HTTP, "slot:http:1"),))


def test_servers_are_read_with_address_weight_and_state() -> None:
    down, drained, unchecked = parse_servers(
        STATE + _row("b", "a:1", up=0, weight=7) + _row("b", "c", admin=8) + _row("b", "d", checks=2)
    )
    assert (down.backend, down.name, down.host, down.port, down.weight) == ("b", "a:1", "127.0.0.1", 80, 7)
    assert (down.up, down.halted) == (False, False)
    assert drained.halted
    assert unchecked.halted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1\n",
        "<html>",
        STATE + "3 b 1 a\n",
        STATE + _row("b", "a").replace("80", "x"),
        STATE.replace("srv_addr", "odd"),
    ],
)
def test_what_is_no_server_state_is_unanswered(text: str) -> None:
    with pytest.raises(Unanswered):
        parse_servers(text)


def test_a_backend_that_is_not_there_has_no_servers() -> None:
    assert parse_servers("Can't find backend.\n") == []


def test_when_nothing_differs_the_very_same_words_come_back() -> None:
    config = _config(_server("a:1"), _server("b:1", drained=True))
    found = present(config, parse_servers(STATE + _row("b", "b:1", weight=0) + _row("b", "a:1")), {})
    assert found.config == config
    assert found.config.backends[0] is config.backends[0]
    assert not found.halted


def test_what_differs_is_shown_as_haproxy_has_it() -> None:
    config = _config(_server("a:1"), _server("b:1"), _server("c:1"), _server("d:1"))
    rows = _row("b", "a:1", weight=3) + _row("b", "b:1", admin=1) + _row("b", "c:1", port=81) + _row("b", "x:1", port=9)
    found = present(config, parse_servers(STATE + rows), {})
    assert {server.name: server.effective_weight for server in found.config.backends[0].servers} == {
        "a:1": 3,
        "x:1": 100,
    }
    assert found.halted == {("b", "b:1"), ("b", "c:1")}


def test_servers_in_a_spare_slot_are_seen() -> None:
    found = present(_config(), parse_servers(STATE + _row("slot:http:1", "a:1")), {})
    assert [(each.name, [server.name for server in each.servers]) for each in found.config.idle] == [
        ("slot:http:1", ["a:1"])
    ]


def test_statistics_tell_up_and_why_not() -> None:
    head = "# pxname,svname,scur,stot,status,lastchg,type,check_status,check_code,check_desc,last_chk,hrsp_5xx,econ,eresp,hanafail,chkdown\n"
    lines = [
        "b,FRONTEND,,,OPEN,,0,,,,,,,,,",
        "b,a,3,90,UP,5,2,L7OK,200,Layer7 check passed,,,,,,",
        "b,c,0,0,DOWN 1/2,7,2,* L4CON,,Layer4 connection problem,Connection refused,,,,,",
        "b,d,0,0,DOWN,7,2,L7STS,503,Layer7 wrong status,,,,,,",
        "b,e,0,0,no check,7,2,,,,,,,,,",
        'b,f,0,0,DOWN,7,2,L7RSP,,,"a, ""b""",,,,,',
        "b,BACKEND,0,0,UP,1,1,,,,,,,,,",
    ]
    found = {stat.server: (stat.up, stat.cause, stat.sessions) for stat in parse_stat(head + "\n".join(lines) + "\n")}
    assert found == {
        "a": (True, "", 3),
        "c": (False, "L4CON: Connection refused", 0),
        "d": (False, "L7STS/503: Layer7 wrong status", 0),
        "e": (True, "", 0),
        "f": (False, 'L7RSP: a, "b"', 0),
    }


def test_processes_are_told_apart_oldest_first() -> None:
    workers = parse_workers(PROC)
    assert (workers.master, workers.current, workers.old, workers.reloads) == (16, 30, (18, 20), 2)


def test_maps_and_their_versions_are_read() -> None:
    text = (
        "# id (file) description\n"
        "4 (routes.map) pattern loaded from file 'routes.map' used by map at file 'haproxy.cfg' line 15. "
        "curr_ver=2 next_ver=3 entry_cnt=5\n"
    )
    assert parse_map_versions(text) == {"routes.map": (2, 5)}
    assert parse_map("0x1aab /a 1|x\n0x1aac /b 2\n") == (("/a", "1|x"), ("/b", "2"))
    assert parse_map("") == ()


def test_information_is_read() -> None:
    assert parse_info("Name: HAProxy\nPid: 7\nnode: a: b\n")["Pid"] == "7"


SIDE = "    276 : st=0x000021(cl heopI W:sRa R:srA) ref=0 gid=1 owner=0x7f iocb=0x5e(sock_conn_iocb+0) "
CLIENT = f"{SIDE}back=0 cflg=0x80000300 cerr=0 fam=ipv4 lport=28080 rport=39938 fe=edge:gateway "
H1 = f"{CLIENT}mux=H1 ctx=0x7f h1c.flg=0x8000 .sub=1 .ibuf=0@(nil)+0/0 "
H2 = f"{CLIENT}mux=H2 ctx=0xf8 h2c.st0=FRH .err=0 .maxid=1 .lastid=-1 .flg=0x0600 .nbst=%s .nbsc=0, .glitches=0 .sub=1 "


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("      5 : st=0x020121(Cl heopI W:sRa R:srA) ref=0 gid=1 owner=0x31 iocb=0x5e(mworker_accept_wrapper+0)", 0),
        (f"{SIDE}back=0 cflg=0x00000300 cerr=0 fam=unix fe=GLOBAL mux=PASS ctx=0x31 xprt=RAW", 0),
        (f"{SIDE}back=1 cflg=0x00000300 cerr=0 fam=ipv4 lport=1 rport=2 sv=s/web-1 mux=H1 ctx=0x31 h1s=0x31 .meth=GET", 0),
        (f"{H1}.obuf=0@(nil)+0/0 .task=0x31 .exp=59s xprt=RAW", 0),
        (f"{H1}.obuf=0@(nil)+0/0 .task=0x31 .exp=<NEVER> h1s=0x31 h1s.flg=0x100010 .req.state=MSG_DONE xprt=RAW", 1),
        (f"{H1}.obuf=900@0x31e08360+48/16384 .task=0x31 .exp=59s xprt=RAW", 1),
        (f"{H2 % 0}.dbuf=0@(nil)+0/0 .mbuf=[1..1|32],h=[0@(nil)+0/0],t=[0@(nil)+0/0] .task=0xf6 xprt=RAW", 0),
        (f"{H2 % 1}.dbuf=0@(nil)+0/0 .mbuf=[1..1|32],h=[0@(nil)+0/0],t=[0@(nil)+0/0] .task=0xf6 xprt=RAW", 1),
        (f"{H2 % 0}.dbuf=0@(nil)+0/0 .mbuf=[1..2|32],h=[16384@0x1+0/16384],t=[9@0x1+0/16384] .task=0xf6 xprt=RAW", 1),
        (f"{CLIENT}mux=PASS ctx=0x31 xprt=RAW", 1),
        (f"{CLIENT.replace('ipv4', 'ipv6')}mux=QUIC ctx=0x31", 1),
    ],
)  # fmt: skip
def test_who_only_keeps_a_connection_is_not_in_flight(line: str, count: int) -> None:
    assert in_flight(f"{line}\n") == count


@given(st.text())
def test_whatever_a_peer_says_is_understood_or_unanswered(text: str) -> None:
    for parse in (
        parse_servers,
        parse_workers,
        parse_map_versions,
        parse_map,
        parse_info,
        lambda each: list(parse_stat(each)),
    ):
        try:
            parse(text)
        except Unanswered:
            continue


def test_counts_of_servers_and_of_whole_sections_are_read_also_of_one_on_a_unix_socket() -> None:
    names = ("pxname", "svname", "stot", "econ", "wretr", "wredis", "status", "weight", "type", "addr")
    rows = (
        ("edge:gateway", "FRONTEND", "9", "", "", "", "OPEN", "", "0", ""),
        ("be", "a:1", "7", "2", "3", "1", "UP", "100", "2", "127.0.0.1:9001"),
        ("be", "b:1", "0", "0", "0", "0", "DOWN", "100", "2", "[::1]:9002"),
        ("fb", "main", "0", "", "0", "0", "no check", "1", "2", "unix"),
        ("be", "BACKEND", "7", "2", "5", "1", "UP", "200", "1", ""),
    )
    text = f"# {','.join(names)}\n" + "".join(",".join(row) + "\n" for row in rows)
    found = [
        (one.backend, one.server, one.port, one.up, one.requests, one.failed, one.retried) for one in parse_counts(text)
    ]
    assert found == [
        ("be", "a:1", 9001, True, 7, 2, 4),
        ("be", "b:1", 9002, False, 0, 0, 0),
        ("fb", "main", 0, True, 0, 0, 0),
        ("be", "", 0, True, 7, 2, 6),
    ]
    for wrong in ("", "Unknown command", "# pxname,svname,\nbe,a", text.replace(",7,2,3", ",x,2,3")):
        with pytest.raises(Unanswered):
            list(parse_counts(wrong))
