"""The marts of the real GA4 day files, and the published examples of default channel groups."""

from __future__ import annotations

import csv
import datetime as dt
import os
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pytest

from ingest.job import load_changed_days
from tests.dbt_project.invariance import Rows, compare, read_tables
from tests.dbt_project.recorded_builds import RecordedBuilds, make_recorded_settings
from tests.dbt_runner import query
from tests.lake_writer import make_event, write_day

DATA = Path(os.environ.get("FUNNELHOUSE_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
DAILY = DATA / "ga4_merch_store" / "daily"
CASES = DATA / "ga4_channel_grouping" / "cases.csv"
# 92 builds take some minutes: REAL_SINGLE_DAYS=1 .venv/bin/pytest -n 0 tests/real_data/test_real_marts.py
SINGLE_DAYS = "REAL_SINGLE_DAYS"
NOW = dt.datetime(2021, 6, 1, tzinfo=dt.UTC)

pytestmark = pytest.mark.real_data
needs_days = pytest.mark.skipif(not DAILY.is_dir(), reason=f"{DAILY} is absent: no real GA4 day files to build from")


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> RecordedBuilds:
    """Builds over an export folder of its own."""
    return RecordedBuilds(make_recorded_settings(tmp_path_factory.mktemp("real")))


@pytest.fixture(scope="module")
def at_once(builds: RecordedBuilds) -> dict[str, Rows]:
    """The tables of all days, loaded and built in one run."""
    _build_in_portions(builds, [_days()])
    return read_tables(builds.settings)


def _days() -> list[Path]:
    return sorted(DAILY.glob("*.parquet"))


def _build_in_portions(builds: RecordedBuilds, portions: Sequence[Sequence[Path]]) -> None:
    builds.clear()
    for portion in portions:
        for file in portion:
            shutil.copy(file, builds.export)
        load_changed_days(builds.settings, progress=False)
        builds.build(now=NOW)


@pytest.mark.skipif(not CASES.is_file(), reason=f"{CASES} is absent: no examples of channel groups")
def test_every_published_example_gets_its_default_channel_group(builds: RecordedBuilds) -> None:
    with CASES.open(encoding="utf-8") as file:
        cases = {f"case {number}": row for number, row in enumerate(csv.DictReader(file), start=1)}
    names = {"manual_source": "source", "manual_medium": "medium", "manual_campaign_name": "campaign"}
    builds.clear()
    events = [
        make_event(
            "page_view",
            "2026-08-01T17:00:00",
            user=user,
            collected_traffic_source={column: row[name] or None for column, name in names.items()},
        )
        for user, row in cases.items()
    ]
    write_day(builds.settings, "2026-08-01", events)
    builds.build(now=NOW)
    found = dict(query(builds.settings, "select user_pseudo_id, default_channel_group from marts.fct_sessions"))
    assert found == {user: row["expected_channel"] for user, row in cases.items()}
    assert len(found) == 30


@needs_days
def test_sessions_of_the_real_days(builds: RecordedBuilds, at_once: dict[str, Rows]) -> None:
    assert sum(at_once["intermediate.int_session_facts"].values()) == 20_705
    assert query(
        builds.settings,
        """
        select count(*), count(distinct session_id), count(*) filter (where event_dates = 2)
        from marts.fct_sessions
        inner join (
            select session_id, count(distinct event_date) as event_dates, min(event_date) as first_date
            from marts.fct_events group by session_id
        ) using (session_id)
        where session_date = first_date
        """,
    ) == [(20_705, 20_705, 17)]


@needs_days
def test_purchases_of_the_real_days(builds: RecordedBuilds, at_once: dict[str, Rows]) -> None:
    """By rule 10, read once more from the files: 624 events, some of them reloads, some without any id."""
    with duckdb.connect() as connection:
        expected = connection.execute(
            f"""
            with events as (
                select
                    event_timestamp,
                    coalesce(
                        nullif(ecommerce.transaction_id, '(not set)'), param.string_value, param.int_value::varchar
                    ) as transaction_id,
                    coalesce(ecommerce.purchase_revenue_in_usd, 0) as revenue
                from (
                    select *, list_filter(event_params, lambda p: p.key = 'transaction_id')[1].value as param
                    from read_parquet('{DAILY}/*.parquet', hive_partitioning = false)
                    where event_name = 'purchase'
                )
            ),
            valid as (
                select arg_min(revenue, event_timestamp) as revenue
                from events where transaction_id is not null group by transaction_id
                union all
                select revenue from events where transaction_id is null
            )
            select (select count(*) from events), count(*), round(sum(revenue), 6) from valid
            """
        ).fetchall()
    assert expected[0][0] == 624
    assert query(
        builds.settings,
        """
        select
            (select count(*) from marts.fct_events where event_name = 'purchase'), count(*),
            round(sum(revenue_usd), 6)
        from marts.fct_purchases
        """,
    ) == [tuple(expected[0])]


@needs_days
def test_the_real_days_shuffled_into_three_portions_give_the_same_marts(
    builds: RecordedBuilds, at_once: dict[str, Rows]
) -> None:
    days = random.Random(20_705).sample(_days(), 92)
    _build_in_portions(builds, [days[:40], days[40:41], days[41:]])
    compare(read_tables(builds.settings), at_once, "of the real days in three shuffled portions")


@needs_days
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not os.environ.get(SINGLE_DAYS), reason=f"92 builds: set {SINGLE_DAYS}=1 to run them")
def test_the_real_days_in_92_runs_give_the_same_marts(builds: RecordedBuilds, at_once: dict[str, Rows]) -> None:
    days = random.Random(92).sample(_days(), 92)
    _build_in_portions(builds, [[day] for day in days])
    compare(read_tables(builds.settings), at_once, "of the real days in 92 runs")
