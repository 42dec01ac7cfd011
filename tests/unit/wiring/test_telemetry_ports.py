from __future__ import annotations

import itertools
import socket
from pathlib import Path

import pytest

from atoll.errors import PortTaken
from atoll.kit.listeners import Listener
from atoll.model.project import Project
from atoll.settings import Api, Settings, Telemetry
from atoll.wiring.ports import refuse_taken
from atoll.wiring.telemetry_part import missing_packages, possible
from atoll.wiring.telemetry_ports import Ports, choose, settled

KNOBS = Telemetry()
USUAL = Ports(4318, 4317)


def pick(
    knobs: Telemetry = KNOBS, kept: Ports | None = None, taken: set[int] | None = None, asked: tuple[str, ...] = ()
) -> Ports:
    free = itertools.count(50_000)
    return choose(knobs, kept, taken or set(), lambda: next(free), asked=asked)


def test_the_usual_ports_are_used_when_they_are_free() -> None:
    assert pick() == USUAL


def test_a_port_that_somebody_has_is_replaced_by_a_free_one_and_the_other_stays() -> None:
    assert pick(taken={4318}) == Ports(50_000, 4317)
    assert pick(taken={4317, 50_000}) == Ports(4318, 50_001)


def test_a_choice_is_kept_while_nobody_else_has_it() -> None:
    assert pick(kept=Ports(50_100, 4317)) == Ports(50_100, 4317)
    assert pick(kept=Ports(50_100, 4317), taken={50_100}) == USUAL


def test_a_port_that_was_asked_for_is_never_changed() -> None:
    knobs = Telemetry(http_port=7000)
    assert pick(knobs, kept=Ports(50_100, 4317), taken={7000}, asked=("http_port",)) == Ports(7000, 4317)


def test_any_port_is_one_that_nobody_has() -> None:
    knobs = Telemetry(http_port=0, grpc_port=0)
    assert pick(knobs, taken={50_000}, asked=("http_port", "grpc_port")) == Ports(50_001, 50_002)
    assert pick(knobs, kept=Ports(1, 2), asked=("http_port", "grpc_port")) == Ports(1, 2)


def test_the_choice_is_written_down_and_found_again(tmp_path: Path) -> None:
    settings = Settings(state=tmp_path / "state")
    first = settled(settings, [Listener("127.0.0.1", 4318)], {}).telemetry
    assert first.http_port != 4318
    assert first.grpc_port == 4317
    assert settled(settings, [], {}).telemetry == first
    asked = settled(Settings(state=settings.state), [], {"ATOLL_TELEMETRY_HTTP_PORT": "4318"}).telemetry
    assert asked.http_port == 4318


def test_without_telemetry_nothing_is_chosen(tmp_path: Path) -> None:
    settings = Settings(state=tmp_path, telemetry=Telemetry(enabled=False))
    assert settled(settings, [Listener("127.0.0.1", 4318)], {}) is settings
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_was_asked_for_and_is_taken_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        settings = Settings(state=tmp_path, api=Api(port=0), telemetry=Telemetry(http_port=port))
        project = Project(name="p")
        refuse_taken(settings, project, (), api=True, otlp=True)
        monkeypatch.setenv("ATOLL_TELEMETRY_HTTP_PORT", str(port))
        with pytest.raises(PortTaken) as refused:
            refuse_taken(settings, project, (), api=True, otlp=True)
        assert "ATOLL_TELEMETRY_HTTP_PORT" in (refused.value.hint or "")
        assert refused.value.detail.startswith("telemetry: port")
        refuse_taken(settings, project, (), api=True, otlp=False)


def test_without_its_packages_it_is_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(state=tmp_path)
    assert possible(settings) is settings
    monkeypatch.setattr("atoll.wiring.telemetry_part.PACKAGES", ("chdb", "no_such_package.at_all", "no_such"))
    assert missing_packages(settings.telemetry) == ("no_such_package.at_all", "no_such")
    assert not possible(settings).telemetry.enabled
