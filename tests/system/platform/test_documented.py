"""The commands of docs/registry.md, run as they stand there, against a platform that runs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time

import pytest

from tests.system.platform.stage import ROOT, Platform, ask, until

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.skipif(shutil.which("curl") is None, reason="the documented commands use curl"),
]
BLOCKS = re.findall(r"^```sh\n(.*?)^```", (ROOT / "docs" / "registry.md").read_text(), re.DOTALL | re.MULTILINE)


def shell(platform: Platform, script: str, port: int) -> str:
    """Run a documented script in the project's folder, with this test's ports; what it prints."""
    script = script.replace("127.0.0.1:7070", f"127.0.0.1:{platform.api_port}").replace("9001", str(port))
    script = script.replace("/orders", "/guests").replace("orders-1", "guests-1").replace("curl ", "curl -sS ")
    done = subprocess.run(
        ["sh", "-eu", "-c", script],
        cwd=platform.folder,
        env=platform.environ,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_service_in_any_language_joins_and_leaves_with_two_curl_calls(shop: Platform) -> None:
    shutil.copy(ROOT / "tests" / "system" / "platform" / "service.py", shop.folder)
    port = shop.guest("guests-1")
    join, separator, leave = next(block for block in BLOCKS if "curl -X DELETE" in block).partition("# leave")
    assert separator
    setup = join[: join.index("# register")]

    answer = json.loads(shell(shop, join, port))
    assert answer["instance"]["state"] == "passing"
    assert answer["lease"]
    assert answer["renew_after"] < answer["ttl"]
    until(lambda: ask(shop.mesh_port, "/x", headers={"Host": "guests"}).status == 200, "it is called by its name")
    assert ask(shop.port_of("guests"), "/x").instance == "guests-1"
    assert json.loads(shell(shop, join, port))["lease"] == answer["lease"], "the same call again is the renewal"

    words = next(block for block in BLOCKS if '"state": "maint"' in block)
    for line, state, status in zip(words.splitlines(), ("maint", "passing"), (503, 200), strict=True):
        shell(shop, f"{setup}\n{line}", port)
        found = shop.done("GET", "/services/guests/instances/guests-1")["instances"][0]
        assert found["state"] == state
        until(lambda status=status: ask(shop.port_of("guests"), "/").status == status, state)  # type: ignore[misc]

    shell(shop, setup + leave, port)
    assert shop.done("GET", "/services/guests/instances")["instances"] == []
    until(lambda: ask(shop.port_of("guests"), "/").status == 503, "nobody is sent there any more")

    since = next(block for block in BLOCKS if "history?since" in block)
    today = time.strftime("%Y-%m-%d", time.gmtime())
    printed = shell(shop, f"{setup}\n{re.sub('20[0-9-]{8}T', f'{today}T', since.splitlines()[0])}", port)
    assert '"registered"' in printed or json.loads(printed)["records"] == [] or "records" in printed
    shop.done("DELETE", "/services/guests")
