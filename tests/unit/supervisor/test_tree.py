from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace as changed

from atoll.model.names import InstanceId, NodeName, ServiceName
from atoll.model.report import Phase
from atoll.model.service import Condition, Restart, Run, Service
from atoll.supervisor.tree import (
    Decision,
    Elsewhere,
    Seen,
    Start,
    Stop,
    decide,
    decide_end,
    desired,
    digest_of,
    fixed_port,
    restart_policy,
)

NODE = NodeName("local")
WEB = ServiceName("web")


def service(name: str = "web", **run: object) -> Service:
    return Service(name=ServiceName(name), run=Run(command=("serve",), **run))  # type: ignore[arg-type]


def seen(of: Service, number: int = 1, phase: Phase = Phase.RUNNING, **fields: object) -> Seen:
    assert of.run is not None
    up = phase is Phase.RUNNING
    facts: dict[str, object] = {"healthy": up, "routed": up, "restarts": of.run.restarts, **fields}
    return Seen(of.name, InstanceId(f"{of.name}-{number}"), digest_of(of), phase=phase, **facts)  # type: ignore[arg-type]


def decided(*wanted: Service, now: tuple[Seen, ...] = (), elsewhere: Elsewhere | None = None) -> Decision:
    return decide({one.name: one for one in wanted}, now, elsewhere or Elsewhere(), NODE)


def ids(steps: list[Start] | list[Stop]) -> list[str]:
    return [step.instance for step in steps]


def test_missing_instances_take_the_lowest_free_numbers() -> None:
    web = service(replicas=4)
    now = (seen(web, 2), seen(web, 4, Phase.CRASH_LOOP))
    decision = decided(web, now=now, elsewhere=Elsewhere(ids=frozenset({InstanceId("web-1")})))
    assert ids(decision.starts) == ["web-3", "web-5"]
    assert decision.stops == []


def test_scaling_down_takes_the_newest_first_counted_as_numbers() -> None:
    web = service(replicas=2)
    assert ids(decided(web, now=tuple(seen(web, number) for number in (9, 10, 1, 2))).stops) == ["web-10", "web-9"]


def test_what_is_stopped_or_gone_or_anothers_is_ended() -> None:
    web = service()
    now = (seen(web),)
    assert decided(service(stopped=True), now=now).stops == [Stop(WEB, InstanceId("web-1"), "stopped")]
    assert decided(now=now).stops == [Stop(WEB, InstanceId("web-1"), "its service is gone")]
    assert ids(decided(service(node=NodeName("other")), now=now).stops) == ["web-1"]
    assert decided(Service(name=WEB)).starts == []


def test_a_stopping_instance_is_not_stopped_again() -> None:
    assert decided(now=(seen(service(), phase=Phase.STOPPING),)).stops == []


def test_a_fixed_port_is_for_one_instance() -> None:
    assert desired(service(port=8000, replicas=3), NODE) == 1
    assert fixed_port(service(environment={"PORT": "8000"}).run or Run(command=())) == 8000
    for said in ("", "eight", "0", "70000", "８０"):
        assert fixed_port(Run(command=(), environment={"PORT": said})) is None


def test_a_restart_at_once_ends_all_and_gives_each_place_back() -> None:
    web = service(replicas=2)
    again = service(replicas=2, restarts=1)
    decision = decided(again, now=(seen(web, 1), seen(web, 2)))
    assert (ids(decision.stops), decision.starts) == (["web-1", "web-2"], [])
    decision = decided(again, now=(seen(web, 1, Phase.STOPPING), seen(web, 2, Phase.STOPPING)))
    assert (decision.stops, decision.starts) == ([], [])
    assert ids(decided(again, now=(seen(web, 2, Phase.STOPPING),)).starts) == ["web-1"]


def test_a_rolling_restart_starts_a_new_one_before_an_old_one_goes() -> None:
    old, new = service(replicas=2), service(replicas=2, restarts=1, rolling=True)
    first, second = seen(old, 1), seen(old, 2)
    decision = decided(new, now=(first, second))
    assert (ids(decision.starts), decision.stops) == (["web-3"], [])
    for phase, routed in ((Phase.STARTING, False), (Phase.RUNNING, False)):
        decision = decided(new, now=(first, second, seen(new, 3, phase, routed=routed)))
        assert (decision.starts, decision.stops) == ([], [])
        assert decision.rolling[WEB] == "0 of 2 replaced; waiting for web-3 to take traffic"
    decision = decided(new, now=(first, second, seen(new, 3)))
    assert (decision.starts, ids(decision.stops)) == ([], ["web-1"])
    decision = decided(new, now=(seen(old, 1, Phase.STOPPING), second, seen(new, 3)))
    assert (decision.starts, decision.stops) == ([], [])
    decision = decided(new, now=(second, seen(new, 3)))
    assert ids(decision.starts) == ["web-1"]
    decision = decided(new, now=(second, seen(new, 1), seen(new, 3)))
    assert ids(decision.stops) == ["web-2"]
    decision = decided(new, now=(seen(new, 1), seen(new, 3)))
    assert (decision.starts, decision.stops, decision.rolling) == ([], [], {})


def test_a_changed_definition_is_rolled_out_and_halts_at_a_failure() -> None:
    old, new = service(replicas=2), service(replicas=2, environment={"A": "2"})
    now = (seen(old, 1), seen(old, 2))
    assert ids(decided(new, now=now).starts) == ["web-3"]
    decision = decided(new, now=(*now, seen(new, 3, Phase.BACKOFF, failed=True, cause="exit 3")))
    assert (decision.starts, decision.stops) == ([], [])
    assert decision.rolling[WEB] == "halted: web-3: exit 3; 2 older instances go on"
    # Back to what it was: only the failed one goes.
    assert ids(decided(old, now=(*now, seen(new, 3, Phase.BACKOFF, failed=True))).stops) == ["web-3"]


def test_a_halted_roll_out_can_be_scaled_down() -> None:
    old, new = service(replicas=3), service(replicas=1, environment={"A": "2"})
    now = (seen(old, 1), seen(old, 2), seen(old, 3), seen(new, 4, Phase.CRASH_LOOP, failed=True))
    assert ids(decided(new, now=now).stops) == ["web-3", "web-2"]


def test_instances_that_do_not_serve_are_replaced_without_ceremony() -> None:
    broken, mended = service(replicas=2), service(replicas=2, environment={"A": "2"})
    now = (seen(broken, 1, Phase.CRASH_LOOP), seen(broken, 2, Phase.STARTING))
    assert ids(decided(mended, now=now).stops) == ["web-1", "web-2"]


@pytest.mark.parametrize("port", [8000, None])
def test_what_cannot_run_twice_is_stopped_before_its_successor_starts(port: int | None) -> None:
    old, new = service(port=port), service(port=port, environment={"A": "2"})
    decision = decided(new, now=(seen(old),))
    assert (decision.starts, ids(decision.stops)) == ([], ["web-1"])
    assert decided(new, now=(seen(old, phase=Phase.STOPPING),)).starts == []
    assert ids(decided(new).starts) == ["web-1"]


def test_a_change_of_check_or_grace_needs_no_new_process() -> None:
    web = service()
    assert web.run is not None
    assert digest_of(web) == digest_of(
        changed(web, run=changed(web.run, stop_grace=99.0, replicas=7, restart=Restart.NO))
    )
    assert digest_of(web) != digest_of(changed(web, run=changed(web.run, working_dir="x")))


@pytest.mark.parametrize(
    ("condition", "dependency", "cause"),
    [
        (Condition.STARTED, None, "waits for db to be started"),
        (Condition.STARTED, Phase.STARTING, ""),
        (Condition.HEALTHY, Phase.STARTING, "waits for db to be healthy (starting)"),
        (Condition.HEALTHY, Phase.RUNNING, ""),
        (Condition.HEALTHY, Phase.CRASH_LOOP, "waits for db to be healthy (crash-loop)"),
        (Condition.COMPLETED, Phase.RUNNING, "waits for db to be completed (running)"),
    ],
)
def test_a_start_waits_for_its_dependencies_and_says_so(
    condition: Condition, dependency: Phase | None, cause: str
) -> None:
    db = service("db")
    web = service(depends_on={db.name: condition})
    now = () if dependency is None else (seen(db, 1, dependency),)
    decision = decided(db, web, now=now)
    if cause:
        assert decision.waiting == {InstanceId("web-1"): (WEB, cause)}
        assert "web-1" not in ids(decision.starts)
    else:
        assert "web-1" in ids(decision.starts)


def test_dependencies_that_nobody_runs_here_are_looked_for_elsewhere() -> None:
    db = Service(name=ServiceName("db"))
    web = service(depends_on={db.name: Condition.HEALTHY, ServiceName("nobody"): Condition.STARTED})
    cause = decided(db, web).waiting[InstanceId("web-1")][1]
    assert cause == "waits for db (no passing instance), nobody (no such service)"
    known = Elsewhere(healthy=frozenset({ServiceName("db"), ServiceName("nobody")}))
    assert ids(decided(db, web, elsewhere=known).starts) == ["web-1"]


def test_a_job_that_others_wait_for_is_not_started_again_when_it_has_completed() -> None:
    job = service("migrate")
    web = service(depends_on={job.name: Condition.COMPLETED})
    assert restart_policy(job.name, {job.name: job, WEB: web}) is Restart.ON_FAILURE
    assert restart_policy(job.name, {job.name: job}) is Restart.ALWAYS
    done = seen(job, 1, Phase.EXITED, completed=True)
    assert decided(job, web, now=(done,)).starts == [Start(WEB, InstanceId("web-1"))]


def test_at_the_end_dependants_go_first_and_side_by_side() -> None:
    db, cache = service("db"), service("cache")
    web = service(depends_on={db.name: Condition.HEALTHY, cache.name: Condition.STARTED})
    wanted = {one.name: one for one in (db, cache, web)}
    now = [seen(db), seen(cache), seen(web, 1), seen(web, 2)]
    assert ids(decide_end(wanted, now).stops) == ["web-1", "web-2"]
    assert ids(decide_end(wanted, [seen(db), seen(web, 1, Phase.STOPPING)]).stops) == []
    assert ids(decide_end(wanted, [seen(db), seen(cache)]).stops) == ["db-1", "cache-1"]


def test_a_circle_of_dependencies_can_still_be_ended() -> None:
    one = service("one", depends_on={ServiceName("two"): Condition.STARTED})
    two = service("two", depends_on={ServiceName("one"): Condition.STARTED})
    assert len(decide_end({one.name: one, two.name: two}, [seen(one), seen(two)]).stops) == 2


@dataclass
class World:
    """A node in which every start passes and every stop is done, one thing at a time."""

    now: list[Seen] = field(default_factory=list)

    def settle(self, wanted: Service, *, at_least: int) -> None:
        for _ in range(200):
            decision = decided(wanted, now=tuple(self.now))
            leaving = {stop.instance for stop in decision.stops}
            self.now = [changed_phase(one, Phase.STOPPING) if one.instance in leaving else one for one in self.now]
            self.now += [
                seen(wanted, int(start.instance.rpartition("-")[2]), Phase.STARTING) for start in decision.starts
            ]
            serving = sum(one.phase is Phase.RUNNING for one in self.now)
            assert serving >= at_least, self.now
            moving = next((one for one in self.now if one.phase in {Phase.STOPPING, Phase.STARTING}), None)
            if moving is None:
                return
            self.now.remove(moving)
            if moving.phase is Phase.STARTING:
                self.now.append(changed_phase(moving, Phase.RUNNING))
        raise AssertionError("never settles")


def changed_phase(one: Seen, phase: Phase) -> Seen:
    up = phase is Phase.RUNNING
    return Seen(one.service, one.instance, one.digest, one.restarts, phase, healthy=up, routed=up)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.booleans(), st.sampled_from("xyz")), max_size=6))
def test_every_history_of_wishes_settles_on_the_last_one_without_a_gap(
    wishes: list[tuple[int, int, bool, str]],
) -> None:
    world, restarts = World(), 0
    for replicas, more, rolling, value in wishes:
        restarts += more
        wanted = service(replicas=replicas, restarts=restarts, rolling=rolling, environment={"A": value})
        assert wanted.run is not None
        before = len(world.now)
        gapless = rolling or not more
        world.settle(wanted, at_least=min(before, replicas) if gapless else 0)
        assert len(world.now) == replicas
        assert {one.digest for one in world.now} <= {digest_of(wanted)}
        assert all(one.restarts >= restarts for one in world.now)
        assert len({one.instance for one in world.now}) == replicas
