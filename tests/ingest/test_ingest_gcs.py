"""An export in Google Cloud Storage: a server on the loopback interface that speaks the JSON API that gcsfs uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from export_writer import make_events, read_day, write_ndjson, write_parquet
from google_server import Fault, GoogleServer, serve_google

from foundation.settings import Settings
from ingest.job import load_changed_days, plan_load
from ingest.opening import open_source
from ingest.source import SourceError

BUCKET = "shop-export"


@pytest.fixture
def google(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GoogleServer]:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with serve_google() as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        server.objects[f"{BUCKET}/other/file.txt"] = b""
        yield server


@pytest.fixture
def settings(make_settings: Callable[..., Settings], google: GoogleServer) -> Settings:
    return make_settings(source=f"gs://{BUCKET}/ga 4")


def _upload(google: GoogleServer, folder: Path) -> None:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        google.objects[f"{BUCKET}/ga 4/{path.relative_to(folder)}"] = path.read_bytes()


def test_an_export_in_a_bucket_loads_like_a_folder(settings: Settings, google: GoogleServer, tmp_path: Path) -> None:
    files = tmp_path / "files"
    write_parquet(files / "events_20260801.parquet", make_events(3))
    write_ndjson(files / "events_20260802_000000000000.json.gz", make_events(2, "20260802"))
    write_ndjson(files / "events_20260802_000000000001.json.gz", make_events(2, "20260802"))
    write_parquet(files / "events_intraday_20260803" / "000000000000.parquet", make_events(4, "20260803"))
    (files / "notes.txt").write_text("not an export")
    _upload(google, files)
    google.objects[f"{BUCKET}/ga 4/"] = b""  # what consoles leave for a folder
    report = load_changed_days(settings, progress=False)
    assert [(day.event_date, day.kind, day.rows) for day in report.days_loaded] == [
        ("2026-08-01", "daily", 3),
        ("2026-08-02", "daily", 4),
        ("2026-08-03", "intraday", 4),
    ]
    lake_file = settings.lake_dir / "event_date=2026-08-01" / "part-00000.parquet"
    assert lake_file.read_bytes() == (files / "events_20260801.parquet").read_bytes()
    assert len(read_day(settings, "2026-08-02", "event_name")) == 4

    # Unchanged is told from the listing alone.
    downloads = google.count("alt=media")
    assert {table.what for table in plan_load(settings)} == {"unchanged"}
    assert load_changed_days(settings, progress=False).days_loaded == []
    assert google.count("alt=media") == downloads

    google.objects[f"{BUCKET}/ga 4/events_20260804.json"] = b"broken"
    write_ndjson(files / "events_20260802_000000000001.json.gz", make_events(5, "20260802"))
    _upload(google, files)
    report = load_changed_days(settings, progress=False)
    assert [(day.event_date, day.rows) for day in report.days_loaded] == [("2026-08-02", 7)]
    assert [problem["file"] for problem in report.quarantined] == ["events_20260804.json"]


def test_a_large_object_is_read_in_ranges(settings: Settings, google: GoogleServer, tmp_path: Path) -> None:
    content = tmp_path / "events_20260801.json"
    write_ndjson(content, make_events(3))
    padding = b" " * 10_000_000 + b"\n"
    google.objects[f"{BUCKET}/ga 4/events_20260801.json"] = padding + content.read_bytes()
    assert load_changed_days(settings, progress=False).events_loaded == 3
    assert google.count("alt=media") >= 2


def test_a_passing_server_error_is_tried_again(settings: Settings, google: GoogleServer, tmp_path: Path) -> None:
    write_ndjson(tmp_path / "files" / "events_20260801.json", make_events(3))
    _upload(google, tmp_path / "files")
    google.faults = [Fault("alt=media", 503, "backendError")]
    assert load_changed_days(settings, progress=False).events_loaded == 3
    assert google.faults[0].times == 0


def test_an_absent_bucket_or_prefix_is_an_error(make_settings: Callable[..., Settings], google: GoogleServer) -> None:
    for uri in ("gs://no-such-bucket/x", f"gs://{BUCKET}/no-such-prefix"):
        with pytest.raises(SourceError, match=rf"{uri} does not exist"):
            load_changed_days(make_settings(source=uri))


def test_a_refused_request_is_an_error_without_tracebacks(
    settings: Settings, google: GoogleServer, caplog: pytest.LogCaptureFixture
) -> None:
    google.faults = [Fault("/o", 400, "badRequest", 9, "no such thing")]
    with pytest.raises(SourceError, match=r"cannot list gs://.*no such thing.*check the URI, the network"):
        load_changed_days(settings)
    assert [record.name for record in caplog.records if record.exc_info] == []


@pytest.mark.parametrize("uri", ["gs://", "gs:///", "s3://"])
def test_a_uri_without_a_bucket_is_refused(make_settings: Callable[..., Settings], uri: str) -> None:
    with pytest.raises(SourceError, match=rf"names no bucket.*{uri[:2]}://bucket/prefix"):
        open_source(make_settings(source=uri))


def test_missing_permission_says_what_to_do(settings: Settings, google: GoogleServer) -> None:
    google.faults = [Fault("/o", 403, "forbidden", 9, "loader does not have storage.objects.list access")]
    with pytest.raises(SourceError, match=r"storage\.objects\.list.*Storage Object Viewer"):
        load_changed_days(settings)
