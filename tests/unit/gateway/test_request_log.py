from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from atoll.gateway import problem, request_log, trace
from atoll.gateway.request_log import RequestLog, http_format, request_log_of, tcp_format
from atoll.settings import Settings, Telemetry
from atoll.telemetry.requests import receiver
from tests.contract.gateway.lines import COLUMNS


@pytest.mark.parametrize(
    "text", [http_format("gateway"), http_format("mesh"), tcp_format(15100)], ids=["gateway", "mesh", "tcp"]
)
def test_a_line_has_the_columns_of_the_table_and_ends_with_its_mark(text: str) -> None:
    text = text.replace("%[var(sess.from)]", r"client\trun")
    columns = text.strip().removeprefix('log-format "').removesuffix('"').split(r"\t")
    assert len(columns) == len(COLUMNS)
    assert columns[-1] == request_log.ENDING
    # between double quotes of haproxy.cfg these would mean something else
    assert not any(sign in "".join(columns) for sign in "\\\"'$# ")


def test_words_of_clients_are_cut_and_escaped_and_fit_a_line() -> None:
    text = http_format("gateway")
    assert f"%[var(txn.path),bytes(0,{request_log.PATH_LIMIT})]" in text
    # of a captured header HAProxy itself writes what is not plain
    assert r"\t%hr\t" in text
    headers = request_log.HOST_LIMIT + request_log.AGENT_LIMIT + trace.REQUEST_ID_LIMIT + 1
    longest = request_log.PATH_LIMIT + 3 * headers
    assert longest + 1024 < request_log.LINE_LIMIT


def test_without_telemetry_there_is_no_log(tmp_path: Path) -> None:
    settings = Settings(state=tmp_path)
    assert request_log_of(settings) == RequestLog(socket=settings.requests_socket, ring_bytes=16 << 20, sampling=1.0)
    assert request_log_of(replace(settings, telemetry=Telemetry(enabled=False))) is None


@pytest.mark.parametrize(
    ("sampling", "hidden"), [(1.0, 0), (0.0, 10_000), (0.25, 7_500), (0.9999, 1), (7.0, 0), (-1.0, 10_000)]
)
def test_the_share_of_traces_that_are_not_recorded(sampling: float, hidden: int) -> None:
    assert trace.unsampled(sampling) == hidden


def test_every_problem_document_gets_the_trace() -> None:
    for answer in problem.ANSWERS:
        text = problem.with_trace_id(answer.body())
        assert text.count(trace.TRACE_ID) == 1
        if answer.retryable in {"true", "false"} and not answer.codes:
            assert (
                json.loads(text.replace("%[be_name,nbsrv]", "0").replace("%[be_name,map_str(emptied.map),b64dec]", ""))[
                    "trace_id"
                ]
                == trace.TRACE_ID
            )


def test_whoever_writes_the_last_lines_and_whoever_reads_them_mean_the_same_sockets() -> None:
    assert len(request_log.last_lines(Path("/run/requests.sock"))) == receiver.LAST_SOCKETS
