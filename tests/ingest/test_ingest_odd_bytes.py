"""Bytes that are no text cost a character, never a day (rule 26)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from export_writer import make_events

from foundation.settings import Settings
from ingest.job import load_changed_days
from ingest.odd_bytes import mend_lines

ROWS = [json.dumps(event).encode() for event in make_events(3)]


def write(folder: Path, *, in_url: bytes = b"1", before: bytes = b"", before_row: bytes = b"") -> None:
    """Three events, the second with these bytes in its page's address, or before its row."""
    folder.mkdir(exist_ok=True)
    second = before_row + ROWS[1].replace(b"shop.example/1", b"shop.example/" + in_url)
    (folder / "events_20260801.json").write_bytes(before + b"\n".join([ROWS[0], second, ROWS[2]]) + b"\n")


@pytest.mark.parametrize(
    ("bytes_in_url", "read"),
    [
        (rb"\ud83d", "\ufffd"),
        (rb"\ude00x", "\ufffdx"),
        (rb"\ud83d\u0041", "\ufffdA"),
        (rb"\uD83D\uD83D\uDE00", "\ufffd\U0001f600"),
        (rb"\ud83d\ude00", "\U0001f600"),
        (rb"\\ud83d", r"\ud83d"),
        (b"\xc0\xaf", "\ufffd\ufffd"),
        (b"\xf0\x9f", "\ufffd"),
        (b"caf\xe9", "caf\ufffd"),
        (b"a\x00b", "a b"),
        (b"a\tb\x1f", "a b "),
        (b"%F0%9F", "%F0%9F"),
    ],
)
def test_rule_26_the_day_loads_and_the_text_says_that_something_is_missing(
    make_settings: Callable[..., Settings], tmp_path: Path, bytes_in_url: bytes, read: str
) -> None:
    write(tmp_path / "export", in_url=bytes_in_url)
    settings = make_settings(source=str(tmp_path / "export"))
    report = load_changed_days(settings, progress=False)
    assert (report.events_loaded, report.quarantined) == (3, [])
    with duckdb.connect() as connection:
        rows = connection.sql(
            "select list_filter(event_params, lambda p: p.key = 'page_location')[1].value.string_value "
            f"from read_parquet('{settings.lake_dir}/*/*.parquet') order by event_timestamp"
        ).fetchall()
    assert [row[0] for row in rows] == [f"https://shop.example/{part}" for part in ("0", read, "2")]
    assert load_changed_days(settings, progress=False).days_loaded == []


@pytest.mark.parametrize("where", ["before", "before_row"])
def test_rule_26_a_byte_order_mark_is_no_text(
    make_settings: Callable[..., Settings], tmp_path: Path, where: str
) -> None:
    write(tmp_path / "export", **{where: b"\xef\xbb\xbf"})
    report = load_changed_days(make_settings(source=str(tmp_path / "export")), progress=False)
    assert (report.events_loaded, report.quarantined) == (3, [])


def test_what_is_malformed_besides_is_still_told_with_its_row(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    write(tmp_path / "export", in_url=rb"\ud83d", before_row=b"{")
    report = load_changed_days(make_settings(source=str(tmp_path / "export")), progress=False)
    [problem] = report.quarantined
    assert report.events_loaded == 0 and problem["reason"].startswith("row 2 is not a JSON object")


def test_a_sound_file_is_written_as_it_is(tmp_path: Path) -> None:
    sound = b"\n".join(ROWS) + b"\n"
    (tmp_path / "a").write_bytes(sound)
    assert mend_lines(tmp_path / "a", tmp_path / "b") == 0
    assert (tmp_path / "b").read_bytes() == sound
