"""The tables of `state.db`, and how an older file becomes a current one.

One table holds every version of every key that somebody may still ask for: the puts and deletes of the kept history,
and below it the last put of each key. So a commit writes each value once, and opening is one scan in order.

Promises: a file that is not ours, or that a newer atoll wrote, is refused and not changed by a single byte; a migration
happens as a whole or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from atoll.errors import StorageIncompatible

APPLICATION_ID = 0x61746F6C
"""`atol` in ASCII, at byte 68 of the file: how `file` and we tell it from others' SQLite files."""

PLACES = 1 << 20
"""A row's id is revision * PLACES + its place in the commit."""

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE log (
        id INTEGER PRIMARY KEY,     -- revision * 1048576 + place in the commit
        key TEXT NOT NULL,
        value BLOB,                 -- NULL: the key was deleted
        created INTEGER NOT NULL,   -- revision at which the key came into being
        lease TEXT,
        sum INTEGER NOT NULL        -- CRC-32 of all of the above; SQLite does not notice a flipped bit in a value
    ) STRICT;
    CREATE INDEX log_key ON log (key);
    CREATE TABLE leases (
        id TEXT PRIMARY KEY,
        ttl REAL NOT NULL,
        sum INTEGER NOT NULL        -- CRC-32 of both
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    INSERT INTO state VALUES ('compacted', 0);
    """,
)
"""What makes version n+1 of version n. Released ones are never edited, only followed."""


def check(connection: apsw.Connection, migrations: Sequence[str] = MIGRATIONS) -> int:
    """The version of an open file; 0 for an empty one. Reads only.

    Raises:
        StorageIncompatible: it is another program's, or of a newer version than `migrations` reaches.
    """
    owner = connection.pragma("application_id")
    version = connection.pragma("user_version")
    if owner != APPLICATION_ID and (owner or version or connection.execute("SELECT 1 FROM sqlite_schema").get):
        raise StorageIncompatible(
            f"{connection.filename} is a database of another program (application id {owner:#x})",
            hint="choose another state folder",
        )
    if version > len(migrations):
        raise StorageIncompatible(
            f"{connection.filename} has schema {version}; this atoll knows up to {len(migrations)}",
            hint="use the newer atoll, or restore a backup made by this one",
            found=version,
            known=len(migrations),
        )
    return int(version)


def migrate(connection: apsw.Connection, migrations: Sequence[str] = MIGRATIONS) -> int:
    """Bring the file to the newest version, all steps in one transaction; returns that version."""
    version = check(connection, migrations)
    if version < len(migrations):
        with connection:
            for script in migrations[version:]:
                connection.execute(script)
            connection.pragma("application_id", APPLICATION_ID)
            connection.pragma("user_version", len(migrations))
    return len(migrations)
