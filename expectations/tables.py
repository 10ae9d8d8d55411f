"""Runs the files of `sql/`: each makes one table, or view, that a suite looks at or that a later file reads."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import duckdb

SQL_DIR = Path(__file__).resolve().parent / "sql"


def create_tables(connection: duckdb.DuckDBPyConnection, folder: str, names: Iterable[str]) -> None:
    """Run `sql/<folder>/<name>.sql` for each name, in order."""
    for name in names:
        run_file(connection, folder, name)


def run_file(connection: duckdb.DuckDBPyConnection, folder: str, name: str) -> None:
    """Run `sql/<folder>/<name>.sql`, which reads what changes from run to run with `getvariable`."""
    connection.execute((SQL_DIR / folder / f"{name}.sql").read_text(encoding="utf-8"))


def set_variables(connection: duckdb.DuckDBPyConnection, **values: object) -> None:
    """Set variables for the files to read. They are this connection's: a view, which others read, must not use one."""
    for name, value in values.items():
        connection.execute(f"set variable {name} = $value", {"value": value})
