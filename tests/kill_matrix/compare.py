"""Compares what two runs have left: every published table, the lake, the incidents and the outbox."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb

from foundation.settings import Settings
from foundation.state import copy_state
from warehouse.lake import MANIFEST_NAME

# What tells when something was done, or by which run; everything else has to be equal.
CLOCKS = {"scored_at", "loaded_at", "published_at", "as_of", "validated_at", "quarantined_at", "run_id"}
STATE_CLOCKS = {
    "alert_checks": {"run_id", "checked_at"},
    "alert_events": {"happened_at", "done_by"},
    "alert_heartbeats": {"succeeded_at"},
    "alert_incidents": {"opened_by_run", "opened_at", "updated_at", "resolved_at", "alerting_since"},
    "alert_facts": {"facts"},  # JSON that names the run
    "alert_outbox": {
        "payload", "created_at", "first_attempt_at", "finished_at", "attempts", "message_ts",
        # of a message that stood in the channel unnoted; its chart is uploaded anew with the next edit
        "chart_id", "chart_hash",
    },
    "quarantined_files": {"quarantined_at", "resolved_at"},
}  # fmt: skip
# What a run notes about itself and those before it; a full build has other things to do than an incremental one.
ABOUT_THE_BUILD = (
    "intermediate.int_touched",
    "ops.touched_dates",
    "ops.build_info",
    "ops.validation_results",
    "ops.alert_",
)
# Results of the run that was killed stand beside those of the one that came after.
_CONDITIONS = {"ops.validation_results": "where run_id = (select run_id from {file}.ops.build_info)"}


def compare_published(
    left: Path, right: Path, *, without_build: bool = False, versions_differ: bool = False
) -> list[str]:
    """How two warehouses differ, table by table; `without_build`: one of them may be a full rebuild."""
    with duckdb.connect(config={"threads": 2}) as connection:
        for name, path in (("l", left), ("r", right)):
            connection.execute(f"attach '{path}' as {name} (read_only)")
        tables = {name: _list_tables(connection, name) for name in ("l", "r")}
        differences = []
        for table in sorted(tables["l"].keys() | tables["r"].keys()):
            if without_build and table.startswith(ABOUT_THE_BUILD):
                continue
            if table not in tables["l"] or table not in tables["r"]:
                differences.append(f"{table}: only in one of them")
                continue
            if tables["l"][table] != tables["r"][table]:
                differences.append(f"{table}: other columns")
                continue
            columns = ", ".join(_mask(column, versions_differ) for column in tables["l"][table] if column not in CLOCKS)
            selects = [
                f"select {columns} from {file}.{table} {_CONDITIONS.get(table, '').format(file=file)}"
                for file in ("l", "r")
            ]
            for one, other in (selects, selects[::-1]):
                rows = connection.execute(f"{one} except all {other}").fetchall()
                if rows:
                    differences.append(f"{table}: {len(rows)} rows only in one of them, such as {rows[0]}"[:500])
    return differences


def count_tables(path: Path) -> int:
    """How many tables a comparison looks at."""
    with duckdb.connect(str(path), read_only=True) as connection:
        rows = connection.execute("select count(*) from duckdb_tables()").fetchall()
        return int(rows[0][0])


def read_lake(settings: Settings) -> dict[str, Any]:
    """What the manifests and the folders say, clocks aside."""
    lake = {}
    for folder in sorted(settings.lake_dir.iterdir()):
        manifest = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
        del manifest["loaded_at"]
        lake[folder.name] = [manifest, sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*"))]
    for name in ("staging", "replaced"):
        folder = settings.home / "lake" / name
        lake[name] = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    return lake


def read_state(settings: Settings) -> dict[str, list[tuple[Any, ...]]]:
    """The incidents, the outbox and the quarantine, clocks and names of runs aside."""
    with copy_state(settings) as state:
        return {table: _read_table(state, table, clocks) for table, clocks in STATE_CLOCKS.items()}


def is_sound(settings: Settings) -> bool:
    """Whether SQLite finds its file sound."""
    with closing(sqlite3.connect(settings.state_path)) as state:
        return [row[0] for row in state.execute("pragma integrity_check")] == ["ok"]


def _read_table(state: sqlite3.Connection, table: str, clocks: set[str]) -> list[tuple[Any, ...]]:
    columns = [row["name"] for row in state.execute(f"pragma table_info({table})") if row["name"] not in clocks]
    # how late the newest day is depends on when that is asked
    rows = state.execute(
        f"select {', '.join(columns)} from {table} where {'rule' if 'rule' in columns else 'null'} is not 'data_late'"
    )
    return sorted((tuple(row) for row in rows), key=repr)


def _list_tables(connection: duckdb.DuckDBPyConnection, file: str) -> dict[str, list[str]]:
    rows = connection.execute(
        """
        select schema_name || '.' || table_name, list(column_name order by column_index)
        from duckdb_columns()
        where database_name = ? and not internal
            and schema_name || '.' || table_name in (
                select schema_name || '.' || table_name from duckdb_tables() where database_name = ?
            )
        group by all
        """,
        [file, file],
    ).fetchall()
    return dict(rows)


def _mask(column: str, versions_differ: bool) -> str:
    """A column; without the versions in it where the same training has made them at another time."""
    if versions_differ and (column == "version" or column.endswith("_version") or column.startswith("champions_")):
        return rf"""regexp_replace("{column}", '\d{{8}}T\d{{6}}Z-[0-9a-f]{{8}}', '', 'g') as "{column}" """
    return f'"{column}"'
