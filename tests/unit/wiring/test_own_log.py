"""What a node says is kept as a child's output is, and shown as before."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from atoll.kit.logs import Log
from atoll.settings import Settings, load
from atoll.supervisor.output import read_logs
from atoll.wiring.own_log import own_log


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(tmp_path / ".atoll", {})


def kept(settings: Settings) -> list[str]:
    return [line.text for line in read_logs(settings.state / "platform")]


def test_lines_from_info_on_are_kept_and_others_see_what_they_saw(settings: Settings) -> None:
    root = logging.getLogger("atoll")
    before = root.level, list(root.handlers)
    log = Log("node")
    with own_log(settings):
        log.debug("too small")
        log.info("a child ended", child="web-1", said="two\nlines \x1b[31m")
    log.warning("too late")
    started, line = kept(settings)
    assert started == "started: node local"
    assert line.endswith(r'INFO    atoll.node a child ended child=web-1 said="two\\nlines \\x1b[31m"'), line
    assert (root.level, root.handlers) == before


def test_a_flood_is_bounded_on_disk_and_counted(settings: Settings) -> None:
    small = replace(settings, supervisor=replace(settings.supervisor, log_bytes=64 << 10, line_limit=1024))
    log = Log("node")
    with own_log(small):
        for number in range(3000):
            log.info("again", number=number, text="x" * 400)
    folder = settings.state / "platform" / "node"
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 64 << 10
    assert kept(small)[-1].count("number=2999") == 1
