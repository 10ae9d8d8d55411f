"""The command line, the lock, and what must never be shown."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from export_writer import make_events, write_ndjson

from foundation.settings import PROJECT_DIR, Settings
from ingest.files import FileSource, redact_uri
from ingest.job import load_changed_days, plan_load
from ingest.place import LakeLockedError
from ingest.source import SourceError


def _run(source: str, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "FUNNELHOUSE_SOURCE": source, "FUNNELHOUSE_HOME": str(home)}
    command = [sys.executable, "-m", "ingest", *arguments]
    done = subprocess.run(command, env=environment, cwd=PROJECT_DIR, capture_output=True, check=False)
    assert b"\r" not in done.stdout + done.stderr  # a pipe gets no bar
    return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())


def test_the_command_loads_and_says_what_it_did(tmp_path: Path) -> None:
    source, home = tmp_path / "export", tmp_path / "home"
    write_ndjson(source / "events_20260801.json", make_events(3))
    done = _run(str(source), home, "--dry-run")
    assert (done.returncode, home.exists()) == (0, False)
    assert "2026-08-01 events_20260801: to load" in done.stdout
    done = _run(str(source), home)
    assert done.returncode == 0, done.stderr
    assert "1 day seen, 1 loaded (3 events), 0 unchanged" in done.stdout
    done = _run(str(tmp_path / "nowhere"), home)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and "does not exist" in done.stderr and "Traceback" not in done.stderr


def test_a_plan_judges_by_names_sizes_and_times(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    source = tmp_path / "export"
    settings = make_settings(source=str(source))
    write_ndjson(source / "events_20260801.json", make_events(3))
    write_ndjson(source / "events_intraday_20260730.json", make_events(3))
    write_ndjson(source / "events_20260802.json", make_events(3))
    (source / "events_20260803.json").write_text("broken")
    (source / "events_20260801.json").rename(source / "later")
    (source / "events_20260802.json").rename(source / "later2")
    (source / "events_20260803.json").rename(source / "later3")
    load_changed_days(settings)
    (source / "later").rename(source / "events_20260801.json")
    (source / "later2").rename(source / "events_20260802.json")
    (source / "later3").rename(source / "events_20260803.json")
    assert [(table, what) for _, table, what, _ in plan_load(settings)] == [
        ("events_intraday_20260730", "unchanged"),
        ("events_20260801", "to load"),
        ("events_20260802", "to load"),
        ("events_20260803", "to load"),
    ]
    load_changed_days(settings)
    write_ndjson(source / "events_20260802.json", make_events(4))
    assert [(table, what) for _, table, what, _ in plan_load(settings)] == [
        ("events_intraday_20260730", "unchanged"),
        ("events_20260801", "unchanged"),
        ("events_20260802", "to compare"),
        ("events_20260803", "known broken"),
    ]


def _plan(settings: Settings) -> dict[str, str]:
    return {table.table_name: table.what for table in plan_load(settings)}


def test_a_plan_looks_past_what_is_known_to_be_broken(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    source = tmp_path / "export"
    settings = make_settings(source=str(source))
    for name in ("fresh_20260801", "intraday_20260801", "intraday_20260802", "intraday_20260803"):
        write_ndjson(source / f"events_{name}.json", make_events(3, name[-8:]))
    for day in ("20260801", "20260803"):
        (source / f"events_{day}.json").write_text("broken")
    load_changed_days(settings)
    write_ndjson(source / "events_fresh_20260801.json", make_events(4))
    write_ndjson(source / "events_intraday_20260803.json", make_events(4, "20260803"))
    assert _plan(settings) == {
        "events_20260801": "known broken",
        "events_fresh_20260801": "to compare",
        "events_intraday_20260801": "superseded",
        "events_intraday_20260802": "unchanged",  # a broken daily table of a later day takes nothing away
        "events_20260803": "known broken",
        "events_intraday_20260803": "to compare",
    }
    report = load_changed_days(settings)
    assert [(day.event_date, day.kind) for day in report.days_loaded] == [
        ("2026-08-01", "fresh"),
        ("2026-08-03", "intraday"),
    ]
    assert report.days_unchanged == 1


def test_a_plan_knows_that_a_table_delivered_twice_is_not_loaded(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = make_settings(source=str(tmp_path / "export"))
    for name in ("20260801.json", "20260801.json.gz", "intraday_20260801.json"):
        write_ndjson(tmp_path / "export" / f"events_{name}", make_events(3))
    assert _plan(settings) == {"events_20260801": "known broken", "events_intraday_20260801": "to load"}
    report = load_changed_days(settings)
    assert [(day.event_date, day.kind) for day in report.days_loaded] == [("2026-08-01", "intraday")]
    assert [problem["is_new"] for problem in report.quarantined] == [True]


def test_two_loads_at_once_are_refused(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    write_ndjson(tmp_path / "export" / "events_20260801.json", make_events(3))
    settings = make_settings(source=str(tmp_path / "export"))
    lock_path = settings.home / "lake" / ".lock"
    lock_path.parent.mkdir(parents=True)
    with lock_path.open("w") as lock:
        lock.write("process 4711")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(LakeLockedError, match=r"process 4711.*wait for it to end"):
            load_changed_days(settings)
    assert load_changed_days(settings).events_loaded == 3


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("s3://bucket/prefix", "s3://bucket/prefix"),
        ("sftp://user:pa@ss@host/path", "sftp://host/path"),
        ("https://host/export?X-Amz-Signature=abc#x", "https://host/export"),
        ("/plain/folder@home", "/plain/folder@home"),
    ],
)
def test_uris_are_shown_without_credentials(uri: str, shown: str) -> None:
    assert redact_uri(uri) == shown


def test_no_message_shows_a_password(make_settings: Callable[..., Settings]) -> None:
    with pytest.raises(SourceError) as error:
        FileSource("nonsense://user:hunter22@host/path?token=abcdef").list_tables()
    assert "hunter22" not in str(error.value) and "abcdef" not in str(error.value)
    with pytest.raises(SourceError) as error:
        load_changed_days(make_settings(source="ftp://user:hunter22@127.0.0.1:9/path"))
    assert "hunter22" not in str(error.value) and error.value.__cause__ is None
