"""An export in BigQuery: a server on the loopback interface that speaks the REST calls, and real sign-in against it."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from export_writer import canonical_columns, describe_lake_file, make_events, read_day, write_parquet
from google.oauth2.service_account import Credentials
from google_server import DATASET, PROJECT, Fault, GoogleServer, Table, read_table, serve_google, write_key_file

from foundation.settings import Settings
from ingest import bigquery
from ingest.__main__ import main
from ingest.job import load_changed_days, plan_load
from ingest.opening import open_source
from ingest.source import SourceError
from sample_shop.job import write_sample_shop
from sample_shop.options import SampleOptions
from warehouse.ga4_schema import EVENT_COLUMNS
from warehouse.lake import read_manifests

URI = f"bigquery://{PROJECT}.{DATASET}"
LISTS = {name for name, dtype in EVENT_COLUMNS.items() if dtype.endswith("[]")}


@pytest.fixture
def google(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GoogleServer]:
    with serve_google() as server:
        write_key_file(tmp_path / "key.json", server)
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
        monkeypatch.setattr(bigquery, "_RETRY", bigquery._RETRY.with_delay(initial=0.01))
        # a look-up on the internet that signing in starts in the background
        monkeypatch.setattr(Credentials, "_is_regional_access_boundary_lookup_required", lambda self: False)
        yield server


@pytest.fixture
def settings(make_settings: Callable[..., Settings], google: GoogleServer) -> Settings:
    return make_settings(source=URI, bigquery_endpoint=google.url)


def _table(tmp_path: Path, rows: int, day: str = "20260801", **columns: Any) -> Table:
    path = tmp_path / "table.parquet"
    write_parquet(path, make_events(rows, day, **columns))
    return read_table(f"from read_parquet('{path}')")


def _rows(settings: Settings, day: object) -> list[str]:
    """The rows of a day in the order of the file, with empty lists for null ones: BigQuery has no null lists."""
    files = f"read_parquet('{settings.lake_dir}/event_date={day}/*.parquet', hive_partitioning = false)"
    filled = ", ".join(f"coalesce({name}, []) as {name}" for name in LISTS)
    with duckdb.connect() as connection:
        rows = connection.execute(f"select to_json(t) from (select * replace ({filled}) from {files}) as t").fetchall()
    return [row[0].replace('"item_params":null', '"item_params":[]') for row in rows]


def test_a_sample_shop_in_bigquery_loads_as_its_files_do_row_for_row(
    settings: Settings, google: GoogleServer, make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    files = make_settings(home=tmp_path / "files")
    write_sample_shop(
        files, SampleOptions(sessions=40, days=3, end_date=dt.date(2026, 9, 30)), processes=1, progress=False
    )
    load_changed_days(files, progress=False)
    for path in files.sample_export_dir.glob("*.parquet"):
        google.tables[path.stem] = read_table(f"from read_parquet('{path}')")
    google.tables["pseudonymous_users_20260930"] = Table([], [])
    google.most_rows_per_page = 150
    report = load_changed_days(settings, progress=False)

    expected, loaded = read_manifests(files), read_manifests(settings)
    assert {day: (m.table_name, m.row_count) for day, m in loaded.items()} == {
        day: (m.table_name, m.row_count) for day, m in expected.items()
    }
    assert (report.ignored_files, report.quarantined, report.uncast_values) == (1, [], [])
    for day in expected:
        assert _rows(settings, day) == _rows(files, day)
        for file in (settings.lake_dir / f"event_date={day}").glob("*.parquet"):
            assert describe_lake_file(file) == canonical_columns()

    assert {table.what for table in plan_load(settings)} <= {"unchanged", "superseded"}
    asked = google.count(r"/data\?")
    assert load_changed_days(settings, progress=False).days_loaded == []
    assert google.count(r"/data\?") == asked


def test_values_come_as_bigquery_means_them(tmp_path: Path) -> None:
    with duckdb.connect() as connection:
        columns = [
            bigquery.bigquery.SchemaField.from_api_repr(column)
            for column in [
                *({"name": name, "type": name, "mode": "NULLABLE"} for name in bigquery._FROM_TEXT),
                {"name": "GEOGRAPHY", "type": "GEOGRAPHY"},
                {"name": "numbers", "type": "FLOAT", "mode": "REPEATED"},
                {
                    "name": "outer",
                    "type": "RECORD",
                    "fields": [{"name": "inner", "type": "RECORD", "fields": [{"name": "n", "type": "INTEGER"}]}],
                },
            ]
        ]
        texts = ["-9007199254740993", "1", "NaN", "-Infinity", "true", "false", "1.000000001", "AQI=", "2026-08-01"]
        texts += ["12:30:00.5", "2026-08-01T12:30:00", "1785542400000001", "POINT(1 2)"]
        line = {"f": [*({"v": text} for text in texts), {"v": [{"v": "0.1"}, {"v": "Infinity"}]}, {"v": {"f": []}}]}
        line["f"][-1] = {"v": {"f": [{"v": {"f": [{"v": "7"}]}}]}}
        empty = {"f": [{"v": None}] * 13 + [{"v": []}, {"v": None}]}
        page = json.dumps({"rows": [line, empty]})
        rows = connection.execute(f"select * from ({bigquery.write_select(columns)})", [page]).fetchall()
        expected = connection.execute(
            "select -9007199254740993, 1, 'nan'::double, '-inf'::double, true, false, 1.000000001, '\\x01\\x02'::blob, "
            "date '2026-08-01', time '12:30:00.5', timestamp '2026-08-01 12:30:00', "
            "timestamp '2026-08-01 00:00:00.000001', 'POINT(1 2)', [0.1, 'inf'::double], {'inner': {'n': 7}}"
        ).fetchall()[0]
    assert str(rows[0][:15]) == str(expected)
    assert rows[1][:15] == (None,) * 13 + ([], None)


def test_only_changed_content_changes_a_day(settings: Settings, google: GoogleServer, tmp_path: Path) -> None:
    google.tables = {"events_20260801": _table(tmp_path, 5), "events_20260802": _table(tmp_path, 5, "20260802")}
    assert len(load_changed_days(settings, progress=False).days_loaded) == 2
    first = read_manifests(settings)

    touched = google.tables["events_20260801"]
    touched.modified_ms += 1000
    touched.rows.reverse()  # BigQuery promises no order
    assert [table.what for table in plan_load(settings)] == ["to compare", "unchanged"]
    report = load_changed_days(settings, progress=False)
    assert (report.days_loaded, report.days_unchanged) == ([], 2)
    assert [m.content_hash for m in read_manifests(settings).values()] == [m.content_hash for m in first.values()]
    assert {table.what for table in plan_load(settings)} == {"unchanged"}

    touched.modified_ms += 1000
    touched.rows[0]["f"][2]["v"] = "purchase"
    assert [(day.event_date, day.change) for day in load_changed_days(settings, progress=False).days_loaded] == [
        ("2026-08-01", "rewritten")
    ]
    touched.modified_ms += 1000
    touched.rows.append(touched.rows[0])  # a copy is a row of its own
    assert [day.rows for day in load_changed_days(settings, progress=False).days_loaded] == [6]


def test_kinds_empty_tables_and_odd_names(settings: Settings, google: GoogleServer, tmp_path: Path) -> None:
    google.tables = {
        "events_20260801": _table(tmp_path, 3),
        "events_fresh_20260802": _table(tmp_path, 0, "20260802"),
        "events_intraday_20260801": _table(tmp_path, 2),
        "events_intraday_20260803": _table(tmp_path, 4, "20260803"),
        "events_20261301": _table(tmp_path, 1),
        "events_20260804": _table(tmp_path, 1, "20260804"),
        "customers": _table(tmp_path, 1),
    }
    google.tables["events_20260804"].kind = "VIEW"
    report = load_changed_days(settings, progress=False)
    assert [(day.event_date, day.kind, day.rows) for day in report.days_loaded] == [
        ("2026-08-01", "daily", 3),
        ("2026-08-02", "fresh", 0),
        ("2026-08-03", "intraday", 4),
    ]
    assert report.ignored_files == 1
    assert [message[:28] for message in report.impossible_names] == [
        "events_20260804 is a view, n",
        "events_20261301: 20261301 is",
    ]
    assert google.count(r"/data\?") == 3 and google.count("intraday_20260801/data") == 0


def test_a_table_without_a_required_column_is_quarantined(
    settings: Settings, google: GoogleServer, tmp_path: Path
) -> None:
    google.tables = {"events_20260801": _table(tmp_path, 3), "events_20260802": _table(tmp_path, 3, "20260802")}
    broken = google.tables["events_20260802"]
    broken.columns = broken.columns[1:]
    for row in broken.rows:
        row["f"] = row["f"][1:]
    report = load_changed_days(settings, progress=False)
    assert [day.event_date for day in report.days_loaded] == ["2026-08-01"]
    assert [(problem["file"], problem["column"]) for problem in report.quarantined] == [
        ("events_20260802", "event_date")
    ]
    asked = google.count(r"/data\?")
    assert load_changed_days(settings, progress=False).quarantined[0]["is_new"] is False
    assert google.count(r"/data\?") == asked


def test_a_value_that_is_not_of_its_type_costs_its_day(
    settings: Settings, google: GoogleServer, tmp_path: Path
) -> None:
    google.tables = {"events_20260801": _table(tmp_path, 3), "events_20260802": _table(tmp_path, 3, "20260802")}
    google.tables["events_20260801"].rows[1]["f"][1]["v"] = "soon"
    report = load_changed_days(settings, progress=False)
    assert [day.event_date for day in report.days_loaded] == ["2026-08-02"]
    assert "events_20260801 holds a value that does not match its column's type" in report.quarantined[0]["reason"]
    assert report.quarantined[0]["what_to_do"] == (
        "correct the value, or the type of its column, in BigQuery; the next run picks up a new version"
    )

    # Not read again before it changes.
    asked = google.count(r"/data\?")
    report = load_changed_days(settings, progress=False)
    assert [problem["is_new"] for problem in report.quarantined] == [False]
    assert google.count(r"/data\?") == asked
    google.tables["events_20260801"].rows[1]["f"][1]["v"] = "1785542400000000"
    google.tables["events_20260801"].modified_ms += 1
    assert [day.event_date for day in load_changed_days(settings, progress=False).days_loaded] == ["2026-08-01"]


def test_a_table_without_columns_costs_its_day(settings: Settings, google: GoogleServer, tmp_path: Path) -> None:
    google.tables = {"events_20260801": Table([], []), "events_20260802": _table(tmp_path, 3, "20260802")}
    report = load_changed_days(settings, progress=False)
    assert [day.event_date for day in report.days_loaded] == ["2026-08-02"]
    [problem] = report.quarantined
    assert problem["reason"] == "events_20260801 has no columns"
    assert (
        problem["what_to_do"]
        == "export the whole events table, or delete this one; the next run picks up a new version"
    )


def test_rows_of_another_shape_cost_their_day(settings: Settings, google: GoogleServer, tmp_path: Path) -> None:
    google.tables = {f"events_2026080{day}": _table(tmp_path, 3, f"2026080{day}") for day in (1, 2)}
    params = [column["name"] for column in google.tables["events_20260801"].columns].index("event_params")
    google.tables["events_20260801"].rows[1]["f"][params]["v"] = "no list"
    report = load_changed_days(settings, progress=False)
    assert [day.event_date for day in report.days_loaded] == ["2026-08-02"]
    assert "events_20260801 cannot be read as a table" in report.quarantined[0]["reason"]


def test_passing_troubles_are_tried_again(settings: Settings, google: GoogleServer, tmp_path: Path) -> None:
    google.tables = {"events_20260801": _table(tmp_path, 10)}
    google.most_rows_per_page = 4
    google.faults = [
        Fault(r"/tables\?", 500, "backendError", times=2),
        Fault(r"/events_20260801\?", 403, "rateLimitExceeded"),
        Fault(r"/data.*pageToken=4", 503, "backendError", times=2),
        Fault(r"/data.*pageToken=8", 429, "rateLimitExceeded"),
    ]
    assert load_changed_days(settings, progress=False).events_loaded == 10
    assert [fault.times for fault in google.faults] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("status", "said"),
    [(503, "503 GET .*/events_20260801/data: planted"), (504, "504 GET .*: planted"), (0, ".*Connection aborted")],
)
def test_a_lasting_trouble_is_named_and_asked_for_once(
    settings: Settings,
    google: GoogleServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    status: int,
    said: str,
) -> None:
    monkeypatch.setattr(bigquery, "_RETRY", bigquery._RETRY.with_timeout(1.0))
    monkeypatch.setattr(bigquery, "_SECONDS_AFTER_FAILURE", 0.1)
    google.tables = {f"events_2026080{day}": _table(tmp_path, 3, f"2026080{day}") for day in (1, 2, 3)}
    google.faults = [Fault(r"/events_2026080[12]/data", status, "backendError", 1_000_000)]
    report = load_changed_days(settings, progress=False)
    assert [day.event_date for day in report.days_loaded] == ["2026-08-03"]
    first, second = (problem["reason"] for problem in report.quarantined)
    assert re.search(rf"could not be read: {said}.*timeout of 1\.0s exceeded", first)
    assert "timeout of 0.1s exceeded" in second  # an outage does not cost the whole time for each table
    assert "attempt" not in caplog.text


# What a broken connection, a proxy or a captive portal leaves of an answer; HTTP says 200 to each.
BROKEN_ANSWERS = [
    b"",
    b'{"totalRows":"10","rows":[{"f":[{"v":"2026',
    b"<html>Sign in to the hotel</html>",
    b"null",
    b"\xff",
]


@pytest.mark.parametrize("body", BROKEN_ANSWERS)
def test_a_broken_answer_is_asked_for_again(
    settings: Settings, google: GoogleServer, tmp_path: Path, body: bytes
) -> None:
    google.tables = {f"events_2026080{day}": _table(tmp_path, 5, f"2026080{day}") for day in (1, 2, 3)}
    google.most_rows_per_page = 4
    google.faults = [
        Fault(pattern, 200, "", 2, body=body)
        for pattern in (r"/tables\?.*pageToken=2", r"/events_20260801\?", r"/events_20260802/data.*pageToken=4")
    ]
    report = load_changed_days(settings, progress=False)
    assert [day.rows for day in report.days_loaded] == [5, 5, 5]
    assert [fault.times for fault in google.faults] == [0, 0, 0]


@pytest.mark.parametrize("body", BROKEN_ANSWERS)
def test_answers_that_stay_broken_cost_one_table(
    settings: Settings, google: GoogleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    monkeypatch.setattr(bigquery, "_RETRY", bigquery._RETRY.with_timeout(0.2))
    google.tables = {f"events_2026080{day}": _table(tmp_path, 3, f"2026080{day}") for day in (1, 2)}
    google.faults = [Fault(r"/events_20260801/data", 200, "", 1_000_000, body=body)]
    report = load_changed_days(settings, progress=False)
    assert [day.event_date for day in report.days_loaded] == ["2026-08-02"]
    assert [problem["file"] for problem in report.quarantined] == ["events_20260801"]
    google.faults = []
    assert [day.event_date for day in load_changed_days(settings, progress=False).days_loaded] == ["2026-08-01"]


def test_a_listing_that_stays_broken_says_what_came(
    settings: Settings, google: GoogleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bigquery, "_RETRY", bigquery._RETRY.with_timeout(0.2))
    google.faults = [Fault(r"/tables\?", 200, "", 1_000_000, body=b"")]
    with pytest.raises(SourceError, match=r"cannot read bigquery://.*; check the network and run again"):
        load_changed_days(settings, progress=False)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault(r"/tables\?", 403, "accessDenied", 9, "Access Denied: Dataset x"), "BigQuery Data Viewer"),
        (Fault(r"/data\?", 403, "accessDenied", 9, "Access Denied: Table x"), "BigQuery Data Viewer"),
        (Fault(r"/data\?", 403, "quotaExceeded", 9, "Quota exceeded"), "quota for reading .* run again later"),
        (Fault(r"/tables\?", 404, "notFound", 9, "Not found: Dataset x"), "does not exist: .*analytics_ and the id"),
        (Fault(r"/tables\?", 400, "invalid", 9, "Invalid project"), "cannot read .*Invalid project"),
    ],
)
def test_lasting_troubles_say_what_to_do(
    settings: Settings, google: GoogleServer, tmp_path: Path, fault: Fault, message: str
) -> None:
    google.tables = {"events_20260801": _table(tmp_path, 3)}
    google.faults = [fault]
    with pytest.raises(SourceError, match=message) as error:
        load_changed_days(settings, progress=False)
    assert URI in str(error.value)
    assert fault.times == 8  # asked once


@pytest.mark.parametrize("pattern", [r"/events_20260801/data", r"/events_20260801\?"])
def test_a_table_that_may_not_be_read_costs_its_day(
    settings: Settings, google: GoogleServer, tmp_path: Path, pattern: str
) -> None:
    google.tables = {f"events_2026080{day}": _table(tmp_path, 3, f"2026080{day}") for day in (1, 2, 3)}
    google.faults = [Fault(pattern, 403, "accessDenied", 1_000_000, "Access Denied: policy tag")]
    report = load_changed_days(settings, progress=False)
    assert [day.event_date for day in report.days_loaded] == ["2026-08-02", "2026-08-03"]
    [problem] = report.quarantined
    assert re.fullmatch(r"events_20260801 may not be read: 403 GET .*: Access Denied: policy tag", problem["reason"])

    # Readable again: loaded by the next run. Forbidden once more: the version in the lake stays.
    google.faults = []
    assert [day.event_date for day in load_changed_days(settings, progress=False).days_loaded] == ["2026-08-01"]
    google.tables["events_20260801"].modified_ms += 1
    google.faults = [Fault(pattern, 403, "accessDenied", 1_000_000, "Access Denied: policy tag")]
    report = load_changed_days(settings, progress=False)
    assert (report.days_unchanged, [problem["file"] for problem in report.quarantined]) == (2, ["events_20260801"])
    assert [day.isoformat() for day in read_manifests(settings)] == ["2026-08-01", "2026-08-02", "2026-08-03"]
    google.faults = []
    assert load_changed_days(settings, progress=False).days_unchanged == 3


@pytest.mark.parametrize("pattern", [r"/data\?", r"/events_2026080\d\?"])
def test_a_dataset_of_which_no_table_may_be_read_is_an_error(
    settings: Settings, google: GoogleServer, tmp_path: Path, pattern: str
) -> None:
    google.tables = {f"events_2026080{day}": _table(tmp_path, 3, f"2026080{day}") for day in (1, 2, 3)}
    google.faults = [Fault(pattern, 403, "accessDenied", 1_000_000, "Access Denied: Table x")]
    with pytest.raises(SourceError, match=rf"reading {URI} is not allowed: .*Access Denied.*BigQuery Data Viewer"):
        load_changed_days(settings, progress=False)
    assert not settings.quarantine_dir.exists()


def test_a_table_that_does_not_describe_itself_costs_its_day(
    settings: Settings, google: GoogleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bigquery, "_RETRY", bigquery._RETRY.with_timeout(0.2))
    google.tables = {f"events_2026080{day}": _table(tmp_path, 3, f"2026080{day}") for day in (1, 2, 3)}
    google.faults = [Fault(r"/events_20260801\?", 503, "backendError", 1_000_000)]
    assert [table.what for table in plan_load(settings)] == ["to load"] * 3
    report = load_changed_days(settings, progress=False)
    assert [day.event_date for day in report.days_loaded] == ["2026-08-02", "2026-08-03"]
    assert "events_20260801 could not be read: 503" in report.quarantined[0]["reason"]


def test_a_dataset_without_events_says_where_they_would_be(settings: Settings, google: GoogleServer) -> None:
    google.tables = {"customers": Table([], [])}
    with pytest.raises(SourceError, match=r"1 other tables and no GA4 events table.*analytics_"):
        load_changed_days(settings)


@pytest.mark.parametrize("uri", ["bigquery://analytics_1", "bigquery://p.d/t", "bigquery://p.d?x", "bigquery://"])
def test_a_uri_without_a_dataset_is_refused(make_settings: Callable[..., Settings], uri: str) -> None:
    with pytest.raises(SourceError, match=r"names no dataset.*bigquery://project\.dataset"):
        open_source(make_settings(source=uri))


def test_without_credentials_the_error_says_how_to_get_some(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nowhere.json"))
    with pytest.raises(SourceError, match=r"no usable Google credentials.*gcloud auth application-default login"):
        open_source(make_settings(source=URI))


def test_a_refused_sign_in_is_an_error(
    settings: Settings, google: GoogleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = (tmp_path / "key.json").read_text().replace("/token", "/no-such-page")
    (tmp_path / "key.json").write_text(key)
    with pytest.raises(SourceError, match=r"cannot sign in to Google"):
        load_changed_days(settings)


def test_a_listing_that_wants_another_sign_in_says_so(settings: Settings, google: GoogleServer) -> None:
    google.faults = [Fault(r"/tables\?", 401, "authError", 99, "Invalid Credentials")]
    with pytest.raises(SourceError, match=r"cannot sign in to Google .*401 .*Invalid Credentials.*auth.*login` again"):
        load_changed_days(settings)


def test_a_sign_in_that_ends_during_the_load_stops_it(
    settings: Settings, google: GoogleServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    google.tables = {f"events_2026080{day}": _table(tmp_path, 3, f"2026080{day}") for day in (1, 2, 3)}
    revoked = json.dumps({"error": "invalid_grant", "error_description": "Token has been expired or revoked."})
    for faults, said in [
        ([Fault(r"/data\?", 401, "authError", 99, "Invalid Credentials")], "401 GET .*Invalid Credentials"),
        (
            [Fault(r"/data\?", 401, "authError", 99), Fault("/token", 400, "", 99, body=revoked.encode())],
            "invalid_grant",
        ),
    ]:
        google.before_page = lambda table, start, faults=faults: google.faults.extend(faults)  # type: ignore[misc]
        with pytest.raises(SourceError, match=rf"cannot sign in to Google for {URI}: .*{said}.*auth.*login` again"):
            load_changed_days(settings, progress=False)
        google.faults.clear()
    assert [day.isoformat() for day in read_manifests(settings)] == ["2026-08-01", "2026-08-02"]
    assert not settings.quarantine_dir.exists()
    assert "attempt" not in caplog.text
    google.before_page = lambda table, start: None
    assert [day.event_date for day in load_changed_days(settings, progress=False).days_loaded] == ["2026-08-03"]


def test_an_overloaded_sign_in_is_tried_again(settings: Settings, google: GoogleServer, tmp_path: Path) -> None:
    google.tables = {"events_20260801": _table(tmp_path, 3)}
    unavailable = json.dumps({"error": "temporarily_unavailable"}).encode()
    google.faults = [Fault("/token", 503, "", 4, body=unavailable)]  # more than the sign-in itself asks again
    assert load_changed_days(settings, progress=False).events_loaded == 3


def test_requests_count_against_the_billing_project(
    google: GoogleServer, make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    google.tables = {"events_20260801": _table(tmp_path, 1)}
    options = {"source": URI, "bigquery_endpoint": google.url}
    load_changed_days(make_settings(**options), progress=False)
    assert google.billed_to == {None}
    google.billed_to.clear()
    load_changed_days(make_settings(**options, home=tmp_path / "other", bigquery_billing_project="payer-1"))
    assert google.billed_to == {"payer-1"}


def test_a_table_rewritten_while_it_is_read_is_read_again(
    settings: Settings, google: GoogleServer, tmp_path: Path
) -> None:
    old, new = _table(tmp_path, 9), _table(tmp_path, 9, event_name="scroll")
    new.modified_ms += 1
    google.tables = {"events_20260801": old}
    google.most_rows_per_page = 4

    def rewrite(table: str, start: int) -> None:
        if start == 4:
            google.tables[table] = new

    google.before_page = rewrite
    assert load_changed_days(settings, progress=False).events_loaded == 9
    assert set(read_day(settings, "2026-08-01", "event_name")) == {("scroll",)}


def test_a_table_whose_columns_change_while_it_is_read_is_read_again(
    settings: Settings, google: GoogleServer, tmp_path: Path
) -> None:
    old, new = _table(tmp_path, 9), _table(tmp_path, 9)
    new.columns.insert(0, {"name": "note", "type": "STRING", "mode": "NULLABLE"})
    for row in new.rows:
        row["f"].insert(0, {"v": "shifted"})
    new.modified_ms += 1
    google.tables = {"events_20260801": old}
    google.most_rows_per_page = 4

    def rewrite(table: str, start: int) -> None:
        if start == 4:
            google.tables[table] = new

    google.before_page = rewrite
    assert load_changed_days(settings, progress=False).events_loaded == 9
    assert set(read_day(settings, "2026-08-01", "note")) == {("shifted",)}


def test_a_table_that_never_holds_still_is_left_for_the_next_run(
    settings: Settings, google: GoogleServer, tmp_path: Path
) -> None:
    google.tables = {"events_20260801": _table(tmp_path, 3), "events_20260802": _table(tmp_path, 3, "20260802")}

    def touch(table: str, start: int) -> None:
        if table == "events_20260801":
            google.tables[table].modified_ms += 1

    google.before_page = touch
    report = load_changed_days(settings, progress=False)
    assert [day.event_date for day in report.days_loaded] == ["2026-08-02"]
    assert "keeps changing while it is read" in report.quarantined[0]["reason"]
    google.before_page = lambda table, start: None
    assert [day.event_date for day in load_changed_days(settings, progress=False).days_loaded] == ["2026-08-01"]


def test_an_intraday_table_may_grow_while_it_is_read(settings: Settings, google: GoogleServer, tmp_path: Path) -> None:
    table = google.tables["events_intraday_20260801"] = _table(tmp_path, 6)
    table.is_streamed_into = True
    google.most_rows_per_page = 4

    def grow(_: str, start: int) -> None:
        if start == 0:
            table.rows.append(table.rows[0])
            table.modified_ms += 1

    google.before_page = grow
    report = load_changed_days(settings, progress=False)
    assert [(day.kind, day.rows) for day in report.days_loaded] == [("intraday", 7)]
    assert [planned.what for planned in plan_load(settings)] == ["to compare"]


def test_rows_are_written_as_they_come(
    settings: Settings, google: GoogleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    google.tables = {"events_20260801": _table(tmp_path, 100)}
    google.most_rows_per_page = 10
    monkeypatch.setattr(bigquery, "_ROW_GROUP_BYTES", 1)
    load_changed_days(settings, progress=False)
    [file] = settings.lake_dir.glob("*/*.parquet")
    assert pq.ParquetFile(file).num_row_groups == 10


def test_the_dry_run_prints_tables_and_bytes(
    google: GoogleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    google.tables = {"events_20260801": _table(tmp_path, 30), "events_intraday_20260801": _table(tmp_path, 3)}
    monkeypatch.setenv("FUNNELHOUSE_SOURCE", URI)
    monkeypatch.setenv("FUNNELHOUSE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FUNNELHOUSE_BIGQUERY_ENDPOINT", google.url)
    assert main(["--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "2026-08-01 events_20260801: to load, 3,000 bytes",
        "2026-08-01 events_intraday_20260801: superseded",
        "1 superseded; 1 to load; 3,000 bytes would be read",
    ]
    assert google.count(r"/data\?") == 0 and not (tmp_path / "home").exists()
