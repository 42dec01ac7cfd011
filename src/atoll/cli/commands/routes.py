"""`atoll routes`: the gateway's routes; `routes test` says which one takes a request, and why the others do not."""

from __future__ import annotations

import click

from atoll.cli.commands.routes_test import test
from atoll.cli.facts import plain, snapshot
from atoll.cli.invocation import Invocation
from atoll.cli.options import EPILOG, AtollGroup
from atoll.cli.show import Cell, service_cell
from atoll.model.keys import ROUTES
from atoll.model.route import Route


@click.group("routes", cls=AtollGroup, invoke_without_command=True, epilog=EPILOG)
@click.pass_context
def routes(ctx: click.Context) -> None:
    """List the gateway's routes, or explain which one takes a request."""
    if ctx.invoked_subcommand is None:
        _list(ctx.ensure_object(Invocation))


routes.add_command(test)


def _list(invocation: Invocation) -> None:
    facts = snapshot(invocation.api, ROUTES)
    found = [facts.routes[name] for name in sorted(facts.routes)]
    show = invocation.show
    if show.as_json:
        show.json([plain(route) for route in found])
        return
    show.table(
        ("ROUTE", "HOSTS", "METHODS", "PATH", "HEADERS", "TO", "REWRITE", "TIMEOUT", "ORIGIN"),
        [
            [
                Cell(route.name, "bold"),
                ", ".join(route.match.hosts),
                ",".join(route.match.methods),
                path_of(route),
                ", ".join(f"{name}: {value}" for name, value in sorted(route.match.headers.items())),
                service_cell(route.shares[0].service if route.shares else "", to(route)),
                route.rewrite or "",
                f"{route.policy.timeout:g}s" if route.policy.timeout else "",
                route.origin,
            ]
            for route in found
        ],
    )


def path_of(route: Route) -> str:
    """The path as people write it: `/api/*` for a prefix."""
    return route.match.path if route.match.exact else route.match.path.rstrip("/") + "/*"


def to(route: Route) -> str:
    """Where it leads: `orders`, or `catalog 95, catalog@v2 5`."""
    names = [share.service + (f"@{share.version}" if share.version else "") for share in route.shares]
    if len(names) == 1:
        return names[0]
    return ", ".join(f"{name} {share.weight}" for name, share in zip(names, route.shares, strict=True))
