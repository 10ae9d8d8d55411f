"""The small SQLite file for state that must change outside a build; copied into schema `ops` at each build."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from foundation.settings import Settings


@contextmanager
def open_state(settings: Settings) -> Iterator[sqlite3.Connection]:
    """Yield a connection inside one immediate transaction: committed on success, rolled back on any error.

    Each room creates its own tables with `create table if not exists`. Every table becomes `ops.<table>`.
    """
    settings.state_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _make_private(settings.state_path)
    connection = sqlite3.connect(settings.state_path, timeout=60, isolation_level=None)
    connection.row_factory = sqlite3.Row
    try:
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = full")
        connection.execute("begin immediate")
        try:
            yield connection
        except BaseException:
            connection.execute("rollback")
            raise
        connection.execute("commit")
    finally:
        connection.close()


def _make_private(path: Path) -> None:
    """Let the owner alone read the file, whatever the umask is; what SQLite writes beside it gets the same mode."""
    path.touch(mode=0o600)
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)


@contextmanager
def copy_state(settings: Settings) -> Iterator[sqlite3.Connection]:
    """Yield a copy of the whole file in memory; nobody waits for it, and it is gone afterwards."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as copy:
        copy.row_factory = sqlite3.Row
        if settings.state_path.exists():
            with closing(sqlite3.connect(f"file:{settings.state_path}?mode=ro", uri=True, timeout=60)) as state:
                state.backup(copy)
        yield copy


def read_rows(settings: Settings, table: str, sql: str) -> list[sqlite3.Row]:
    """Rows of the state file; none where the room that owns `table` has not run yet."""
    with open_state(settings) as state:
        known = state.execute("select 1 from sqlite_master where name = ?", (table,)).fetchone()
        return state.execute(sql).fetchall() if known else []
