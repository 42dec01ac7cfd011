"""Sections of a service beside its usual one: where a route or a caller asks for what HAProxy keeps in a section.

The usual section is what the service itself says. Who says otherwise, of the same instances, gets a section with other
traits; the word of a variant is made of what differs, so that all who ask for the same share one.
"""

from __future__ import annotations

import hashlib

import msgspec

from atoll.gateway import retries
from atoll.gateway.config import Kind, Traits
from atoll.gateway.upstream import Upstream
from atoll.model.policy import Policy


def traits_for(traits: Traits, policy: Policy) -> Traits:
    """`traits` of a service's section, with what `policy` asks of it."""
    if traits.kind is Kind.TCP:
        return traits
    count, reasons = retries.section_words(policy)
    return msgspec.structs.replace(traits, retries=count, retry_on=reasons)


def varied(upstream: Upstream, usual: Traits, policy: Policy) -> tuple[Upstream, Traits]:
    """The upstream with the section that `policy` needs, and its traits; `usual` are those of the service."""
    wanted = traits_for(usual, policy)
    if wanted == usual:
        return upstream, usual
    differing = [
        (name, value) for name in Traits.__struct_fields__ if (value := getattr(wanted, name)) != getattr(usual, name)
    ]
    word = hashlib.blake2b(repr(differing).encode(), digest_size=4).hexdigest()
    return msgspec.structs.replace(upstream, variant=word), wanted
