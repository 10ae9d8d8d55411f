"""DuckDB connections: the published file read-only, the build file for the one writer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from foundation.errors import NoBuildError, NothingPublishedError
from foundation.settings import Settings


def _config(settings: Settings) -> dict[str, str | bool | int | float | list[str]]:
    config: dict[str, str | bool | int | float | list[str]] = {"preserve_insertion_order": False}
    if settings.duckdb_threads:
        config["threads"] = settings.duckdb_threads
    if settings.duckdb_memory_limit:
        config["memory_limit"] = settings.duckdb_memory_limit
    return config


@contextmanager
def open_published(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a read-only connection to the published warehouse; reopen it per request to see new publications."""
    if not settings.published_path.exists():
        raise NothingPublishedError(
            f"{settings.published_path} does not exist: nothing has been published yet; run `make run` first"
        )
    with _open(settings.published_path, settings, read_only=True) as connection:
        yield connection


@contextmanager
def open_for_queries(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection to the published warehouse for SQL of somebody else: it reads no other file and no network.

    What it may do cannot be set anew by that SQL.
    """
    with open_published(settings) as connection:
        for setting in (
            "autoinstall_known_extensions = false",
            "autoload_known_extensions = false",
            "allow_community_extensions = false",
            "enable_external_access = false",
            "lock_configuration = true",
        ):
            connection.execute(f"set {setting}")
        yield connection


@contextmanager
def open_build(settings: Settings, *, read_only: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection to the private build file of the current run."""
    if not settings.build_path.exists():
        raise NoBuildError(f"{settings.build_path} does not exist: no build has started; `make run` starts one")
    with _open(settings.build_path, settings, read_only=read_only) as connection:
        yield connection


def insert_rows(connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Sequence[Any]]) -> None:
    """Insert rows, in the order of the table's columns, a column at a time: row by row each takes a millisecond."""
    if not rows:
        return
    kinds = [row[1] for row in connection.execute(f"describe {table}").fetchall()]
    places = ", ".join(f"unnest(cast(? as {kind}[]))" for kind in kinds)
    columns = [list(column) for column in zip(*rows, strict=True)]
    connection.execute(f"insert into {table} select {places}", columns)


@contextmanager
def _open(path: Path, settings: Settings, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duckdb.connect(str(path), read_only=read_only, config=_config(settings))
    try:
        yield connection
    finally:
        connection.close()
