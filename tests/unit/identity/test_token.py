from __future__ import annotations

import stat
from pathlib import Path

import pytest

from atoll.errors import TokenUnsafe
from atoll.identity.token import ensure_token, read_token


def test_a_token_is_made_once_and_only_its_user_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "state" / "token"
    token = ensure_token(path)
    assert len(token) == 43
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ensure_token(path) == read_token(path) == token
    assert ensure_token(tmp_path / "other" / "token") != token


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o777])
def test_a_token_that_others_may_read_is_refused_with_what_to_do(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "token"
    token = ensure_token(path)
    path.chmod(mode)
    with pytest.raises(TokenUnsafe) as caught:
        ensure_token(path)
    assert "chmod 600" in str(caught.value.hint)
    assert token not in caught.value.detail
    assert path.read_text().strip() == token, "nothing is replaced behind the user's back"


@pytest.mark.parametrize(
    "content", [b"", b"short", b"x" * 31, b"x" * 600, b"\xff" * 43, b"a b\n" + b"c" * 40, b"x\0" * 20]
)
def test_a_file_without_a_token_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(TokenUnsafe):
        ensure_token(path)


def test_a_link_and_a_folder_are_refused(tmp_path: Path) -> None:
    real = tmp_path / "real"
    ensure_token(real)
    link = tmp_path / "link"
    link.symlink_to(real)
    with pytest.raises(TokenUnsafe):
        ensure_token(link)
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(TokenUnsafe):
        ensure_token(folder)
