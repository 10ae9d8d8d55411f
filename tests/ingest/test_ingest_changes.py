"""State drives the load: late, rewritten, shrinking and vanished days, which table of a day counts, reruns."""

from __future__ import annotations

import datetime as dt
import itertools
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from export_writer import make_events, read_day, write_ndjson, write_parquet
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from foundation.settings import Settings
from ingest import content, resolve
from ingest.job import load_changed_days
from warehouse.lake import ManifestError, partition_dir, read_manifests

_opened: list[str] | None = None


def _note_open(event: str, arguments: tuple[Any, ...]) -> None:
    if _opened is not None and event == "open":
        _opened.append(str(arguments[0]))


sys.addaudithook(_note_open)


@contextmanager
def noting_opened_files() -> Iterator[list[str]]:
    """Every file that Python opens meanwhile, as the interpreter's own audit events tell it."""
    global _opened
    _opened = []
    try:
        yield _opened
    finally:
        _opened = None


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "export"
    folder.mkdir()
    return folder


@pytest.fixture
def settings(make_settings: Callable[..., Settings], source: Path) -> Settings:
    return make_settings(source=str(source))


def _lake(settings: Settings) -> dict[str, tuple[str, int]]:
    return {m.event_date: (m.table_name, m.row_count) for m in read_manifests(settings).values()}


def _deliver(source: Path, table: str, rows: int) -> None:
    write_parquet(source / f"{table}.parquet", make_events(rows, table[-8:]))


def test_a_rerun_opens_no_file_of_the_source_and_changes_nothing(settings: Settings, source: Path) -> None:
    _deliver(source, "events_20260801", 3)
    write_ndjson(source / "events_20260802.json.gz", make_events(2, "20260802"))
    with noting_opened_files() as opened:
        load_changed_days(settings)
    assert {Path(name).name for name in opened if str(source) in name} >= {
        "events_20260801.parquet",
        "events_20260802.json.gz",
    }
    before = {path: path.stat().st_mtime_ns for path in settings.lake_dir.rglob("*")}
    with noting_opened_files() as opened:
        report = load_changed_days(settings)
    assert [name for name in opened if str(source) in name] == []
    assert (report.days_seen, report.days_unchanged, report.days_loaded, report.events_loaded) == (2, 2, [], 0)
    assert {path: path.stat().st_mtime_ns for path in settings.lake_dir.rglob("*")} == before


def test_late_and_rewritten_and_shrinking_days_replace_only_themselves(settings: Settings, source: Path) -> None:
    for day in ("20260801", "20260803"):
        _deliver(source, f"events_{day}", 3)
    load_changed_days(settings)
    _deliver(source, "events_20260802", 4)  # late
    _deliver(source, "events_20260801", 1)  # rewritten, smaller
    report = load_changed_days(settings)
    assert [(day.event_date, day.rows, day.change) for day in report.days_loaded] == [
        ("2026-08-01", 1, "rewritten"),
        ("2026-08-02", 4, "new"),
    ]
    assert report.days_unchanged == 1
    assert len(read_day(settings, "2026-08-01", "event_name")) == 1
    _deliver(source, "events_20260803", 0)
    assert [day.rows for day in load_changed_days(settings).days_loaded] == [0]
    assert _lake(settings)["2026-08-03"] == ("events_20260803", 0)


def test_a_day_of_fewer_shards_loses_the_old_ones(settings: Settings, source: Path) -> None:
    for shard in range(3):
        write_ndjson(source / f"events_20260801_00{shard}.json", make_events(2))
    load_changed_days(settings)
    (source / "events_20260801_002.json").unlink()
    assert [day.rows for day in load_changed_days(settings).days_loaded] == [4]
    folder = settings.lake_dir / "event_date=2026-08-01"
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*")) == [
        "_manifest.json",
        "flat/part-00000.parquet",
        "flat/part-00001.parquet",
        "part-00000.parquet",
        "part-00001.parquet",
    ]


def test_same_bytes_with_new_time_and_name_only_refresh_the_manifest(settings: Settings, source: Path) -> None:
    _deliver(source, "events_20260801", 3)
    load_changed_days(settings)
    [old] = read_manifests(settings).values()
    (source / "events_20260801.parquet").rename(source / "events_20260801_000.parquet")
    os.utime(source / "events_20260801_000.parquet", (1, 1))
    report = load_changed_days(settings)
    assert (report.days_loaded, report.days_unchanged) == ([], 1)
    [new] = read_manifests(settings).values()
    assert (new.content_hash, new.loaded_at, new.lake_files) == (old.content_hash, old.loaded_at, old.lake_files)
    assert new.source_files[0].name == "events_20260801_000.parquet"
    with noting_opened_files() as opened:
        load_changed_days(settings)
    assert [name for name in opened if str(source) in name] == []


def test_same_size_and_time_with_other_bytes_is_seen(settings: Settings, source: Path) -> None:
    path = source / "events_20260801.json"
    write_ndjson(path, make_events(1, event_name="page_view"))
    load_changed_days(settings)
    facts = path.stat()
    write_ndjson(path, make_events(1, event_name="view_item"))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert path.stat().st_size == facts.st_size
    load_changed_days(settings)
    assert read_day(settings, "2026-08-01", "event_name") == [("view_item",)]


def test_moving_the_export_loads_nothing_again(
    settings: Settings, source: Path, make_settings: Callable[..., Settings]
) -> None:
    _deliver(source, "events_20260801", 3)
    load_changed_days(settings)
    moved = source.rename(source.with_name("moved"))
    elsewhere = make_settings(source=str(moved))
    assert load_changed_days(elsewhere).days_loaded == []
    assert read_manifests(elsewhere)[dt.date(2026, 8, 1)].source_uri == str(moved)


def test_the_hash_tells_content_and_kind_and_nothing_else(
    tmp_path: Path, make_settings: Callable[..., Settings]
) -> None:
    hashes = {}
    for label, names in {
        "a": ["events_20260801_0.json", "events_20260801_1.json"],
        "b": ["events_20260801_1.json", "events_20260801_0.json"],
        "folder": ["events_20260801/x.json", "events_20260801/y.json"],
        "intraday": ["events_intraday_20260801_0.json", "events_intraday_20260801_1.json"],
        "other": ["events_20260801_0.json"],
    }.items():
        source = tmp_path / label
        for position, name in enumerate(names):
            write_ndjson(source / name, make_events(position + 1))
        settings = make_settings(source=str(source), home=tmp_path / f"home {label}")
        load_changed_days(settings)
        [manifest] = read_manifests(settings).values()
        hashes[label] = manifest.content_hash
    assert hashes["a"] == hashes["b"] == hashes["folder"]
    assert len(set(hashes.values())) == 3


def test_a_newer_loader_loads_every_day_again(
    settings: Settings, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _deliver(source, "events_20260801", 3)
    load_changed_days(settings)
    monkeypatch.setattr(content, "LOADER_VERSION", content.LOADER_VERSION + 1)
    assert [day.change for day in load_changed_days(settings).days_loaded] == ["rewritten"]


def test_a_lake_file_that_was_deleted_is_loaded_again(settings: Settings, source: Path) -> None:
    _deliver(source, "events_20260801", 3)
    load_changed_days(settings)
    (settings.lake_dir / "event_date=2026-08-01" / "part-00000.parquet").unlink()
    load_changed_days(settings)
    assert len(read_day(settings, "2026-08-01", "event_name")) == 3


@pytest.mark.parametrize("damage", ["", '{"event_date": "2026-', "[]", '{"source_files": []}'])
def test_a_damaged_manifest_is_named_and_its_folder_can_be_deleted(
    settings: Settings, source: Path, damage: str
) -> None:
    _deliver(source, "events_20260801", 3)
    load_changed_days(settings)
    manifest = settings.lake_dir / "event_date=2026-08-01" / "_manifest.json"
    manifest.write_text(damage)
    with pytest.raises(ManifestError, match=r"delete the folder .*event_date=2026-08-01 and run again") as error:
        load_changed_days(settings)
    assert str(manifest) in str(error.value)
    shutil.rmtree(manifest.parent)
    assert load_changed_days(settings).events_loaded == 3


# Deliveries, one load after each: the source's tables with their row counts, then the lake.
RULE_13 = {
    "daily beats intraday of its date": (
        [{"events_20260801": 2, "events_intraday_20260801": 5}],
        {"2026-08-01": ("events_20260801", 2)},
    ),
    "daily beats fresh beats intraday": (
        [{"events_fresh_20260801": 3, "events_intraday_20260801": 5, "events_fresh_20260802": 4, "events_20260802": 1}],
        {"2026-08-01": ("events_fresh_20260801", 3), "2026-08-02": ("events_20260802", 1)},
    ),
    "intraday counts where there is nothing better, whatever the other days have": (
        [{"events_intraday_20260801": 5, "events_20260802": 2, "events_intraday_20260803": 7}],
        {
            "2026-08-01": ("events_intraday_20260801", 5),
            "2026-08-02": ("events_20260802", 2),
            "2026-08-03": ("events_intraday_20260803", 7),
        },
    ),
    "fresh counts before the newest daily too": (
        [{"events_fresh_20260801": 5, "events_20260802": 2}],
        {"2026-08-01": ("events_fresh_20260801", 5), "2026-08-02": ("events_20260802", 2)},
    ),
    "intraday is replaced by its daily": (
        [{"events_intraday_20260801": 5}, {"events_intraday_20260801": 6, "events_20260801": 7}],
        {"2026-08-01": ("events_20260801", 7)},
    ),
    "intraday grows": (
        [{"events_intraday_20260801": 5}, {"events_intraday_20260801": 9}],
        {"2026-08-01": ("events_intraday_20260801", 9)},
    ),
    "the daily table of a large property never comes": (
        [{"events_intraday_20260801": 5}, {"events_20260731": 3, "events_20260802": 1}],
        {
            "2026-07-31": ("events_20260731", 3),
            "2026-08-01": ("events_intraday_20260801", 5),
            "2026-08-02": ("events_20260802", 1),
        },
    ),
    "a daily of the lake is not replaced by a worse table": (
        [{"events_20260801": 2}, {"events_intraday_20260801": 9, "events_fresh_20260801": 8}],
        {"2026-08-01": ("events_20260801", 2)},
    ),
    "a day that vanished from the source stays": (
        [{"events_20260801": 2, "events_20260802": 2}, {"events_20260802": 2}],
        {"2026-08-01": ("events_20260801", 2), "2026-08-02": ("events_20260802", 2)},
    ),
}


@pytest.mark.parametrize("case", RULE_13)
def test_which_table_of_a_day_counts(settings: Settings, source: Path, case: str) -> None:
    deliveries, expected = RULE_13[case]
    for tables in deliveries:
        for path in source.iterdir():
            path.unlink()
        for table, rows in tables.items():
            _deliver(source, table, rows)
        load_changed_days(settings)
    assert _lake(settings) == expected
    report = load_changed_days(settings)
    assert report.days_loaded == []


def test_a_day_is_loaded_again_when_asked_though_nothing_has_changed(settings: Settings, source: Path) -> None:
    _deliver(source, "events_20260801", 3)
    _deliver(source, "events_20260802", 3)
    load_changed_days(settings)
    [part] = partition_dir(settings, dt.date(2026, 8, 1)).glob("*.parquet")
    part.write_bytes(b"damaged where it lies")
    report = load_changed_days(settings)
    assert report.days_loaded == []
    report = load_changed_days(settings, again={dt.date(2026, 8, 1)})
    assert [(day.event_date, day.change) for day in report.days_loaded] == [("2026-08-01", "rewritten")]
    assert _lake(settings)["2026-08-01"] == ("events_20260801", 3)
    assert part.stat().st_size > 100


def test_a_daily_table_of_the_future_is_named(settings: Settings, source: Path) -> None:
    _deliver(source, "events_20260801", 2)
    _deliver(source, "events_intraday_20260802", 5)
    _deliver(source, "events_20620803", 1)
    report = load_changed_days(settings)
    [message] = report.impossible_names
    assert "events_20620803.parquet: 2062-08-03 is in the future; name it after the event_date" in message
    assert [day.event_date for day in report.days_loaded] == ["2026-08-01", "2026-08-02"]


def test_rules_as_a_table() -> None:
    assert not resolve.is_worse("daily", "daily") and resolve.is_worse("intraday", "fresh")


_TABLES = [f"events_{kind}2026080{day}" for day in (1, 2, 3) for kind in ("", "fresh_", "intraday_")]


@pytest.fixture(scope="module")
def versions() -> Iterator[Path]:
    """Every table in three versions, of 0, 1 and 2 rows."""
    with tempfile.TemporaryDirectory() as folder:
        for table, rows in itertools.product(_TABLES, range(3)):
            write_parquet(Path(folder) / str(rows) / f"{table}.parquet", make_events(rows, table[-8:]))
        yield Path(folder)


@hypothesis_settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    deliveries=st.lists(
        st.dictionaries(st.sampled_from(_TABLES), st.integers(0, 2), min_size=1, max_size=4), min_size=1, max_size=4
    )
)
def test_any_order_of_deliveries_ends_in_the_same_lake(
    versions: Path, make_settings: Callable[..., Settings], deliveries: list[dict[str, int]]
) -> None:
    """Tables only come or are rewritten here: then the lake is that of one delivery of the final state."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "export"
        source.mkdir()
        step_by_step = make_settings(source=str(source), home=Path(folder) / "steps")
        at_once = make_settings(source=str(source), home=Path(folder) / "once")
        for delivery in deliveries:
            for table, rows in delivery.items():
                shutil.copy(versions / str(rows) / f"{table}.parquet", source)
            load_changed_days(step_by_step)
        load_changed_days(at_once)

        def contents(settings: Settings) -> dict[str, tuple[str, str, int]]:
            manifests = read_manifests(settings).values()
            return {m.event_date: (m.table_name, m.content_hash, m.row_count) for m in manifests}

        assert contents(step_by_step) == contents(at_once)
