"""Writes small lakes for tests: events given as plain dictionaries, in the canonical schema."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import duckdb

from foundation.quoting import quote_path, quote_text
from foundation.settings import Settings
from ingest.flatten import write_flat_file
from warehouse.flat import flat_columns, flat_versions
from warehouse.ga4_schema import EVENT_COLUMNS
from warehouse.lake import MANIFEST_NAME, Manifest, partition_dir

MICROS = 1_000_000


def micros(moment: str) -> int:
    """Microseconds since 1970 of an ISO moment, UTC unless it says otherwise."""
    parsed = dt.datetime.fromisoformat(moment)
    return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=dt.UTC)).timestamp() * MICROS)


def make_event(
    name: str,
    at: str,
    *,
    user: str | None = "user",
    session: int | None = 1,
    date: str | None = None,
    params: Mapping[str, Any] | None = None,
    **columns: Any,
) -> dict[str, Any]:
    """One row of the export; `params` are exported by their Python type (str, int, float)."""
    exported = {**({} if session is None else {"ga_session_id": session}), **(params or {})}
    return {
        "event_date": date or at[:10].replace("-", ""),
        "event_timestamp": micros(at),
        "event_name": name,
        "user_pseudo_id": user,
        "stream_id": "1",
        "platform": "WEB",
        "event_params": [{"key": key, "value": _typed(value)} for key, value in exported.items()],
        **columns,
    }


def write_day(
    settings: Settings, date: str, events: Iterable[Mapping[str, Any]], *, kind: str = "daily", name: str = "a.parquet"
) -> None:
    """Put one day (YYYY-MM-DD) into the lake, replacing what is there."""
    rows = list(events)
    folder = partition_dir(settings, dt.date.fromisoformat(date))
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.rglob("*.*"):
        old.unlink()
    lines = folder / "rows.ndjson"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    _copy_to_parquet(lines, folder / name, empty=not rows)
    with duckdb.connect() as connection:
        write_flat_file(connection, flat_columns(settings), folder / name, folder / name)
    content = hashlib.sha256(lines.read_bytes() + kind.encode()).hexdigest()
    lines.unlink()
    manifest = Manifest(
        event_date=date,
        table_name="events_" + ("" if kind == "daily" else f"{kind}_") + date.replace("-", ""),
        kind=kind,
        source_uri="test",
        source_files=[],
        content_hash=content,
        row_count=len(rows),
        lake_files=[name],
        flat_columns=flat_versions(settings),
        loaded_at="2026-01-01T00:00:00+00:00",
    )
    (folder / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8")


def remove_day(settings: Settings, date: str) -> None:
    """Take one day out of the lake."""
    shutil.rmtree(partition_dir(settings, dt.date.fromisoformat(date)))


def _copy_to_parquet(lines: Path, target: Path, *, empty: bool) -> None:
    nulls = ", ".join(f"cast(null as {kind}) as {name}" for name, kind in EVENT_COLUMNS.items())
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in EVENT_COLUMNS.items())
    # the folder's event_date=… is no column
    read = f"from read_json({quote_path(lines)}, format = 'nd', hive_partitioning = false, columns = {{{columns}}})"
    source = f"select {nulls} limit 0" if empty else read
    connection = duckdb.connect()
    try:
        connection.execute(f"copy ({source}) to {quote_text(str(target))} (format parquet)")
    finally:
        connection.close()


def _typed(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        return {"string_value": value}
    if isinstance(value, int):
        return {"int_value": value}
    return {"double_value": value}
