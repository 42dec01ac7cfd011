from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from atoll.supervisor import bundle
from atoll.supervisor.bundle import BundleMissing, cache_folder, ensure

NOW = 1_795_000_000.0


def test_the_bundle_holds_what_is_needed_and_nothing_else(tmp_path: Path) -> None:
    made = ensure(tmp_path / "cache", NOW)
    assert [file.name for file in made.python.iterdir()] == ["sitecustomize.py"]
    assert made.node.is_file()
    inside = {entry.name for entry in made.lib.iterdir() if not entry.name.endswith(".dist-info")}
    assert {"opentelemetry", "atoll_beside", "wrapt"} <= inside
    assert not inside & {"google", "requests", "urllib3", "grpc", "atoll", "flask", "fastapi"}
    assert (made.lib / "opentelemetry/instrumentation/flask").is_dir()
    assert not (made.lib / "opentelemetry/exporter").exists()
    assert sum(file.stat().st_size for file in made.folder.rglob("*") if file.is_file()) < 20 << 20


def test_it_is_made_once_and_named_for_its_content(tmp_path: Path) -> None:
    first = ensure(tmp_path, NOW)
    stamp = first.lib.stat().st_ctime_ns
    assert ensure(tmp_path, NOW + 1) == first
    assert first.lib.stat().st_ctime_ns == stamp
    assert first.folder.stat().st_mtime == NOW + 1  # used, so it is kept


def test_many_nodes_may_build_at_once(tmp_path: Path) -> None:
    made: list[bundle.Bundle] = []
    threads = [threading.Thread(target=lambda: made.append(ensure(tmp_path, NOW))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4
    assert len(set(made)) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == [made[0].folder.name]


def test_bundles_that_no_service_was_started_with_for_long_are_removed(tmp_path: Path) -> None:
    for name, age in (("old", 40), ("recent", 3), (".building-crashed", 40)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (NOW - age * 86_400,) * 2)
    made = ensure(tmp_path, NOW)
    assert {entry.name for entry in tmp_path.iterdir()} == {"recent", made.folder.name}


def test_a_missing_package_and_a_folder_that_cannot_be_written_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleMissing, match="cannot be written"):
        ensure(tmp_path / "file" / "cache", NOW)
    monkeypatch.setattr(bundle, "NEEDED", (*bundle.NEEDED, "no-such-package"))
    with pytest.raises(BundleMissing, match="not installed: no-such-package"):
        ensure(tmp_path, NOW)


def test_bundles_lie_in_the_users_cache_or_else_in_the_state_folder() -> None:
    state = Path("/state")
    assert cache_folder({"XDG_CACHE_HOME": "/cache", "HOME": "/h"}, state) == Path("/cache/atoll/instrument")
    assert cache_folder({"HOME": "/h"}, state) == Path("/h/.cache/atoll/instrument")
    assert cache_folder({"XDG_CACHE_HOME": "relative"}, state) == Path("/state/instrument")
    assert cache_folder({}, state) == Path("/state/instrument")
