from __future__ import annotations

from pathlib import Path

import pytest

from atoll.errors import ProgramMissing
from atoll.supervisor.program import command_of, expand


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("--port=$PORT", "--port=8000"),
        ("${PORT}0$PORT", "800008000"),
        ("$UNKNOWN ${UNKNOWN} $ ${ }", "$UNKNOWN ${UNKNOWN} $ ${ }"),
        ("$$PORT $$$PORT $${PORT}", "$PORT $8000 ${PORT}"),
        ("^[a-z]+$", "^[a-z]+$"),
        ("$(reboot); `x` | $EVIL", "$(reboot); `x` | $(rm -rf ~); $PORT\n"),
        ("$PORTS ${PORT:-1}", "$PORTS ${PORT:-1}"),
    ],
)
def test_names_are_filled_in_once_and_nothing_else_is_touched(text: str, result: str) -> None:
    assert expand(text, {"PORT": "8000", "EVIL": "$(rm -rf ~); $PORT\n"}) == result


def program(path: Path, content: bytes = b"\x7fELF", mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_program_is_found_in_the_childs_own_path_or_beside_it(tmp_path: Path) -> None:
    program(tmp_path / "bin/serve")
    environment = {"PATH": f"/nowhere:{tmp_path}/bin", "PORT": "1"}
    found = command_of(["serve", "a b", "$PORT"], "bin", str(tmp_path), environment)
    assert (found.program, found.arguments) == (f"{tmp_path}/bin/serve", ("serve", "a b", "1"))
    assert found.folder == f"{tmp_path}/bin"
    assert command_of(["./serve"], "bin", str(tmp_path), {}).program == f"{tmp_path}/bin/serve"


def refused(tmp_path: Path, *words: str, folder: str = ".") -> ProgramMissing:
    with pytest.raises(ProgramMissing) as caught:
        command_of(words, folder, str(tmp_path), {"PATH": f"{tmp_path}/bin:/none"})
    assert caught.value.hint
    return caught.value


def test_a_missing_program_tells_what_was_tried(tmp_path: Path) -> None:
    error = refused(tmp_path, "nobody")
    assert error.fields["tried"] == [f"{tmp_path}/bin", "/none"]
    assert refused(tmp_path, "./nobody").fields["tried"] == [str(tmp_path)]


def test_what_cannot_be_executed_is_told_with_its_reason(tmp_path: Path) -> None:
    program(tmp_path / "bin/plain", mode=0o644)
    program(tmp_path / "bin/moved", b"#!/old/venv/bin/python -x\nprint()\n")
    program(tmp_path / "bin/text", b"echo hi\n")
    program(tmp_path / "bin/empty", b"")
    assert "may not be executed" in refused(tmp_path, "plain").detail
    assert "interpreter '/old/venv/bin/python'" in refused(tmp_path, "moved").detail
    assert "without a #! line" in refused(tmp_path, "text").detail
    assert "is empty" in refused(tmp_path, "empty").detail
    assert "is a folder" in refused(tmp_path, "./bin").detail
    assert "does not exist" in refused(tmp_path, "plain", folder="no").detail
    assert "command is empty" in refused(tmp_path).detail
    assert "NUL" in refused(tmp_path, "a\0b").detail


def test_hostile_names_are_shown_escaped(tmp_path: Path) -> None:
    assert "\x1b" not in refused(tmp_path, "x\x1b[31m\n").detail
