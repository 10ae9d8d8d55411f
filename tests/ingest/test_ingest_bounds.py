"""One odd file costs its own day and no other: a bomb, a full disk, a pipe, an odd name of a file or a column."""

from __future__ import annotations

import gzip
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from export_writer import make_events, query_to_parquet, write_ndjson, write_parquet
from test_ingest_changes import noting_opened_files

from foundation.settings import Settings
from ingest.job import load_changed_days
from ingest.report import LoadReport
from ingest.space import DiskFullError
from warehouse.ga4_schema import EVENT_COLUMNS

BOUND = 0.002  # GB


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """An export with a good day before and after the odd one, which is the second of August."""
    folder = tmp_path / "export"
    for date in ("20260801", "20260803"):
        write_ndjson(folder / f"events_{date}.json.gz", make_events(3, date))
    return folder


@pytest.fixture
def settings(tmp_path: Path, export: Path) -> Settings:
    return Settings(home=tmp_path / "home", source=str(export), max_file_gb=BOUND)


def load(settings: Settings) -> tuple[list[str], list[str]]:
    """The days that were loaded, and of each file that was not the reason."""
    report = load_changed_days(settings, progress=False)
    return [day.event_date for day in report.days_loaded], _reasons(report)


def _reasons(report: LoadReport) -> list[str]:
    return [f"{problem['file']}: {problem['reason']}" for problem in report.quarantined]


GOOD = ["2026-08-01", "2026-08-03"]


def test_a_gzip_bomb_is_stopped_at_the_bound_and_the_other_days_load(settings: Settings, export: Path) -> None:
    (export / "events_20260802.json.gz").write_bytes(gzip.compress(b" " * 60_000_000))
    days, [reason] = load(settings)
    assert days == GOOD
    assert reason == "events_20260802.json.gz: it unpacks to more than 0.002 GB (FUNNELHOUSE_MAX_FILE_GB)"
    assert list((settings.home / "lake" / "staging").rglob("*.plain")) == []
    # known, so that it is not unpacked again and again, but with another bound it is
    with noting_opened_files() as opened:
        assert load(settings) == ([], [reason])
    assert not [path for path in opened if path.endswith("0802.json.gz")]
    assert load(settings.model_copy(update={"max_file_gb": 1.0})) == (["2026-08-02"], [])


def test_a_parquet_file_that_becomes_too_large_is_not_read(settings: Settings, export: Path) -> None:
    columns = ", ".join(
        f"{'1' if name == 'event_timestamp' else 'null'}::{kind} as {name}" for name, kind in EVENT_COLUMNS.items()
    )
    path = export / "events_20260802.parquet"
    query_to_parquet(f"select {columns} from range(200_000)", path)
    assert path.stat().st_size < 200_000
    days, [reason] = load(settings)
    assert days == GOOD and reason.startswith("events_20260802.parquet: it becomes more than 0.002 GB")


def test_files_that_there_is_no_room_for_wait(settings: Settings, export: Path) -> None:
    write_ndjson(export / "events_20260802.json", make_events(3, "20260802"))
    crowded = settings.model_copy(update={"min_free_gb": 10.0**9})
    days, reasons = load(crowded)
    assert days == [] and len(reasons) == 3
    assert all("there is no room for it" in reason and "FUNNELHOUSE_MIN_FREE_GB" in reason for reason in reasons)
    assert list(settings.quarantine_dir.glob("*/*/0*")) == []  # no copies
    assert load(settings) == (["2026-08-01", "2026-08-02", "2026-08-03"], [])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can't be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_is_full_costs_the_file_that_fills_it(settings: Settings, export: Path, small_disk: Path) -> None:
    rows = make_events(40_000, "20260802")
    write_ndjson(export / "events_20260802.json.gz", rows)
    small = settings.model_copy(update={"home": small_disk / "home", "max_file_gb": 1.0, "min_free_gb": 0.0})
    days, [reason] = load(small)
    assert days == GOOD
    assert reason.startswith("events_20260802.json.gz: there is no")  # room to unpack, or to load it
    (small_disk / "rest").write_bytes(b"x" * (os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize))
    write_ndjson(export / "events_20260804.json", make_events(3, "20260804"))
    with pytest.raises(DiskFullError, match="free some room and start again"):
        load(small)
    (small_disk / "rest").unlink()
    (export / "events_20260802.json.gz").unlink()
    assert load(small) == (["2026-08-04"], [])


def test_a_pipe_named_like_a_day_is_named_and_not_read(settings: Settings, export: Path) -> None:
    os.mkfifo(export / "events_20260802.json")
    os.mkfifo(export / "else")
    (export / "events_20260804.json").symlink_to("/dev/zero")
    report = load_changed_days(settings, progress=False)
    assert [day.event_date for day in report.days_loaded] == GOOD
    assert report.impossible_names == [
        "events_20260802.json is a pipe or a device, not a file; remove it",
        "events_20260804.json is a pipe or a device, not a file; remove it",
    ]


def test_names_that_cannot_be_printed_are_told_in_quotes(settings: Settings, export: Path) -> None:
    write_ndjson(export / "events_20260802" / "00\n0.json", make_events(3, "20260802"))
    write_ndjson(export / "events_20260804\n.json", make_events(3, "20260804"))
    report = load_changed_days(settings, progress=False)
    assert [day.event_date for day in report.days_loaded] == GOOD
    folder, file = report.impossible_names
    assert folder == r"'events_20260802/00\n0.json' has a name with unprintable characters; rename or remove it"
    assert file.startswith(r"'events_20260804\n.json' looks like an events table but is not one")


@pytest.mark.parametrize("form", ["parquet", "json"])
def test_columns_named_as_readers_of_the_lake_name_theirs_are_kept_under_other_names(
    settings: Settings, export: Path, form: str
) -> None:
    names = ("filename", "FILE_ROW_NUMBER", "__row")
    path = export / f"events_20260802.{form}"
    if form == "parquet":
        write_parquet(path, make_events(3, "20260802"), extra=", ".join(f"'x' as \"{name}\"" for name in names))
    else:
        odd = {"ecommerce": {"total_item_quantity": "many"}}  # lost to the cast, so that its first row is looked for
        write_ndjson(path, make_events(3, "20260802", **dict.fromkeys(names, "x"), **odd))
    assert load(settings) == (["2026-08-01", "2026-08-02", "2026-08-03"], [])
    relation = f"read_parquet('{settings.lake_dir}/*2026-08-02/*.parquet', filename = true, file_row_number = true)"
    with duckdb.connect() as connection:
        rows = connection.sql(
            f"select exported_filename, exported_file_row_number, exported___row, file_row_number from {relation}"
        ).fetchall()
    assert rows == [("x", "x", "x", number) for number in range(3)]
