"""What the fuzz of the loader has found, each by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest
from export_writer import (
    canonical_columns,
    describe_lake_file,
    make_event,
    make_events,
    query_to_parquet,
    read_day,
    write_ndjson,
    write_parquet,
)

from foundation.settings import Settings
from ingest.job import load_changed_days
from ingest.printable import as_line
from ingest.report import LoadReport

DAY = "2026-08-02"


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """An export with one good day; the odd one is the second of August."""
    write_ndjson(tmp_path / "export" / "events_20260801.json.gz", make_events(3))
    return tmp_path / "export"


@pytest.fixture
def settings(tmp_path: Path, export: Path) -> Settings:
    return Settings(home=tmp_path / "home", source=str(export), property_timezone="UTC")


def _write(export: Path, *rows: dict[str, Any], raw: str = "null") -> None:
    """Rows of the odd day; the value "@" stands for the text `raw`."""
    path = export / "events_20260802.json"
    write_ndjson(path, [make_event(number, "20260802", **row) for number, row in enumerate(rows)])
    path.write_text(path.read_text().replace('"@"', raw))


def _refuse(settings: Settings) -> dict[str, Any]:
    """Why the odd day, and no other, was not loaded."""
    report = load_changed_days(settings, progress=False)
    assert [day.event_date for day in report.days_loaded] == ["2026-08-01"]
    [problem] = report.quarantined
    _check_lines(report)
    assert load_changed_days(settings, progress=False).quarantined == [{**problem, "is_new": False}]
    return problem


def _load(settings: Settings) -> LoadReport:
    report = load_changed_days(settings, progress=False)
    assert [day.event_date for day in report.days_loaded] == ["2026-08-01", DAY]
    assert (
        describe_lake_file(settings.lake_dir / f"event_date={DAY}" / "part-00000.parquet")[:31] == canonical_columns()
    )
    _check_lines(report)
    return report


def _check_lines(report: LoadReport) -> None:
    assert all(line.isprintable() for line in report.to_text().split("\n"))


@pytest.mark.parametrize("raw", ["[" * 20_000 + "]" * 20_000, '{"a":' * 5_000 + "1" + "}" * 5_000, "[" * 20_000])
def test_a_row_that_is_nested_thousands_of_levels_deep_is_named(settings: Settings, export: Path, raw: str) -> None:
    _write(export, {}, {"geo": "@"}, raw=raw)
    problem = _refuse(settings)
    assert (problem["row"], problem["reason"]) == (
        2,
        "row 2 is nested too deeply: no event of GA4 has more than a few levels",
    )


def test_a_record_of_too_many_fields_is_no_lack_of_memory(settings: Settings, export: Path) -> None:
    _write(export, {}, {"geo": {f"k{number}": 1 for number in range(12_000)}})
    assert _refuse(settings)["reason"] == (
        "it has 12,011 different columns and fields, and an events table has at most 10,000"
    )


def test_parquet_with_lists_in_lists_in_lists_does_not_hold_the_load(settings: Settings, export: Path) -> None:
    deep = "[" * 40 + "1" + "]" * 40
    write_parquet(export / "events_20260802.parquet", make_events(3, "20260802"), extra=f"{deep} as deep")
    assert _refuse(settings)["reason"] == "column deep has lists in lists, more than 15 levels deep"


def test_json_with_lists_in_lists_in_lists_stays_text_where_it_is_too_deep(settings: Settings, export: Path) -> None:
    _write(export, {}, {"deep": "@"}, raw="[" * 40 + "1" + "]" * 40)
    _load(settings)
    [(kind, text)] = read_day(settings, DAY, "typeof(deep), deep::varchar")[1:]
    assert kind == "JSON" + "[]" * 15 and text.count("[") == 40


@pytest.mark.parametrize("name", ["line\nend", "bell\x07", "nul\x00", "right\u202eleft", "k" * 5_000])
def test_a_name_that_is_no_printable_line_is_told_as_one(settings: Settings, export: Path, name: str) -> None:
    _write(export, {name: 1, "geo": {name: "x"}})
    report = _load(settings)
    assert {name, f"geo.{name}"} == set(report.schema_drift[0]["unknown"])
    assert max(len(line) for line in report.to_text().split("\n")) < 600
    query_to_parquet(f"""select 1 as "{name.replace(chr(0), "")}" """, export / "events_20260802.parquet")
    (export / "events_20260802.json").unlink()
    [problem] = load_changed_days(settings, progress=False).quarantined
    assert problem["reason"].isprintable() and len(problem["reason"]) <= 1_000


def test_columns_named_like_the_elements_of_our_queries_are_columns(settings: Settings, export: Path) -> None:
    names = {"x0": 1, "x1": "a", "j": [1], "found": {"value": 1}}
    _write(export, {}, {**names, "event_params": ""}, {"items": [{"item_id": "a", "quantity": "1.5"}]})
    report = _load(settings)
    assert [(values["column"], values["first_row"]) for values in report.uncast_values] == [
        ("event_params", 2),
        ("items.quantity", 3),
    ]
    assert read_day(settings, DAY, "x0, x1, j, found.value")[1] == (1, "a", [1], 1)


@pytest.mark.parametrize("form", ["json", "parquet"])
def test_fields_in_another_case_have_the_known_names_in_the_lake(settings: Settings, export: Path, form: str) -> None:
    if form == "json":
        _write(export, {"user_ltv": {"Revenue": 1.5, "CURRENCY": "EUR"}})
    else:
        write_parquet(export / "all.parquet", make_events(1, "20260802"))
        query_to_parquet(
            "select * replace (struct_pack(revenue := 1.5, CURRENCY := 'EUR') as user_ltv) "
            f"from '{export}/all.parquet'",
            export / "events_20260802.parquet",
        )
    _load(settings)
    assert read_day(settings, DAY, "user_ltv.revenue, user_ltv.currency") == [(1.5, "EUR")]


def test_a_key_without_a_name_is_told_with_its_row(settings: Settings, export: Path) -> None:
    _write(export, {}, {}, {"": 1})
    assert _refuse(settings)["reason"] == "row 3 has a key without a name"


def test_a_line_of_odd_text_is_escaped_and_cut() -> None:
    assert as_line("a\nb\x00\ud800ä🛒\u202e") == "a\\nb\\x00\\ud800ä🛒\\u202e"
    assert as_line("x" * 2_000) == "x" * 999 + "…"
    assert len(as_line("\U000e0001" * 999)) == 1_000


@pytest.mark.parametrize(
    "column", ["event_name", "event_params", "items", "geo", "user_properties", "user_ltv", "publisher", "of_my_own"]
)
def test_damage_is_found_in_whatever_column_it_is(settings: Settings, export: Path, column: str) -> None:
    texts = {"event_params": "string_value", "items": "item_name", "geo": "city", "user_properties": "string_value"}
    value = [{"key": "a", "value": {"string_value": "much"}}]
    rows = make_events(300, "20260802", items=[{"item_name": "bag"}], geo={"city": "Rome"}, user_properties=value)
    for number, row in enumerate(rows):
        row["user_ltv"] = {"revenue": number, "currency": f"c{number}"}
        row["publisher"] = {"ad_unit_id": f"unit {number}"}
    path = export / "events_20260802.parquet"
    write_parquet(path, rows, extra="event_name || 'x' as of_my_own")
    with duckdb.connect() as connection:
        chunks = connection.execute(
            """
            select coalesce(dictionary_page_offset, data_page_offset), total_compressed_size
            from parquet_metadata(?)
            where string_split(path_in_schema, ', ')[1] = ? and contains(path_in_schema, ?) and type = 'BYTE_ARRAY'
            """,
            [str(path), column, texts.get(column, "")],
        ).fetchall()
    assert chunks
    content = bytearray(path.read_bytes())
    for start, size in chunks:
        content[start : start + size] = b"\xff" * size
    path.write_bytes(content)
    assert "cannot be read as Parquet" in _refuse(settings)["reason"]
