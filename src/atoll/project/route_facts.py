"""One route of the file to its fact: short forms written out, words folded, a name made for one without."""

from __future__ import annotations

import hashlib
import re

from atoll.kit.text import scrub
from atoll.model.names import HeaderName, HeaderValue, HostPattern, PathText, RouteName, ServiceName, Token
from atoll.model.route import Match, Route, Share
from atoll.project import schema
from atoll.project.facts import Facts, Surroundings
from atoll.project.finding import Code, Finding, Path
from atoll.project.policy_facts import policy_of


def add_route(said: schema.Route, index: int, facts: Facts, around: Surroundings) -> None:
    """Add the route at `index` of the file to `facts`, with what is wrong with it; shares of services that are off go."""
    here: Path = ("gateway", "routes", index)
    match = _match(said.match, here, facts)
    shares = _shares(said, here, facts, around)
    if shares is None:
        return
    name = said.name if said.name is not None else _route_name(shares[0].service, match)
    if not around.complete(here):
        name = name if said.name is not None else f"{name[:50]}-item-{index + 1}"
        facts.vague.add(name)
    if name in facts.positions:
        message = f"two routes are called `{scrub(name)}`"
        hint = "" if said.name is not None else "give this one a name"
        facts.findings.append(Finding(code=Code.NAME_TWICE, message=message, path=(*here, "name"), hint=hint))
        return
    facts.positions[name] = index
    on = tuple(share for share in shares if share.service not in facts.off)
    if on:
        facts.routes.append(
            Route(
                name=RouteName(name),
                match=match,
                shares=on,
                rewrite=None if said.rewrite is None else PathText(_prefix(said.rewrite.path_prefix)),
                policy=policy_of(said, here, facts, around),
                defaults=facts.defaults,
                origin=facts.name,
            )
        )


def _prefix(path: str) -> str:
    """Prefixes end on segment boundaries: one trailing slash says nothing."""
    return path[:-1] if len(path) > 1 and path.endswith("/") else path


def _match(said: schema.Match, here: Path, facts: Facts) -> Match:
    if said.path is not None and said.path_prefix is not None:
        message = "`path` and `path_prefix` exclude each other"
        facts.findings.append(
            Finding(code=Code.EXCLUSIVE, message=message, path=(*here, "match", "path"), hint="keep one")
        )
    if said.host is not None and said.hosts is not None:
        message = "`host` and `hosts` exclude each other"
        facts.findings.append(
            Finding(code=Code.EXCLUSIVE, message=message, path=(*here, "match", "host"), hint="keep `hosts`")
        )
    hosts = said.hosts or ([said.host] if said.host is not None else [])
    return Match(
        hosts=tuple(dict.fromkeys(HostPattern(host.lower().removesuffix(".")) for host in hosts)),
        path=PathText(said.path if said.path is not None else _prefix(said.path_prefix or "/")),
        exact=said.path is not None,
        methods=tuple(dict.fromkeys(method.upper() for method in said.methods)),
        headers={HeaderName(name.lower()): HeaderValue(value) for name, value in said.headers.items()},
    )


def _shares(said: schema.Route, here: Path, facts: Facts, around: Surroundings) -> tuple[Share, ...] | None:
    if said.service is not None and said.backends is not None:
        message = "`service` and `backends` exclude each other"
        facts.findings.append(
            Finding(code=Code.EXCLUSIVE, message=message, path=(*here, "service"), hint="keep `backends`")
        )
    if said.backends is not None:
        return tuple(
            Share(
                service=ServiceName(backend.service),
                version=None if backend.version is None else Token(backend.version),
                weight=backend.weight,
            )
            for backend in said.backends
        )
    if said.service is not None:
        return (Share(service=ServiceName(said.service)),)
    if around.complete(here):
        message = "the route leads nowhere"
        facts.findings.append(
            Finding(code=Code.MISSING_KEY, message=message, path=here, hint="give it a `service` or `backends`")
        )
    return None


def _route_name(service: str, match: Match) -> str:
    """A name made of the route itself, so that it stays when others come and go."""
    parts = [service, match.path.strip("/"), *match.hosts, *(method.lower() for method in match.methods)]
    parts += [f"{name}-{value}" for name, value in match.headers.items()]
    words = (re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") for part in parts)
    name = "-".join(word for word in words if word)
    if len(name) > 63:
        name = f"{name[:54]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return name or "route"
