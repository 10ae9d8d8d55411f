"""Broken files: kept with their reason, reported at every run, fetched again only when they change."""

from __future__ import annotations

import gzip
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from export_writer import make_event, make_events, query_to_parquet, read_day, write_ndjson, write_parquet
from test_ingest_changes import noting_opened_files

from foundation.settings import Settings
from ingest import quarantine
from ingest.job import load_changed_days
from ingest.source import SourceError
from ingest.summary import summarise_unloaded_files
from warehouse.lake import read_manifests


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "export"
    write_parquet(folder / "events_20260731.parquet", make_events(2, "20260731"))
    return folder


@pytest.fixture
def settings(make_settings: Callable[..., Settings], source: Path) -> Settings:
    return make_settings(source=str(source))


def _truncated_parquet(folder: Path) -> Path:
    path = folder / "events_20260801.parquet"
    write_parquet(path, make_events(50))
    path.write_bytes(path.read_bytes()[:-100])
    return path


def _damaged_parquet(folder: Path) -> Path:
    """Its footer is fine: only reading the pages shows the damage."""
    path = folder / "events_20260801.parquet"
    write_parquet(path, make_events(50))
    content = bytearray(path.read_bytes())
    content[100:400] = bytes(300)
    path.write_bytes(bytes(content))
    return path


def _parquet_with_a_damaged_name(folder: Path) -> Path:
    path = folder / "events_20260801.parquet"
    write_parquet(path, make_events(50))
    path.write_bytes(path.read_bytes().replace(b"mobile_brand_name", b"\xf0\xf0bile_brand_name"))
    return path


def _parquet_with_a_damaged_name_of_a_column(folder: Path) -> Path:
    path = folder / "events_20260801.parquet"
    write_parquet(path, make_events(50))
    path.write_bytes(path.read_bytes().replace(b"event_previous_times", b"event_previous_time\xe2"))
    return path


def _empty(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(b"")
        return path

    return write


def _cut_gzip(folder: Path) -> Path:
    path = folder / "events_20260801.json.gz"
    write_ndjson(path, make_events(50))
    path.write_bytes(path.read_bytes()[:-30])
    return path


def _no_gzip(folder: Path) -> Path:
    path = folder / "events_20260801.json.gz"
    path.write_bytes(json.dumps(make_event()).encode())
    return path


def _text(*lines: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / "events_20260801.json"
        path.write_text("\n".join([json.dumps(make_event()), *lines]))
        return path

    return write


def _without(*columns: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / "events_20260801.json"
        write_ndjson(path, [{key: value for key, value in make_event().items() if key not in columns}])
        return path

    return write


def _parquet_without_pseudo_id(folder: Path) -> Path:
    path = folder / "events_20260801.parquet"
    query_to_parquet(
        "select '20260801' as event_date, 1 as event_timestamp, 'x' as event_name, [1] as event_params", path
    )
    return path


def _all_timestamps_wrong(folder: Path) -> Path:
    path = folder / "events_20260801.json"
    write_ndjson(path, make_events(3, event_timestamp="2026-08-01"))
    return path


def _no_params_that_are_a_list(folder: Path) -> Path:
    path = folder / "events_20260801.json"
    write_ndjson(path, [make_event(0, event_params="x"), make_event(1, event_params={})])
    return path


BROKEN = {
    "truncated Parquet": (_truncated_parquet, "Parquet", None, None),
    "damaged Parquet": (_damaged_parquet, "Parquet", None, None),
    "damaged name in Parquet": (_parquet_with_a_damaged_name, "field is not UTF-8 text", None, None),
    "damaged name of a column": (_parquet_with_a_damaged_name_of_a_column, "field is not UTF-8 text", None, None),
    "empty Parquet": (_empty("events_20260801.parquet"), "0 bytes", None, None),
    "empty JSON": (_empty("events_20260801.json"), "0 bytes", None, None),
    "empty gzip": (_empty("events_20260801.json.gz"), "0 bytes", None, None),
    "gzip cut off": (_cut_gzip, "gzip", None, None),
    "no gzip": (_no_gzip, "gzip", None, None),
    "no JSON": (_text("hello"), "row 2 is not a JSON object", 2, None),
    "cut in a row": (_text(json.dumps(make_event(1)), '{"event_date": "2026'), "row 3", 3, None),
    "no object": (_text("[1, 2]"), "row 2 is not a JSON object: it is a list", 2, None),
    "column missing": (_without("event_name"), "required column event_name missing", None, "event_name"),
    "columns missing": (_without("event_params", "event_date"), "event_date, event_params", None, "event_date"),
    "pseudo id missing": (_parquet_without_pseudo_id, "user_pseudo_id", None, "user_pseudo_id"),
    "column of another type": (_all_timestamps_wrong, "none of its 3 values is a BIGINT", 1, "event_timestamp"),
    "column of another shape": (_no_params_that_are_a_list, "none of its 2 values is a list", 1, "event_params"),
    "keys that differ in case": (_text(json.dumps(make_event(Event_Name="x"))), "differ only in case", None, None),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_kept_with_its_reason_and_the_other_days_load(
    settings: Settings, source: Path, case: str
) -> None:
    write, reason, row, column = BROKEN[case]
    path = write(source)
    report = load_changed_days(settings)
    assert [day.event_date for day in report.days_loaded] == ["2026-07-31"]
    [problem] = report.quarantined
    assert (problem["file"], problem["table_name"], problem["is_new"]) == (path.name, "events_20260801", True)
    assert reason in problem["reason"] and problem["what_to_do"]
    assert str(settings.home) not in problem["reason"]
    assert problem["row"] == row
    if column:
        assert problem["column"] == column
    folder = Path(problem["folder"])
    assert folder.parent == settings.quarantine_dir / "events_20260801"
    entry = json.loads((folder / "reason.json").read_text())
    assert entry["problems"][0]["reason"] == problem["reason"]
    assert (folder / entry["kept_files"][0]).read_bytes() == path.read_bytes()
    assert not list((settings.home / "lake" / "staging").iterdir())

    with noting_opened_files() as opened:
        again = load_changed_days(settings)
    assert [name for name in opened if str(source) in name] == []
    assert [(p["reason"], p["is_new"]) for p in again.quarantined] == [(problem["reason"], False)]
    assert "QUARANTINED" in again.to_text()


def test_a_broken_rewrite_leaves_the_old_day_and_a_good_one_resolves_it(settings: Settings, source: Path) -> None:
    path = source / "events_20260801.json"
    write_ndjson(path, make_events(3))
    load_changed_days(settings)
    path.write_text("broken")
    assert load_changed_days(settings).quarantined
    assert len(read_day(settings, "2026-08-01", "event_name")) == 3
    path.write_text("broken otherwise")
    [problem] = load_changed_days(settings).quarantined
    assert problem["is_new"]
    write_ndjson(path, make_events(5))
    report = load_changed_days(settings)
    assert (report.quarantined, [day.change for day in report.days_loaded]) == ([], ["rewritten"])
    entries = [json.loads(p.read_text()) for p in settings.quarantine_dir.glob("events_20260801/*/reason.json")]
    assert len(entries) == 2 and all(entry["resolved_at"] for entry in entries)
    assert {entry["resolution"] for entry in entries} == {
        "a readable version was loaded",
        "another broken version took its place",
    }


@pytest.mark.parametrize("damage", [None, "", '{"table_name"', '{"problems": []}', "[]"])
def test_a_reason_that_is_lost_or_damaged_is_written_anew(
    settings: Settings, source: Path, damage: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    path = source / "events_20260801.json"
    path.write_text("broken")
    [first] = load_changed_days(settings).quarantined
    reason = Path(first["folder"]) / "reason.json"
    whole = json.loads(reason.read_text())
    if damage is None:
        reason.unlink()
    else:
        reason.write_text(damage)
    [again] = load_changed_days(settings).quarantined
    assert again == first
    assert (f"{reason} cannot be read" in caplog.text) == (damage is not None)
    anew = json.loads(reason.read_text())
    assert {**anew, "quarantined_at": ""} == {**whole, "quarantined_at": ""}
    assert (reason.parent / anew["kept_files"][0]).read_text() == "broken"
    assert sorted(file.name for file in reason.parent.iterdir()) == [*anew["kept_files"], "reason.json"]


def test_copies_are_dropped_though_their_reason_is_damaged(settings: Settings, source: Path) -> None:
    for day in ("20260801", "20260802"):
        (source / f"events_{day}.json").write_text("broken")
    folders = [Path(problem["folder"]) for problem in load_changed_days(settings).quarantined]
    (folders[0] / "reason.json").write_text("")
    quarantine.drop_kept_files(settings)
    assert [[path.name for path in folder.iterdir()] for folder in folders] == [["reason.json"]] * 2
    assert quarantine.read_entry(folders[1]).kept_files == []


def test_quarantined_files_are_rows_of_the_state_and_told_until_they_load(settings: Settings, source: Path) -> None:
    path = source / "events_20260801.json"

    def rows() -> list[Any]:
        with sqlite3.connect(settings.state_path) as state:
            columns = "table_name, file_name, row_number, column_name, resolved_at is null"
            return state.execute(f"select {columns} from quarantined_files").fetchall()

    write_ndjson(path, make_events(1))
    assert summarise_unloaded_files(settings) == []
    load_changed_days(settings)
    assert rows() == []
    path.write_text("broken")
    [problem] = load_changed_days(settings).quarantined
    assert rows() == [("events_20260801", "events_20260801.json", 1, None, 1)]
    assert summarise_unloaded_files(settings) == [
        f"    file not loaded: events_20260801.json: {problem['reason']}; {problem['what_to_do']}"
    ]
    path.unlink()
    load_changed_days(settings)
    assert rows() == [("events_20260801", "events_20260801.json", 1, None, 0)]
    assert summarise_unloaded_files(settings) == []


def test_one_broken_shard_holds_the_whole_day_back_and_each_is_named(settings: Settings, source: Path) -> None:
    write_ndjson(source / "events_20260801_000.json", make_events(3))
    for shard in ("001", "002"):
        (source / f"events_20260801_{shard}.json").write_text("broken " + shard)
    report = load_changed_days(settings)
    assert [p["file"] for p in report.quarantined] == ["events_20260801_001.json", "events_20260801_002.json"]
    assert "2026-08-01" not in {manifest.event_date for manifest in read_manifests(settings).values()}
    folder = Path(report.quarantined[0]["folder"])
    assert sorted(p.name for p in folder.iterdir()) == [
        "000-events_20260801_001.json",
        "001-events_20260801_002.json",
        "reason.json",
    ]


def test_a_table_delivered_twice_is_not_guessed_at(settings: Settings, source: Path) -> None:
    write_ndjson(source / "events_20260801.json", make_events(3))
    write_ndjson(source / "events_20260801.json.gz", make_events(4))
    [problem] = load_changed_days(settings).quarantined
    assert "more than once: one file, json; one file, json.gz" in problem["reason"]
    (source / "events_20260801.json").unlink()
    report = load_changed_days(settings)
    assert (report.events_loaded, report.quarantined) == (4, [])


def test_a_broken_daily_leaves_the_intraday_table_in_place(settings: Settings, source: Path) -> None:
    write_ndjson(source / "events_intraday_20260801.json", make_events(3))
    (source / "events_20260801.json").write_text("broken")
    report = load_changed_days(settings)
    assert [(day.event_date, day.kind) for day in report.days_loaded] == [
        ("2026-07-31", "daily"),
        ("2026-08-01", "intraday"),
    ]
    assert len(report.quarantined) == 1
    write_ndjson(source / "events_20260801.json", make_events(5))
    assert [day.kind for day in load_changed_days(settings).days_loaded] == ["daily"]


def test_impossible_names_are_reported_and_unrelated_ones_counted(settings: Settings, source: Path) -> None:
    (source / "events_20261341.parquet").write_bytes(b"x")
    (source / "README.md").write_text("hello")
    (source / "users_20260801.json").write_text("{}")
    report = load_changed_days(settings)
    assert (report.ignored_files, len(report.impossible_names)) == (2, 1)
    assert "events_20261341.parquet" in report.impossible_names[0]
    assert "events_20261341.parquet" in report.to_text()
    assert json.loads(json.dumps(report.to_dict()))["days_seen"] == 1


@pytest.mark.parametrize("content", [{}, {"README.md": ""}, {"events_20261341.json": ""}])
def test_a_source_without_tables_is_an_error_that_says_what_to_do(
    make_settings: Callable[..., Settings], tmp_path: Path, content: dict[str, str]
) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    for name, text in content.items():
        (folder / name).write_text(text)
    with pytest.raises(SourceError, match=r"no GA4 events table.*Point FUNNELHOUSE_SOURCE at"):
        load_changed_days(make_settings(source=str(folder)))


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("/nowhere/at/all", "does not exist"),
        ("nonsense://bucket", "a local folder, s3://bucket/prefix, gs://bucket/prefix"),
    ],
)
def test_a_source_that_cannot_be_is_an_error(make_settings: Callable[..., Settings], uri: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        load_changed_days(make_settings(source=uri))


def test_gzip_in_several_members_is_whole(settings: Settings, source: Path) -> None:
    parts = [gzip.compress((json.dumps(event) + "\n").encode()) for event in make_events(3)]
    (source / "events_20260801.json.gz").write_bytes(b"".join(parts))
    load_changed_days(settings)
    assert len(read_day(settings, "2026-08-01", "event_name")) == 3
