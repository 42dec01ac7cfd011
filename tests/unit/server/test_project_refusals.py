from __future__ import annotations

import pytest

from atoll.errors import ProjectInvalid
from atoll.model.names import ServiceName
from atoll.model.project import Project
from atoll.model.service import Condition, Run, Service
from atoll.model.snapshot import Snapshot
from atoll.project.finding import Code, findings_of
from atoll.server.project import refuse_project


def depends(name: str, on: str) -> Service:
    needed = {ServiceName(on): Condition.HEALTHY}
    return Service(name=ServiceName(name), run=Run(command=("./run",), depends_on=needed))


def test_an_applied_project_whose_services_could_never_start_is_refused_with_all_reasons() -> None:
    project = Project(name="shop", services=(depends("a", "b"), depends("b", "a"), depends("c", "nobody")))
    with pytest.raises(ProjectInvalid) as refusal:
        refuse_project(project, Snapshot())
    assert {finding.code for finding in findings_of(refusal.value)} == {Code.CYCLE, Code.UNKNOWN_REFERENCE}


def test_a_service_that_is_there_already_may_be_depended_on() -> None:
    there = Service(name=ServiceName("b"))
    refuse_project(Project(name="shop", services=(depends("a", "b"),)), Snapshot(services={there.name: there}))
