"""Whatever goes wrong between a service and its control plane is one of our errors, and a token is looked for again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from atoll.errors import Unauthorized, Unreachable
from atoll.model.names import InstanceId, ServiceName
from atoll.model.registration import Registration
from atoll.sdk.control_plane import ControlPlane
from atoll.sdk.place import Place
from atoll.testing import FakeClock

ASKED = (ServiceName("orders"), InstanceId("orders-1"), Registration(port=9000))


class Broken:
    """A client that fails in its own way."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.closed = False

    async def register(self, *asked: Any) -> Any:
        raise self.error

    async def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("error", [RuntimeError("bug"), ValueError("\x1b[31m"), KeyError("x"), OSError(24, "no files")])
async def test_a_failure_that_nobody_foresaw_is_unreachable_and_not_the_end_of_a_service(error: Exception) -> None:
    line = ControlPlane(Place(), FakeClock())
    line._open = Broken(error)  # type: ignore[assignment]
    with pytest.raises(Unreachable, match=type(error).__name__):
        await line.register(*ASKED)


async def test_a_token_that_is_refused_is_read_again_at_the_next_call(tmp_path: Path) -> None:
    line = ControlPlane(Place(token_file=tmp_path / "token"), FakeClock())
    broken = Broken(Unauthorized("who?"))
    line._open = broken  # type: ignore[assignment]
    with pytest.raises(Unauthorized):
        await line.register(*ASKED)
    assert broken.closed
    with pytest.raises(Unauthorized, match="no token"):
        await line.register(*ASKED)
