"""Compressed bodies, inflated up to a limit: what would be more costs no more than the limit, however it is packed.

Takes gzip, deflate (with or without zlib's header) and zstd; a stream that ends too early is refused, never cut.
"""

from __future__ import annotations

import io
import zlib

from atoll.errors import BadRequest, TooLarge
from atoll.kit.text import scrub
from atoll.telemetry.limits import UnsupportedMedia

ENCODINGS = ("gzip", "deflate", "zstd")
MEMBERS = 16
"""Gzip members, or zstd frames, of one body: nobody needs more, and each costs a copy of the rest."""
WINDOW = 16 << 20
"""Bytes of history that zstd may ask for: as much as a body of the usual limit that was compressed in one piece."""
BLOCKS = 1 << 16
"""Blocks of a zstd body; 16 MiB need 128."""
CHUNK = 1 << 18
GZIP, ZLIB, RAW = 31, 15, -15
"""zlib's names for the containers."""


def inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """The content of `body`. Blocking: up to 50 ms per 16 MiB, without the interpreter's lock.

    Raises:
        TooLarge: it has more than `limit` bytes.
        BadRequest: it is damaged, or not whole.
        UnsupportedMedia: the encoding is none of ours, or several on top of each other.
    """
    name = encoding.strip().lower()
    if name in {"", "identity"}:
        if len(body) > limit:
            raise too_large(limit)
        return body
    if name == "gzip":
        return _zlib(body, GZIP, limit)
    if name == "deflate":
        return _zlib(body, ZLIB if _has_header(body) else RAW, limit)
    if name == "zstd":
        return _zstd(body, limit)
    raise UnsupportedMedia(
        f"content encoding {scrub(encoding, limit=80)!r} is not taken", hint=f"send one of {', '.join(ENCODINGS)}"
    )


def too_large(limit: int) -> TooLarge:
    """The refusal of a body with more than `limit` bytes."""
    return TooLarge(
        f"the body has more than {limit} bytes", hint="export less at a time (ATOLL_TELEMETRY_BODY_LIMIT)", limit=limit
    )


def _has_header(body: bytes) -> bool:
    return len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0


def _zlib(body: bytes, container: int, limit: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    rest = body
    for _ in range(MEMBERS):
        engine = zlib.decompressobj(container)
        try:
            while not engine.eof:
                piece = engine.decompress(rest, min(CHUNK, limit + 1 - size))
                size += len(piece)
                pieces.append(piece)
                if size > limit:
                    raise too_large(limit)
                rest = engine.unconsumed_tail
                if not piece and not rest and not engine.eof:
                    raise BadRequest("the compressed body is not whole", hint="send all of it")
        except zlib.error as error:
            raise BadRequest(f"the compressed body is damaged: {error}", hint="compress it anew") from None
        rest = engine.unused_data
        if not rest.strip(b"\0"):
            return b"".join(pieces)
        if container != GZIP:
            raise BadRequest("something follows the compressed body", hint="send one stream")
    raise BadRequest(f"the compressed body has more than {MEMBERS} members", hint="compress it as one")


def _zstd(body: bytes, limit: int) -> bytes:
    import zstandard

    _whole_zstd(body)
    pieces: list[bytes] = []
    size = 0
    try:
        engine = zstandard.ZstdDecompressor(max_window_size=WINDOW)
        with engine.stream_reader(io.BytesIO(body), read_across_frames=True) as reader:
            while piece := reader.read(min(CHUNK, limit + 1 - size)):
                size += len(piece)
                pieces.append(piece)
                if size > limit:
                    raise too_large(limit)
    except zstandard.ZstdError as error:
        raise BadRequest(f"the compressed body is damaged: {scrub(str(error))}", hint="compress it anew") from None
    return b"".join(pieces)


def _whole_zstd(body: bytes) -> None:
    """That every frame has its last block: the reader takes the end of its input for the end of the content."""
    import zstandard

    at = frames = blocks = 0
    while at < len(body):
        frames += 1
        try:
            head = zstandard.get_frame_parameters(body[at : at + 18])
            at += zstandard.frame_header_size(body[at : at + 18])
        except zstandard.ZstdError as error:
            raise BadRequest(f"the body is not zstd: {scrub(str(error))}", hint="compress it anew") from None
        last = False
        while not last:
            blocks += 1
            if frames > MEMBERS or blocks > BLOCKS:
                raise BadRequest("the compressed body has too many parts", hint="compress it as one frame")
            word = int.from_bytes(body[at : at + 3], "little")
            last = bool(word & 1)
            at += 3 + (1 if (word >> 1) & 3 == 1 else word >> 3)
            if at > len(body):
                raise BadRequest("the compressed body is not whole", hint="send all of it")
        at += 4 if head.has_checksum else 0
    if at != len(body):
        raise BadRequest("the compressed body is not whole", hint="send all of it")
