"""An export in an object store: a real S3 server on the loopback interface, reached as the AWS environment says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from export_writer import make_events, read_day, write_ndjson, write_parquet
from moto.server import ThreadedMotoServer

from foundation.settings import Settings
from ingest.job import load_changed_days, plan_load
from ingest.source import SourceError

BUCKET = "shop-export"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test-secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    yield client
    server.stop()


def test_an_export_in_s3_loads_like_a_folder(s3: Any, make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    files = tmp_path / "files"
    write_parquet(files / "events_20260801.parquet", make_events(3))
    write_ndjson(files / "events_20260802_000000000000.json.gz", make_events(2, "20260802"))
    write_ndjson(files / "events_20260802_000000000001.json.gz", make_events(2, "20260802"))
    write_parquet(files / "events_intraday_20260803" / "000000000000.parquet", make_events(4, "20260803"))
    (files / "notes.txt").write_text("not an export")
    for path in sorted(p for p in files.rglob("*") if p.is_file()):
        s3.upload_file(str(path), BUCKET, f"ga 4/{path.relative_to(files)}")
    s3.put_object(Bucket=BUCKET, Key="ga 4/", Body=b"")  # what consoles leave for a folder
    settings = make_settings(source=f"s3://{BUCKET}/ga 4")

    report = load_changed_days(settings)
    assert [(day.event_date, day.kind, day.rows) for day in report.days_loaded] == [
        ("2026-08-01", "daily", 3),
        ("2026-08-02", "daily", 4),
        ("2026-08-03", "intraday", 4),
    ]
    assert report.ignored_files <= 2
    lake_file = settings.lake_dir / "event_date=2026-08-01" / "part-00000.parquet"
    assert lake_file.read_bytes() == (files / "events_20260801.parquet").read_bytes()
    assert len(read_day(settings, "2026-08-02", "event_name")) == 4

    # Unchanged is told from the listing alone: nothing is to compare, and no manifest is touched.
    assert {what for _, _, what, _ in plan_load(settings)} == {"unchanged"}
    manifests = {path: path.stat().st_mtime_ns for path in settings.lake_dir.glob("*/_manifest.json")}
    report = load_changed_days(settings)
    assert (report.days_loaded, report.days_unchanged) == ([], 3)
    assert {path: path.stat().st_mtime_ns for path in manifests} == manifests

    write_ndjson(files / "new.json.gz", make_events(5, "20260802"))
    s3.upload_file(str(files / "new.json.gz"), BUCKET, "ga 4/events_20260802_000000000001.json.gz")
    s3.put_object(Bucket=BUCKET, Key="ga 4/events_20260804.json", Body=b"broken")
    report = load_changed_days(settings)
    assert [(day.event_date, day.rows) for day in report.days_loaded] == [("2026-08-02", 7)]
    assert [problem["file"] for problem in report.quarantined] == ["events_20260804.json"]


def test_an_absent_bucket_or_prefix_is_an_error(s3: Any, make_settings: Callable[..., Settings]) -> None:
    for uri in ("s3://no-such-bucket/x", f"s3://{BUCKET}/no-such-prefix"):
        with pytest.raises(SourceError, match=rf"{uri} does not exist"):
            load_changed_days(make_settings(source=uri))


def test_an_unreachable_store_is_an_error_without_secrets(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test-secret")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(SourceError, match=r"check the URI, the network and the credentials") as error:
        load_changed_days(make_settings(source=f"s3://{BUCKET}/ga4"))
    assert "test-secret" not in str(error.value)
