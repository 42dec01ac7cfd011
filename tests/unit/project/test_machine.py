from __future__ import annotations

from pathlib import Path

import pytest

from atoll.model.names import ServiceName
from atoll.model.project import Project
from atoll.model.service import Run, Service
from atoll.project.finding import Code, Finding
from atoll.project.machine import check_environment


def looked(root: Path, *command: str, working_dir: str = ".", **environment: str) -> tuple[Finding, ...]:
    run = Run(command=command, working_dir=working_dir, root=str(root), environment=environment)
    project = Project(name="shop", services=(Service(name=ServiceName("orders"), run=run),))
    return check_environment(project, {"PATH": str(root / "bin")})


def program(path: Path, text: str = "#!/bin/sh\n", mode: int = 0o755) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode())
    path.chmod(mode)
    return path


def test_a_program_is_found_in_path_beside_the_file_and_by_its_full_name(tmp_path: Path) -> None:
    full = program(tmp_path / "bin" / "run")
    program(tmp_path / "here" / "run")
    assert looked(tmp_path, "run") == ()
    assert looked(tmp_path, "./run", working_dir="here") == ()
    assert looked(tmp_path, str(full)) == ()
    assert looked(tmp_path, "only-there", PATH=str(program(tmp_path / "other" / "only-there").parent)) == ()


def test_a_missing_program_is_told_with_a_neighbour_of_like_name(tmp_path: Path) -> None:
    program(tmp_path / "bin" / "uvicorn")
    [finding] = looked(tmp_path, "uvicron")
    assert (finding.code, finding.suggestion) == (Code.PROGRAM_MISSING, "uvicorn")
    assert finding.path == ("services", "orders", "command")


def test_a_relative_program_is_looked_for_in_working_dir(tmp_path: Path) -> None:
    program(tmp_path / "run")
    (tmp_path / "sub").mkdir()
    [finding] = looked(tmp_path, "./run", working_dir="sub")
    assert finding.code == Code.PROGRAM_MISSING
    assert str(tmp_path / "sub" / "run") in finding.hint
    [finding] = looked(tmp_path, "run")
    assert finding.hint.endswith("write ./run")


def test_a_word_of_the_shell_is_recognised(tmp_path: Path) -> None:
    [finding] = looked(tmp_path, "cd", "x")
    assert "word of the shell" in finding.hint


def test_a_file_that_may_not_be_executed_is_told(tmp_path: Path) -> None:
    program(tmp_path / "run", mode=0o644)
    [finding] = looked(tmp_path, "./run")
    assert finding.code == Code.PROGRAM_UNUSABLE
    assert "chmod +x" in finding.hint
    [finding] = looked(tmp_path, "./")
    assert finding.code == Code.PROGRAM_UNUSABLE


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("#!/no/such/python\n", "`/no/such/python`"),
        ("#!/usr/bin/env no-such-interpreter\n", "`no-such-interpreter`"),
        ("#!/usr/bin/env -S no-such-interpreter -u\n", "`no-such-interpreter`"),
        ("#!/bin/sh\r\n", "carriage return"),
        ("#!\n", "names no interpreter"),
        ("echo hello\n", "without a `#!` line"),
        ("", "is empty"),
    ],
)
def test_a_script_whose_interpreter_is_wrong_is_told_before_it_fails_with_a_puzzle(
    tmp_path: Path, text: str, said: str
) -> None:
    program(tmp_path / "run", text)
    [finding] = looked(tmp_path, "./run")
    assert finding.code == Code.INTERPRETER
    assert said in finding.message


@pytest.mark.parametrize("text", ["#!/bin/sh -e\n", "#! /bin/sh\n", "#!/usr/bin/env run2\n", "\x7fELF\0", "\0binary"])
def test_what_can_be_started_passes(tmp_path: Path, text: str) -> None:
    program(tmp_path / "bin" / "run2")
    program(tmp_path / "run", text)
    assert looked(tmp_path, "./run") == ()


def test_a_working_dir_that_is_none_is_told_once(tmp_path: Path) -> None:
    program(tmp_path / "file")
    for folder, said in (("missing", "does not exist"), ("file", "is not a folder")):
        [finding] = looked(tmp_path, "no-such-program", working_dir=folder)
        assert finding.code == Code.FOLDER_MISSING
        assert said in finding.message


def test_variables_in_the_programs_name_are_filled_or_left_to_the_start(tmp_path: Path) -> None:
    program(tmp_path / "bin" / "run-7")
    assert looked(tmp_path, "run-${NUMBER}", NUMBER="7") == ()
    assert looked(tmp_path, "run-$PORT") == ()
    assert looked(tmp_path, "run-$NUMBER", NUMBER="8")[0].code == Code.PROGRAM_MISSING


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "./" + "y/" * 3000, "é\u202e"])
def test_a_name_no_disk_can_hold_is_a_finding_and_not_an_accident(tmp_path: Path, name: str) -> None:
    [finding] = looked(tmp_path, name)
    assert finding.code in {Code.PROGRAM_MISSING, Code.PROGRAM_UNUSABLE}
    assert looked(tmp_path, "sh", working_dir=name)[0].code == Code.FOLDER_MISSING
