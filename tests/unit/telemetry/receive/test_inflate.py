"""Compressed bodies: content byte for byte, and no more than the limit, however they are packed."""

from __future__ import annotations

import gzip
import random
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import AtollError, BadRequest, TooLarge
from atoll.telemetry.inflate import BLOCKS, MEMBERS, inflate
from atoll.telemetry.limits import UnsupportedMedia

LIMIT = 1 << 20
CONTENT = random.Random(1).randbytes(5000) + bytes(60_000)


def deflated(content: bytes, container: int = 15) -> bytes:
    engine = zlib.compressobj(wbits=container)
    return engine.compress(content) + engine.flush()


PACKED: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "zlib": ("deflate", deflated),
    "raw deflate": ("deflate", lambda content: deflated(content, -15)),
    "zstd": ("zstd", zstandard.ZstdCompressor().compress),
    "zstd with a checksum": ("zstd", zstandard.ZstdCompressor(write_checksum=True).compress),
    "zstd without a size": ("zstd", zstandard.ZstdCompressor(write_content_size=False).compress),
    "two gzip members": ("gzip", lambda content: gzip.compress(content[:700]) + gzip.compress(content[700:])),
    "two zstd frames": (
        "zstd",
        lambda content: zstandard.compress(content[:700]) + zstandard.compress(content[700:]),
    ),
}
KINDS = pytest.mark.parametrize(("encoding", "pack"), PACKED.values(), ids=PACKED.keys())


@KINDS
def test_the_content_comes_back(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    assert inflate(pack(CONTENT), encoding, LIMIT) == CONTENT
    assert inflate(pack(CONTENT), f" {encoding.upper()} ", len(CONTENT)) == CONTENT


@KINDS
def test_one_byte_over_the_limit_is_too_large(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    with pytest.raises(TooLarge):
        inflate(pack(CONTENT), encoding, len(CONTENT) - 1)


@KINDS
def test_a_body_that_is_not_whole_is_refused_wherever_it_ends(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    packed = pack(CONTENT)
    members = {len(pack(CONTENT[:700]))} if "two" in str(pack) else set()
    for end in {1, 2, 5, 10, len(packed) // 2, len(packed) - 5, len(packed) - 1} - members:
        with pytest.raises(BadRequest):
            inflate(packed[:end], encoding, LIMIT)


@KINDS
def test_a_bomb_costs_no_more_than_the_limit(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    bomb = pack(bytes(100 << 20))
    tracemalloc.start()
    with pytest.raises(TooLarge):
        inflate(bomb, encoding, LIMIT)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 4 * LIMIT + len(bomb)


def test_many_members_are_refused_before_they_cost_anything() -> None:
    with pytest.raises(BadRequest, match="members"):
        inflate(gzip.compress(b"") * 100_000, "gzip", LIMIT)
    with pytest.raises(BadRequest, match="parts"):
        inflate(zstandard.compress(b"x") * (MEMBERS + 1), "zstd", LIMIT)


def test_a_frame_of_empty_blocks_is_refused() -> None:
    head = zstandard.ZstdCompressor(write_content_size=False).compress(b"x")[:6]
    with pytest.raises(BadRequest):
        inflate(head + b"\0\0\0" * (BLOCKS + 1), "zstd", LIMIT)


def test_a_window_of_gigabytes_is_refused() -> None:
    engine = zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters(window_log=27)
    ).compressobj()
    packed = engine.compress(CONTENT) + engine.flush()
    with pytest.raises(BadRequest):
        inflate(packed, "zstd", LIMIT)


def test_a_body_of_the_usual_limit_in_one_piece_is_taken() -> None:
    content = bytes(16 << 20)
    assert inflate(zstandard.compress(content), "zstd", 16 << 20) == content


@pytest.mark.parametrize("encoding", ["gzip, gzip", "br", "snappy", "x" * 1000, "gzip;q=1", "\x1b[31m"])
def test_other_encodings_are_refused_by_name(encoding: str) -> None:
    with pytest.raises(UnsupportedMedia) as refused:
        inflate(b"", encoding, LIMIT)
    assert refused.value.detail.isprintable()


def test_no_encoding_is_the_body_itself() -> None:
    assert inflate(b"abc", "", 3) == inflate(b"abc", "identity", 3) == b"abc"
    with pytest.raises(TooLarge):
        inflate(b"abcd", "identity", 3)


def test_what_follows_the_content_is_refused_but_for_padding() -> None:
    assert inflate(gzip.compress(b"abc") + bytes(20), "gzip", LIMIT) == b"abc"
    for encoding, packed in (("gzip", gzip.compress(b"abc")), ("deflate", deflated(b"abc"))):
        with pytest.raises(BadRequest):
            inflate(packed + b"more", encoding, LIMIT)


@given(st.binary(max_size=300), st.sampled_from(["gzip", "deflate", "zstd"]), st.integers(0, 2))
def test_any_bytes_are_inflated_or_refused(noise: bytes, encoding: str, head: int) -> None:
    start = [b"", b"\x1f\x8b\x08\0\0\0\0\0\0\x03", b"\x28\xb5\x2f\xfd"][head]
    try:
        assert len(inflate(start + noise, encoding, LIMIT)) <= LIMIT
    except AtollError:
        return
