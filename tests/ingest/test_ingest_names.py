"""File names: which are events tables, which are other things, which are mistakes."""

from __future__ import annotations

import datetime as dt

import pytest

from ingest.names import ImpossibleNameError, parse_file_name, parse_table_name

DAY = dt.date(2026, 8, 1)


@pytest.mark.parametrize(
    ("path", "table", "form", "is_gzipped"),
    [
        ("events_20260801.parquet", "events_20260801", "parquet", False),
        ("events_20260801.parquet.gz", "events_20260801", "parquet", True),
        ("events_20260801.json", "events_20260801", "ndjson", False),
        ("events_20260801.ndjson", "events_20260801", "ndjson", False),
        ("events_20260801.jsonl", "events_20260801", "ndjson", False),
        ("events_20260801.json.gz", "events_20260801", "ndjson", True),
        ("events_fresh_20260801.json", "events_fresh_20260801", "ndjson", False),
        ("events_intraday_20260801.parquet", "events_intraday_20260801", "parquet", False),
        ("events_20260801_000000000012.json.gz", "events_20260801", "ndjson", True),
        ("events_20260801-000000000012.parquet", "events_20260801", "parquet", False),
        ("events_20260801000000000012.parquet", "events_20260801", "parquet", False),
        ("events_20260801/000000000000.parquet", "events_20260801", "parquet", False),
        ("events_intraday_20260801/part 0.json.gz", "events_intraday_20260801", "ndjson", True),
    ],
)
def test_names_of_events_tables(path: str, table: str, form: str, is_gzipped: bool) -> None:
    name = parse_file_name(path)
    assert name is not None
    assert (name.table_name, name.form, name.is_gzipped, name.event_date) == (table, form, is_gzipped, DAY)


@pytest.mark.parametrize(
    "path",
    [
        "users_20260801.parquet",
        "pseudonymous_users_20260801.parquet",
        "README.md",
        ".events_20260801.parquet.swp",
        "events_20260801/_SUCCESS",
        "events_20260801/.000.parquet.crc",
        "events_20260801/deeper/000.parquet",
        "archive/events_20260801.parquet",
        "events_summary.parquet",
        "",
    ],
)
def test_other_files_are_ignored(path: str) -> None:
    assert parse_file_name(path) is None


@pytest.mark.parametrize(
    "path",
    [
        "events_20261341.parquet",
        "events_20260230.json",
        "events_2026080.parquet",
        "events_20260801.csv",
        "events_20260801.parquet.tmp",
        "events_intraday_202608.json",
        "events_20261341/000000000000.parquet",
        "events_2026081/000000000000.parquet",
    ],
)
def test_a_name_that_cannot_be_is_an_error_that_names_it(path: str) -> None:
    with pytest.raises(ImpossibleNameError, match="rename or remove it") as error:
        parse_file_name(path)
    assert path in str(error.value)


@pytest.mark.parametrize(
    ("day", "why"),
    [("00010101", "before 2010"), ("20091231", "before 2010"), ("20620803", "future"), ("99991231", "future")],
)
def test_a_date_without_ga4_is_an_error(day: str, why: str) -> None:
    for parse, name in ((parse_file_name, f"events_{day}.json"), (parse_table_name, f"events_intraday_{day}")):
        with pytest.raises(ImpossibleNameError, match=f"{why}.*name it after the event_date") as error:
            parse(name)
        assert name in str(error.value)


def test_tomorrow_is_a_date_already() -> None:
    today = dt.datetime.now(dt.UTC).date()
    assert parse_table_name(f"events_{today + dt.timedelta(days=1):%Y%m%d}")
    with pytest.raises(ImpossibleNameError, match="future"):
        parse_table_name(f"events_{today + dt.timedelta(days=3):%Y%m%d}")  # 3: midnight may pass meanwhile


def test_shards_are_one_delivery_and_another_form_is_another() -> None:
    def delivery(path: str) -> str:
        name = parse_file_name(path)
        assert name is not None
        return name.delivery

    assert delivery("events_20260801_000.json.gz") == delivery("events_20260801_001.json.gz")
    names = [
        "events_20260801.parquet",
        "events_20260801.json",
        "events_20260801.json.gz",
        "events_20260801_000.json",
        "events_20260801/000.json",
    ]
    assert len({delivery(name) for name in names}) == len(names)
