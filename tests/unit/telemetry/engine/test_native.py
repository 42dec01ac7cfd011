"""ClickHouse's own format, byte by byte."""

from __future__ import annotations

import struct

import pytest

from atoll.telemetry import native


def test_a_block_has_its_size_and_each_column_its_name_and_type() -> None:
    columns = {"Name": native.texts(["a", "", "ä"]), "N": native.numbers("Int8", [1, -1, 2])}
    head, first = b"\x02\x03", b"\x04Name\x06String\x01a\x00\x02\xc3\xa4"
    assert native.block(3, columns) == head + first + b"\x01N\x04Int8\x01\xff\x02"


def test_a_long_text_has_its_length_in_seven_bits_a_byte() -> None:
    assert native.texts(["x" * 300]).data == b"\xac\x02" + b"x" * 300


def test_lists_and_maps_say_where_each_of_them_ends() -> None:
    found = native.lists("Float64", [[1.0], [], [2.0, 3.0]])
    assert (found.type, found.data) == ("Array(Float64)", struct.pack("<3Q3d", 1, 1, 3, 1.0, 2.0, 3.0))
    words = native.maps([{"a": "1", "b": "2"}, {}])
    assert (words.type, words.data) == ("Map(String, String)", struct.pack("<2Q", 2, 2) + b"\x01a\x01b\x011\x012")


def test_text_that_is_no_unicode_and_numbers_that_do_not_fit() -> None:
    assert native.texts(["\udcff"]).data == b"\x01?"
    with pytest.raises(OverflowError):
        native.numbers("Int8", [128])
