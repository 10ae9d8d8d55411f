"""What one validation looks at, and the in-memory database in which it looks."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from foundation.quoting import quote_text
from foundation.settings import Settings


@dataclass(frozen=True)
class Scope:
    """What a suite's tables cover, in words. `is_empty`: there is nothing to validate, and the notes say why."""

    text: str
    notes: list[str] = field(default_factory=list)
    is_empty: bool = False


@contextmanager
def open_memory(settings: Settings) -> Iterator[tuple[str, duckdb.DuckDBPyConnection]]:
    """Yield the name of a new in-memory database and a connection to it; the same name opens the same database.

    The profile tables live here, so that the lake and the build file are only ever read.
    """
    folder = settings.home / "validation"
    folder.mkdir(parents=True, exist_ok=True)
    spill_dir = Path(tempfile.mkdtemp(prefix="spill-", dir=folder))
    name = f":memory:validation_{uuid.uuid4().hex}"
    # Settings come after the connection: a second connection may not bring a configuration of its own.
    connection = duckdb.connect(name)
    try:
        connection.execute(f"set temp_directory = {quote_text(str(spill_dir))}")
        connection.execute("set preserve_insertion_order = false")
        if settings.duckdb_threads:
            connection.execute(f"set threads = {settings.duckdb_threads}")
        if settings.duckdb_memory_limit:
            connection.execute(f"set memory_limit = {quote_text(settings.duckdb_memory_limit)}")
        yield name, connection
    finally:
        connection.close()
        shutil.rmtree(spill_dir, ignore_errors=True)
