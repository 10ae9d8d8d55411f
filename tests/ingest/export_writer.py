"""Writes small GA4 exports for the tests: events as BigQuery's JSON has them, and the same as Parquet."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import duckdb

from foundation.settings import Settings
from warehouse.ga4_schema import EVENT_COLUMNS


def make_event(number: int = 0, day: str = "20260801", **columns: Any) -> dict[str, Any]:
    """One event as BigQuery writes it to JSON: INT64 as strings, nulls left out."""
    return {
        "event_date": day,
        "event_timestamp": str(1_785_542_400_000_000 + number),
        "event_name": "page_view",
        "event_params": [
            {"key": "ga_session_id", "value": {"int_value": str(1_785_542_400 + number)}},
            {"key": "page_location", "value": {"string_value": f"https://shop.example/{number}"}},
        ],
        "user_pseudo_id": f"{number}.1",
        **columns,
    }


def make_events(count: int, day: str = "20260801", **columns: Any) -> list[dict[str, Any]]:
    """`count` different events of one day."""
    return [make_event(number, day, **columns) for number in range(count)]


def write_ndjson(path: Path, events: list[dict[str, Any]]) -> None:
    """Write events one a line; gzipped when the name ends so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(event) + "\n" for event in events).encode()
    path.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)


def write_parquet(path: Path, events: list[dict[str, Any]], *, extra: str = "") -> None:
    """Write events as Parquet in the export's full schema; `extra` is SQL for more columns behind it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = ", ".join(f"'{name}': '{dtype}'" for name, dtype in EVENT_COLUMNS.items())
    source = path.with_suffix(".source.ndjson")
    write_ndjson(source, events)
    more = f", {extra}" if extra else ""
    rows = f"select *{more} from read_json('{source}', format = 'newline_delimited', columns = {{{columns}}})"
    query_to_parquet(rows, path)
    source.unlink()


def query_to_parquet(query: str, path: Path) -> None:
    """Write the result of a query."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.execute(f"copy ({query}) to '{path}' (format parquet)")


def read_day(settings: Settings, day: str, columns: str = "*") -> list[tuple[Any, ...]]:
    """The rows of one day of the lake, in file order."""
    with duckdb.connect() as connection:
        return connection.execute(
            f"select {columns} from read_parquet('{settings.lake_dir}/event_date={day}/*.parquet', "
            "hive_partitioning = false, union_by_name = true)"
        ).fetchall()


def describe_lake_file(path: Path) -> list[tuple[str, str]]:
    """Names and types of one lake file."""
    with duckdb.connect() as connection:
        rows = connection.execute(
            f"describe select * from read_parquet('{path}', hive_partitioning = false)"
        ).fetchall()
    return [(row[0], row[1]) for row in rows]


def canonical_columns() -> list[tuple[str, str]]:
    """Names and types every lake file begins with, as DuckDB spells them."""
    columns = ", ".join(f"null::{dtype} as {name}" for name, dtype in EVENT_COLUMNS.items())
    with duckdb.connect() as connection:
        return [(row[0], row[1]) for row in connection.execute(f"describe select {columns}").fetchall()]
