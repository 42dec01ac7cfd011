"""What makes a service or a route one that HAProxy cannot run. Pure.

Facts were checked when they were written; this is the last look before they become a configuration, for facts of an
older version, of another hand or of a damaged store.
"""

from __future__ import annotations

from atoll.errors import AtollError, InvalidValue
from atoll.gateway.members import check_of, traits_of
from atoll.kit.text import scrub
from atoll.model import names
from atoll.model.breaker import BreakerWord, word_problems
from atoll.model.bulkhead import room_problems
from atoll.model.failover import failover_problems, failover_word_problems
from atoll.model.policy import TIMEOUT_CEILING, Policy, policy_problems
from atoll.model.route import METHODS, Route
from atoll.model.service import Service

WEIGHT_LIMIT = 1_000_000


def service_objection(service: Service) -> str | None:
    """Why the service cannot be run; None: it can."""
    try:
        names.service_name(service.name)
        traits_of(service)
        check_of(service)
        for policy in (service.policy, *(call.policy for call in service.calls.values())):
            _refuse_absurd(policy)
        for path, wrong in room_problems(service.instance_concurrency, service.queue):
            raise InvalidValue(f"{'.'.join(path)}: {wrong}")
        for word in (service.breaker_word, *(call.breaker_word for call in service.calls.values())):
            _refuse_word(word)
        for at, wrong in failover_problems(service.name, service.failover) if service.failover is not None else ():
            raise InvalidValue(f"failover.{'.'.join(map(str, at))}: {wrong}")
        for field, wrong in failover_word_problems(service.failover_word):
            raise InvalidValue(f"failover_word.{field}: {wrong}")
        if not 0 <= service.slow_start <= TIMEOUT_CEILING:
            raise InvalidValue(f"slow_start {service.slow_start} is not 0-{TIMEOUT_CEILING:g} seconds")
    except AtollError as error:
        return error.detail
    return None


def route_objection(route: Route) -> str | None:
    """Why the route cannot be run; None: it can."""
    try:
        names.route_name(route.name)
        for host in route.match.hosts:
            names.host_pattern(host)
        for path in filter(None, (route.match.path, route.rewrite)):
            if names.path_text(path) != path:
                raise InvalidValue(f"path {scrub(path, limit=80)!r} ends with '/'")
        for name, value in route.match.headers.items():
            names.header_name(name)
            names.header_value(value)
        for share in route.shares:
            names.service_name(share.service)
            if share.version is not None:
                names.token(share.version, field="version")
            if not 0 <= share.weight <= WEIGHT_LIMIT:
                raise InvalidValue(f"weight {share.weight} is not 0-{WEIGHT_LIMIT}")
        if not set(route.match.methods) <= METHODS:
            raise InvalidValue("a method is not one of HTTP's")
        if not route.shares:
            raise InvalidValue("it leads nowhere: no shares")
        for policy in (route.policy, route.defaults):
            _refuse_absurd(policy)
        _refuse_word(route.breaker_word)
    except AtollError as error:
        return error.detail
    return None


def _refuse_absurd(policy: Policy) -> None:
    for path, wrong in policy_problems(policy):
        raise InvalidValue(f"{'.'.join(path)}: {wrong}")


def _refuse_word(word: BreakerWord) -> None:
    for part, wrong in word_problems(word):
        raise InvalidValue(f"breaker_word.{part}: {wrong}")
