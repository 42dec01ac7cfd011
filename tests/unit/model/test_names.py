from __future__ import annotations

import string
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import AtollError, InvalidName
from atoll.model import names
from atoll.model.address import endpoint

HOSTILE = set("\n\r\t\0 \"'`;#$%\\{}[]<>|^\x1b")
PARSERS = [
    names.service_name,
    names.instance_id,
    names.route_name,
    names.node_name,
    lambda raw: names.token(raw, field="version"),
    names.host_pattern,
    names.header_name,
    names.header_value,
    names.path_text,
    names.key,
]


@given(
    st.sampled_from(PARSERS), st.text(alphabet=st.sampled_from(sorted(HOSTILE) + list("a/.-")), min_size=1, max_size=12)
)
def test_no_parsed_name_holds_a_character_that_means_something_elsewhere(
    parse: Callable[[object], str], text: str
) -> None:
    try:
        parsed = parse(text)
    except InvalidName as refusal:
        assert all(character.isprintable() for character in refusal.detail)
    else:
        assert not HOSTILE & set(parsed)


@given(st.text(alphabet=string.ascii_lowercase + string.digits + "-", min_size=1, max_size=70))
def test_a_service_name_is_an_rfc_1123_label_that_starts_with_a_letter(text: str) -> None:
    valid = text[0].isalpha() and text[-1] != "-" and len(text) <= 63
    try:
        names.service_name(text)
    except InvalidName:
        assert not valid
    else:
        assert valid


@pytest.mark.parametrize("path", ["", "a", "//", "/a//b", "/a/../b", "/.", "/a/..", "/a;b", "/a b", "/%2e", "/a\n"])
def test_paths_that_two_parsers_could_read_differently_are_refused(path: str) -> None:
    with pytest.raises(InvalidName):
        names.path_text(path)


def test_a_prefix_loses_its_trailing_slash() -> None:
    assert names.path_text("/api/") == "/api"
    assert names.path_text("/") == "/"


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "0.0.0.0", "::", "224.0.0.1", "255.255.255.255", "2130706433",
        "0x7f000001", "0177.0.0.1", "127.1", "localhost.evil.example", "/run/x.sock", "unix@/x", "127.0.0.1\n", "", None, 7,
        "fe80::1%eth0", "100.100.100.200", "fd00:ec2::254", "2002:a9fe:a9fe::", "64:ff9b::a9fe:a9fe", "0.1.2.3",
    ],
)  # fmt: skip
def test_an_address_that_leads_elsewhere_cannot_be_registered(host: object) -> None:
    with pytest.raises(AtollError) as refusal:
        endpoint(host, 80)
    assert refusal.value.code == "address-forbidden"


@pytest.mark.parametrize("port", [0, -1, 65536, 1.5, "80", None, True, float("nan")])
def test_a_port_is_a_whole_number_from_1_to_65535(port: object) -> None:
    with pytest.raises(AtollError):
        endpoint("127.0.0.1", port)


def test_an_address_is_kept_in_its_one_canonical_form() -> None:
    assert str(endpoint("::FFFF:127.0.0.1", 80)) == "127.0.0.1:80"
    assert str(endpoint("0:0:0:0:0:0:0:1", 80)) == "[::1]:80"
    assert str(endpoint("localhost", 80)) == "127.0.0.1:80"
