"""The DuckDB that reads and writes lake files."""

from __future__ import annotations

import errno
import os

import duckdb

from foundation.settings import Settings
from ingest.place import staging_dir

# Each thread holds a block of rows or JSON: without a bound, a large machine would not fit into the memory limit.
_MAX_THREADS = 4
_DEFAULT_MEMORY_LIMIT = "2GB"


def open_engine(settings: Settings) -> duckdb.DuckDBPyConnection:
    """A connection to an empty database in memory; what does not fit into memory goes to the lake's staging folder."""
    connection = duckdb.connect(
        config={
            # Row numbers in messages and in the lake are those of the file.
            "preserve_insertion_order": True,
            "memory_limit": settings.duckdb_memory_limit or _DEFAULT_MEMORY_LIMIT,
            "temp_directory": str(staging_dir(settings) / "duckdb"),
            "threads": settings.duckdb_threads or min(_MAX_THREADS, os.cpu_count() or 1),
        }
    )
    connection.execute("set enable_progress_bar = false")
    return connection


def is_about_space(error: BaseException) -> bool:
    """Whether an error says that the disk, or the memory, is full: this machine's trouble, not a file's."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return isinstance(error, duckdb.OutOfMemoryException) or (
        isinstance(error, duckdb.Error) and "space left" in str(error)
    )
