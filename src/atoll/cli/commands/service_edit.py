"""`atoll service register`, `deregister`, `drain`, `undrain` and `maint`: the registry edited by hand."""

from __future__ import annotations

import contextlib
from typing import Any

import click

from atoll.cli.facts import V1, plain, revision_of, service_path, snapshot, unknown_service
from atoll.cli.invocation import Invocation
from atoll.cli.numbers import age, seconds
from atoll.cli.options import command, complete_services
from atoll.errors import NotFound
from atoll.model import names
from atoll.model.answers import MaintenanceEnd, MaintenanceRequest, Registered, StateChange
from atoll.model.keys import INSTANCES, SERVICES
from atoll.model.maintenance import Target
from atoll.model.names import ServiceName
from atoll.model.registration import Registration
from atoll.model.service import Protocol, State

_NAME = click.argument("name", metavar="SERVICE", shell_complete=complete_services)
_ID = click.argument("instance", metavar="INSTANCE")


@command("register")
@_NAME
@click.argument("endpoint", metavar="HOST:PORT")
@click.option("--id", "instance", metavar="ID", help="Name of the instance [default: SERVICE-PORT].")
@click.option(
    "--protocol", type=click.Choice([str(protocol) for protocol in Protocol]), default="http", show_default=True
)
@click.option("--version", metavar="V", help="Version, for routes that split by it.")
@click.option("--zone", metavar="Z", help="Where it runs.")
@click.option("--weight", type=click.IntRange(0, 256), default=100, show_default=True, help="Share of the traffic.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="May be repeated.")
@click.option("--meta", "metadata", multiple=True, metavar="KEY=VALUE", help="May be repeated.")
@click.option("--ttl", default="1h", show_default=True, metavar="TIME", help="How long it stays without a renewal.")
def register(
    invocation: Invocation,
    name: str,
    endpoint: str,
    *,
    instance: str | None,
    protocol: str,
    version: str | None,
    zone: str | None,
    weight: int,
    tags: tuple[str, ...],
    metadata: tuple[str, ...],
    ttl: str,
) -> None:
    """Register an instance that something else runs.

    Whoever runs it should renew it; run this again to renew it by hand.
    """
    wanted = names.service_name(name)
    host, _, port = endpoint.rpartition(":")
    if not (port.isascii() and port.isdigit()) or len(port) > 5:
        raise click.BadParameter("write the endpoint as HOST:PORT, such as 127.0.0.1:9000", param_hint="HOST:PORT")
    pairs = [pair.partition("=") for pair in metadata]
    if any(not equals for _, equals, _ in pairs):
        raise click.BadParameter("write metadata as KEY=VALUE", param_hint="--meta")
    identity = names.instance_id(instance or f"{wanted}-{port}")
    said = Registration(
        host=host.strip("[]") or "127.0.0.1",
        port=int(port),
        protocol=Protocol(protocol),
        version=version,
        zone=zone,
        weight=weight,
        tags=tags,
        metadata={key: value for key, _, value in pairs},
        ttl=seconds(ttl, name="--ttl"),
    )
    answer = invocation.api.put_as(service_path(wanted, "instances", identity), said, Registered)
    if invocation.json:
        invocation.show.json(plain(answer))
    invocation.talk.note(
        f"{identity} registered at {answer.instance.host}:{answer.instance.port}; lasts {age(answer.ttl)} unless renewed"
    )


@command("deregister")
@_NAME
@_ID
def deregister(invocation: Invocation, name: str, instance: str) -> None:
    """Remove an instance from the registry."""
    wanted, identity = names.service_name(name), names.instance_id(instance)
    answer = _about_instance(
        invocation, wanted, lambda: invocation.api.delete(service_path(wanted, "instances", identity))
    )
    if invocation.json:
        invocation.show.json(revision_of(answer))
    invocation.talk.note(f"{identity} deregistered")


def _change(invocation: Invocation, name: str, instance: str, state: State, cause: str, done: str) -> None:
    wanted, identity = names.service_name(name), names.instance_id(instance)
    path = service_path(wanted, "instances", identity, "state")
    answer = _about_instance(
        invocation, wanted, lambda: invocation.api.put(path, StateChange(state=state, cause=cause))
    )
    if invocation.json:
        invocation.show.json(revision_of(answer))
    after = answer.get("instances") if isinstance(answer, dict) else None
    if state is State.PASSING and after and after[0].get("maintenance"):
        invocation.talk.warning(f"{identity} stays out: {after[0].get('cause')}", "see `atoll maint`")
        return
    invocation.talk.note(f"{identity} {done}")


def _about_instance(invocation: Invocation, wanted: ServiceName, ask: Any) -> Any:
    """Ask; when there is no such instance, say which ones there are."""
    try:
        return ask()
    except NotFound as error:
        facts = snapshot(invocation.api, SERVICES, INSTANCES)
        if wanted not in facts.services:
            raise unknown_service(wanted, sorted(facts.services)) from None
        there = ", ".join(instance.id for instance in facts.of(wanted)[:20])
        hint = f"instances of {wanted} are: {there}" if there else f"{wanted} has no instances"
        raise NotFound(error.detail, hint=hint) from None


_CAUSE = click.option("--cause", default="", metavar="TEXT", help="Why, for whoever looks later.")


@command("drain")
@_NAME
@_ID
@_CAUSE
def drain(invocation: Invocation, name: str, instance: str, *, cause: str) -> None:
    """Give an instance no new requests, until its process is replaced; it finishes those it has."""
    _change(invocation, name, instance, State.DRAINING, cause, "drains")


@command("undrain")
@_NAME
@_ID
def undrain(invocation: Invocation, name: str, instance: str) -> None:
    """Take `drain` or `maint` back."""
    target = Target(service=names.service_name(name), instance=names.instance_id(instance))
    with contextlib.suppress(NotFound):
        invocation.api.post(f"{V1}/maintenance/end", MaintenanceEnd(target=str(target)))
    _change(invocation, name, instance, State.PASSING, "", "takes requests again")


@command("maint")
@_NAME
@_ID
@_CAUSE
def maint(invocation: Invocation, name: str, instance: str, *, cause: str) -> None:
    """Take an instance out for maintenance; it stays registered. See `atoll maint` for services, zones and machines."""
    target = Target(service=names.service_name(name), instance=names.instance_id(instance))
    said = MaintenanceRequest(target=str(target), reason=cause or "by operator")
    _about_instance(invocation, names.service_name(name), lambda: _registered(invocation, target))
    answer = invocation.api.post(f"{V1}/maintenance", said)
    if invocation.json:
        invocation.show.json(revision_of(answer))
    invocation.talk.note(f"{instance} is in maintenance")


def _registered(invocation: Invocation, target: Target) -> Any:
    assert target.service is not None
    return invocation.api.get(service_path(target.service, "instances", target.instance or ""))
