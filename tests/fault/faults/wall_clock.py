"""A process whose clock is wrong (libfaketime): the wall clock alone, or the monotonic one with it."""

from __future__ import annotations

from pathlib import Path

from tests.fault.faults import needs


def set_off(file: Path, *, monotonic: bool = False) -> dict[str, str]:
    """The environment of a program whose clock follows `file`; see `jump`. Without `monotonic` only the wall clock."""
    library = needs.libfaketime()
    jump(file, 0)
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        **({} if monotonic else {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}),
    }


def jump(file: Path, seconds: float) -> None:
    """From now on its clock is `seconds` off the real one."""
    file.write_text(f"{seconds:+.3f}\n")
