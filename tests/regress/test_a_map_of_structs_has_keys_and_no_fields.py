"""A project with `calls:` was refused by the API: its callees' names were taken for fields of a call."""

from __future__ import annotations

import msgspec
import pytest

from atoll.errors import InvalidValue
from atoll.model.names import ServiceName
from atoll.model.policy import Call, Policy
from atoll.model.service import Service
from atoll.server.body import parse


def test_a_map_of_structs_has_keys_and_no_fields() -> None:
    said = Service(name=ServiceName("web"), calls={ServiceName("orders"): Call(policy=Policy(timeout=2.0))})
    assert parse(msgspec.json.encode(said), Service) == said
    with pytest.raises(InvalidValue, match=r"calls\.orders\.policy\.timout"):
        parse(b'{"name":"web","calls":{"orders":{"policy":{"timout":2}}}}', Service)
