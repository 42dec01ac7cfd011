"""The tables of the telemetry engine: numbered migrations out of schema/*.sql, and the version that is on disk.

A migration is a file. Its statements are separated by a semicolon at a line's end and may be repeated (IF NOT EXISTS,
OR REPLACE): there are no transactions around a schema, so an interrupted one is done again. Released files are never
edited, only followed. A store of a newer atoll is refused and not changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from importlib.resources import files

from atoll.errors import StorageIncompatible
from atoll.telemetry.engine import Engine
from atoll.telemetry.macros import expand

MIGRATIONS: tuple[str, ...] = ("spans", "logs", "requests", "metrics", "grpc", "request_views")
"""What makes version n+1 of version n: names of files in schema/."""

VERSIONS = """
CREATE TABLE IF NOT EXISTS schema_versions (Version UInt32, Name String, Applied DateTime('UTC') DEFAULT now())
ENGINE = MergeTree ORDER BY Version
"""


def statements(name: str) -> Iterator[str]:
    """The statements of one file, comments left out, words written out."""
    text = files("atoll.telemetry").joinpath("schema", f"{name}.sql").read_text("utf-8")
    bare = re.sub(r"--[^\n]*", "", text)
    for statement in re.split(r";[ \t]*(?:\n|\Z)", bare):
        if statement.strip():
            yield expand(statement.strip())


def migrate(engine: Engine, migrations: Sequence[str] = MIGRATIONS) -> int:
    """Bring the schema to the newest version; returns it.

    Raises:
        StorageIncompatible: a newer atoll wrote this store; nothing was changed.
    """
    engine.command(VERSIONS)
    found = int(engine.rows("SELECT max(Version) AS version FROM schema_versions")[0]["version"])
    if found > len(migrations):
        raise StorageIncompatible(
            f"the telemetry store has schema {found}; this atoll knows up to {len(migrations)}",
            hint="use the newer atoll, or another folder for telemetry",
            found=found,
            known=len(migrations),
        )
    for version, name in enumerate(migrations[found:], found + 1):
        for statement in statements(name):
            engine.command(statement)
        engine.command(f"INSERT INTO schema_versions (Version, Name) VALUES ({version}, '{name}')")  # noqa: S608 - ours
    return len(migrations)
