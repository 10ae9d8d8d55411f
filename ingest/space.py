"""Bounds on what one file may take, so that one that unpacks to more than there is room for costs its own day alone."""

from __future__ import annotations

import gzip
import shutil
import zlib
from pathlib import Path

import duckdb

from foundation.errors import FunnelhouseError
from foundation.quoting import quote_path
from foundation.settings import Settings
from ingest.convert import UnreadableFileError

_CHUNK_BYTES = 8 * 2**20
_GB = 10**9


class DiskFullError(FunnelhouseError):
    """The disk of the home folder has no room left."""


def require_space(settings: Settings, needed_bytes: int) -> None:
    """Raise UnreadableFileError, to be tried again, if so many bytes more would leave less than `min_free_gb` free."""
    free = shutil.disk_usage(settings.home).free
    if free - needed_bytes < settings.min_free_gb * _GB:
        raise UnreadableFileError(
            f"there is no room for it: it takes {show_bytes(needed_bytes)}, the disk of {settings.home} has "
            f"{show_bytes(free)} free, and at least {settings.min_free_gb:g} GB stay free (FUNNELHOUSE_MIN_FREE_GB)",
            what_to_do="free some room; the next run tries again",
            is_final=False,
        )


def unpack(settings: Settings, packed: Path, plain: Path) -> None:
    """Unpack a gzip file; raises UnreadableFileError when it is none, becomes too large, or there is no room for it."""
    size = 0
    try:
        with gzip.open(packed, "rb") as source, plain.open("wb") as target:
            while chunk := source.read(_CHUNK_BYTES):
                size += len(chunk)
                _require_size(settings, size, "unpacks to")
                require_space(settings, len(chunk))
                target.write(chunk)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UnreadableFileError(
            f"cannot be unpacked as gzip: {error}",
            what_to_do="export or copy this table again; the next run picks up the new file by itself",
        ) from error


def require_parquet_size(settings: Settings, connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Raise UnreadableFileError for a Parquet file that its own footer says becomes too large; others are not judged.

    A value counts at least one byte: a column of one value repeated takes none in the file, and all of them in memory.
    """
    try:
        [(size,)] = connection.execute(
            "select coalesce(sum(greatest(total_uncompressed_size, num_values)), 0) "
            f"from parquet_metadata({quote_path(path)})"
        ).fetchall()
    except duckdb.Error:
        return  # it is no Parquet file: whoever reads it says what is wrong
    _require_size(settings, int(size), "becomes")


def show_bytes(size: int) -> str:
    """A size as people read it."""
    return f"{size / _GB:,.1f} GB" if size >= _GB / 10 else f"{size / 10**6:,.1f} MB"


def _require_size(settings: Settings, size: int, verb: str) -> None:
    if size > settings.max_file_gb * _GB:
        raise UnreadableFileError(
            f"it {verb} more than {settings.max_file_gb:g} GB (FUNNELHOUSE_MAX_FILE_GB)",
            what_to_do="if it is a day of the export, raise the setting; else remove the file",
        )
