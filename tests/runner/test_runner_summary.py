"""The summary's line on the schema of the export."""

from __future__ import annotations

import duckdb

from runner.summary import _schema


def _tell(changes: str) -> list[str]:
    with duckdb.connect() as connection:
        connection.execute("create schema ops")
        connection.execute(
            "create table ops.ingest_ledger as select date '2026-08-01' + n::int as event_date from range(20) r(n)"
        )
        connection.execute(
            "create table ops.schema_changes (column_name varchar, change varchar, event_date date, last_date date, "
            "differs_from_known_schema boolean, is_current boolean)"
        )
        if changes:
            connection.execute(f"insert into ops.schema_changes values {changes}")
        return _schema(connection)


def test_an_export_as_known_needs_no_line() -> None:
    assert _tell("") == []
    assert _tell("('publisher', 'new', '2026-08-02', '2026-08-20', false, true)") == []  # back to what is known
    assert _tell("('publisher', 'missing', '2026-08-02', '2026-08-03', true, false)") == []  # long over


def test_columns_that_differ_are_named_with_their_day_new_ones_first() -> None:
    rows = ["('publisher', 'missing', '2026-08-01', '2026-08-20', true, true)"]
    rows.append("('stream_id', 'retyped', '2026-08-18', '2026-08-19', true, false)")
    assert _tell(", ".join(rows)) == [
        "  schema: stream_id retyped since 2026-08-18 until 2026-08-19, publisher missing since 2026-08-01 "
        "(see ops.schema_changes)"
    ]
    rows += [f"('old_{n}', 'missing', '2026-08-20', '2026-08-20', true, true)" for n in range(4)]
    [line] = _tell(", ".join(rows))
    assert line.startswith("  schema: stream_id retyped since 2026-08-18")  # what came before what went
    rows += [f"('column_{n}', 'new', '2026-08-20', '2026-08-20', true, true)" for n in range(4)]
    [line] = _tell(", ".join(rows))
    assert line.endswith("column_3 new since 2026-08-20, and 6 more (see ops.schema_changes)")
