"""What the telemetry process answers is declared in the control API, and nothing else is."""

from __future__ import annotations

from starlette.routing import Route

from atoll.server import telemetry
from atoll.server.app import ENDPOINTS
from atoll.telemetry.logs import api as logs
from atoll.telemetry.query import api

STATUS = {("GET", "/api/v1/telemetry/status"), ("GET", "/api/v1/telemetry/metrics")}
"""Of `telemetry.status`, whose routes are made for one process."""


def test_every_route_of_the_query_application_is_forwarded_and_every_forwarded_path_is_answered() -> None:
    answered = {
        (method, route.path)
        for route in (*api.ROUTES, *logs.ROUTES)
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }
    declared = {(one.method, one.path) for one in telemetry.ENDPOINTS}
    assert declared - STATUS == answered
    assert declared <= {(one.method, one.path) for one in ENDPOINTS}
