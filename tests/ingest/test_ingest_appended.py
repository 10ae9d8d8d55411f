"""Growing BigQuery tables: only what was appended since the last run is read, and the day comes out the same."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from export_writer import make_events, write_parquet
from google.oauth2.service_account import Credentials
from google_server import DATASET, PROJECT, Fault, GoogleServer, Table, read_table, serve_google, write_key_file

from foundation.settings import Settings
from ingest import bigquery
from ingest.forget import forget_person
from ingest.job import load_changed_days, plan_load
from warehouse.lake import read_manifests

NAME = "events_intraday_20260801"
DAY = dt.date(2026, 8, 1)
NOW = dt.datetime.now(dt.UTC)
HOUR = dt.timedelta(hours=1)


@pytest.fixture
def google(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GoogleServer]:
    with serve_google() as server:
        write_key_file(tmp_path / "key.json", server)
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
        monkeypatch.setattr(bigquery, "_RETRY", bigquery._RETRY.with_delay(initial=0.01))
        monkeypatch.setattr(Credentials, "_is_regional_access_boundary_lookup_required", lambda self: False)
        server.may_query = True
        yield server


@pytest.fixture
def settings(make_settings: Callable[..., Settings], google: GoogleServer) -> Settings:
    return make_settings(source=f"bigquery://{PROJECT}.{DATASET}", bigquery_endpoint=google.url)


@pytest.fixture
def load(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Load as if it were so many hours ago."""

    def load(hours_ago: float = 0.0, **overrides: Any) -> Any:
        monkeypatch.setattr(bigquery, "_SETTLED_AFTER", dt.timedelta(minutes=2) + hours_ago * HOUR)
        return load_changed_days(settings.model_copy(update=overrides), progress=False)

    return load


def rows_of(tmp_path: Path, count: int, seed: int) -> Table:
    path = tmp_path / f"{seed}.parquet"
    events = make_events(count, user_pseudo_id=f"visitor.{seed}")
    write_parquet(path, events)
    return read_table(f"from read_parquet('{path}')")


def lake(settings: Settings) -> list[str]:
    files = f"read_parquet('{settings.lake_dir}/event_date={DAY}/*.parquet', hive_partitioning = false)"
    with duckdb.connect() as connection:
        return [
            row[0] for row in connection.execute(f"select to_json(t)::varchar from {files} as t order by 1").fetchall()
        ]


def test_only_new_rows_are_read_and_the_day_is_the_same(
    settings: Settings, google: GoogleServer, load: Callable[..., Any], make_settings: Any, tmp_path: Path
) -> None:
    google.tables[NAME] = rows_of(tmp_path, 300, 0)
    google.most_rows_per_page = 40
    google.polls_before_done = 2
    load(hours_ago=3)
    assert (google.rows_queried, google.count(r"/data\?")) == (300, 0)

    google.tables[NAME].append(rows_of(tmp_path, 50, 1), NOW - 2 * HOUR)
    load(hours_ago=1)
    google.tables[NAME].append(rows_of(tmp_path, 30, 2), NOW - HOUR / 2)
    load()
    assert (google.rows_queried, google.count(r"/data\?")) == (380, 0)
    assert len(google.queries) == 3 and "null" in google.queries[0] and "null" not in google.queries[1]
    assert {table.what for table in plan_load(settings)} == {"unchanged"}

    whole = make_settings(
        source=settings.source, bigquery_endpoint=google.url, bigquery_appends=False, home=tmp_path / "whole"
    )
    load_changed_days(whole, progress=False)
    assert len(google.queries) == 3
    assert lake(settings) == lake(whole) and len(lake(whole)) == 380
    assert read_manifests(settings)[DAY].content_hash == read_manifests(whole)[DAY].content_hash


def test_what_came_a_moment_ago_is_left_to_the_next_run(
    settings: Settings, google: GoogleServer, load: Callable[..., Any], tmp_path: Path
) -> None:
    google.tables[NAME] = rows_of(tmp_path, 20, 0)
    google.tables[NAME].append(rows_of(tmp_path, 5, 1), NOW - HOUR)
    load(hours_ago=2)
    assert len(lake(settings)) == 20
    load()
    assert len(lake(settings)) == 25
    assert {table.what for table in plan_load(settings)} == {"unchanged"}


def test_without_the_right_to_query_the_day_is_read_again(
    settings: Settings, google: GoogleServer, load: Callable[..., Any], tmp_path: Path
) -> None:
    google.may_query = False
    google.tables[NAME] = rows_of(tmp_path, 20, 0)
    google.tables[NAME.replace("01", "02")] = Table(google.tables[NAME].columns, [])
    load()
    assert google.queries == [] and google.count(rf"{NAME}/data\?") == 1
    google.tables[NAME].append(rows_of(tmp_path, 5, 1), NOW - HOUR)
    load()
    assert len(lake(settings)) == 25 and google.count(rf"{NAME}/data\?") == 2
    assert not list(settings.bigquery_dir.glob("*"))


@pytest.mark.parametrize("change", ["created anew", "another column", "kept file is gone", "fewer than counted"])
def test_what_is_kept_counts_only_for_the_same_table(
    settings: Settings, google: GoogleServer, load: Callable[..., Any], tmp_path: Path, change: str
) -> None:
    google.tables[NAME] = rows_of(tmp_path, 20, 0)
    load(hours_ago=2)
    table = google.tables[NAME]
    table.append(rows_of(tmp_path, 5, 1), NOW - HOUR)
    if change == "created anew":
        table.created_ms += 1
    elif change == "another column":
        table.columns.append({"name": "new_column", "type": "STRING", "mode": "NULLABLE"})
        for row in table.rows:
            row["f"].append({"v": "x"})
    elif change == "kept file is gone":
        next(settings.bigquery_dir.glob("*.parquet")).unlink()
    else:
        # ten rows of which the history of changes knows nothing
        table.rows[:0] = rows_of(tmp_path, 10, 2).rows
        note = next(settings.bigquery_dir.glob("*.json"))
        note.write_text(note.read_text().replace('"counted": 20', '"counted": 30'))
    load()
    expected = 35 if change == "fewer than counted" else 25
    assert len(lake(settings)) == expected
    if change == "fewer than counted":
        assert google.count(rf"{NAME}/data\?") == 1
    else:
        assert google.queries[-1].count("null") == 1


def test_a_query_that_fails_costs_one_whole_read(
    settings: Settings, google: GoogleServer, load: Callable[..., Any], tmp_path: Path
) -> None:
    google.tables[NAME] = rows_of(tmp_path, 20, 0)
    google.faults.append(Fault(r"/queries", 400, "invalid", times=1, message="time travel window exceeded"))
    load(hours_ago=2)
    assert len(lake(settings)) == 20 and google.count(r"/data\?") == 1
    google.faults.append(Fault(r"/queries", 503, "backendError", times=2))
    google.tables[NAME].append(rows_of(tmp_path, 5, 1), NOW - HOUR)
    load()
    assert len(lake(settings)) == 25 and len(google.queries) == 1


def test_nothing_is_kept_of_a_table_that_is_gone_or_of_a_person_who_is_forgotten(
    settings: Settings, google: GoogleServer, load: Callable[..., Any], tmp_path: Path
) -> None:
    google.tables[NAME] = rows_of(tmp_path, 20, 0)
    load()
    assert len(list(settings.bigquery_dir.iterdir())) == 2
    forget_person(settings, "nobody-of-these")
    assert not settings.bigquery_dir.exists()
    google.tables[NAME].append(rows_of(tmp_path, 5, 1), NOW - HOUR)
    load()
    assert len(list(settings.bigquery_dir.iterdir())) == 2
    daily = google.tables.pop(NAME)
    google.tables["events_20260801"] = daily
    load()
    assert list(settings.bigquery_dir.iterdir()) == []
