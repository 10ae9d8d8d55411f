"""The dates of the sample shop: it ends yesterday, is the same shop whenever it ends, and stays once it is there."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pytest

from foundation.settings import Settings
from sample_shop.job import SampleReport, write_sample_shop
from sample_shop.options import SHOP_TIME_END, Calendar, SampleOptions

ZONE = "America/Los_Angeles"
OPTIONS = SampleOptions(sessions=4_000, days=20)
SMALL = SampleOptions(sessions=60, days=3)


def write(home: Path, end_date: dt.date | None, options: SampleOptions = OPTIONS) -> SampleReport:
    settings = Settings(home=home, property_timezone=ZONE)
    dated = SampleOptions(sessions=options.sessions, days=options.days, end_date=end_date)
    return write_sample_shop(settings, dated, progress=False)


def measure(report: SampleReport, end_date: dt.date) -> dict[str, list[tuple[Any, ...]]]:
    """The shop's figures by day, counted back from its last; visitors by the part of their id that tells no time."""
    with duckdb.connect() as connection:
        connection.execute(
            f"""
            create macro param(params, name) as list_filter(params, lambda x: x.key = name)[1].value;
            create table events as
            select *,
                date '{end_date}' - strptime(regexp_extract(filename, '(\\d{{8}})', 1), '%Y%m%d')::date as days_before,
                filename like '%intraday%' as is_intraday,
                split_part(user_pseudo_id, '.', 1) as visitor,
                param(event_params, 'ga_session_id').int_value as started,
                make_timestamptz(event_timestamp) at time zone '{ZONE}' as local_time
            from read_parquet('{report.export_dir}/*.parquet', filename = true);
            create table truth as
            select *, date '{end_date}' - session_date as days_before from read_parquet('{report.truth_path}')
            """
        )

        def rows(sql: str) -> list[tuple[Any, ...]]:
            return connection.execute(sql).fetchall()

        assert rows("select count(*) from events where event_date not in ('20261345', strftime(local_time, '%Y%m%d'))")[
            0
        ] == (0,)
        return {
            "days": rows(
                """
                select days_before, is_intraday, count(*), count(distinct (visitor, started)),
                    count(*) filter (event_name = 'purchase'), sum(ecommerce.purchase_revenue_in_usd),
                    sum(ecommerce.refund_value_in_usd)
                from events group by all order by all
                """
            ),
            "sessions": rows(
                """
                select min(days_before), visitor, any_value(param(event_params, 'ga_session_number').int_value),
                    count(*), list(event_name order by event_timestamp, batch_ordering_id, batch_event_index),
                    max(event_timestamp) - min(event_timestamp),
                    any_value(session_traffic_source_last_click.manual_campaign.source)
                from events where event_timestamp is not null and visitor is not null and not is_intraday
                group by visitor, started order by all
                """
            ),
            "truth": rows(
                """
                select days_before, split_part(split_part(session_id, '|', 2), '.', 1), decision_point,
                    true_probability, purchased, is_at_risk, arrives_late
                from truth order by all
                """
            ),
        }


# The clocks go back on 1 November 2026, forward on 14 March 2027: in the middle of these 20 days.
@pytest.mark.parametrize("end_date", [dt.date(2026, 11, 10), dt.date(2027, 3, 21)])
def test_it_is_the_same_shop_whenever_it_ends(tmp_path: Path, end_date: dt.date) -> None:
    first, other = write(tmp_path / "first", SHOP_TIME_END), write(tmp_path / "other", end_date)
    assert (other.sessions, other.events, other.purchased_sessions) == (
        first.sessions,
        first.events,
        first.purchased_sessions,
    )
    wanted, found = measure(first, SHOP_TIME_END), measure(other, end_date)
    for name, rows in wanted.items():
        assert found[name] == rows, name
    moved = (end_date - SHOP_TIME_END).days
    assert {
        kind: [dt.date.fromisoformat(date) - dt.timedelta(days=moved) for date in dates]
        for kind, dates in other.planted.items()
    } == {kind: [dt.date.fromisoformat(date) for date in dates] for kind, dates in first.planted.items()}


def test_a_session_keeps_its_local_time_where_the_clock_has_it() -> None:
    zone = ZoneInfo(ZONE)

    def move(end_date: dt.date, *local: str) -> list[str]:
        """Local times of shop time's last day, on the last day of an export that ends on `end_date`."""
        moments = [dt.datetime.fromisoformat(f"{SHOP_TIME_END} {time}").replace(tzinfo=zone) for time in local]
        in_shop_time = np.array([round(moment.timestamp() * 1_000_000) for moment in moments])
        moved = Calendar(OPTIONS, zone, end_date).from_shop_time(in_shop_time)
        return [str(dt.datetime.fromtimestamp(each / 1_000_000, zone)) for each in moved]

    assert move(dt.date(2026, 11, 1), "00:59:59.500000", "01:30:00", "02:00:00") == [
        "2026-11-01 00:59:59.500000-07:00",
        "2026-11-01 01:30:00-07:00",  # there are two of them: the first
        "2026-11-01 02:00:00-08:00",
    ]
    assert move(dt.date(2027, 3, 14), "01:59:59", "02:30:00", "03:00:00") == [
        "2027-03-14 01:59:59-08:00",
        "2027-03-14 03:30:00-07:00",  # half past two there is none
        "2027-03-14 03:00:00-07:00",
    ]


def test_a_new_shop_ends_yesterday_in_the_property_s_time_zone(tmp_path: Path) -> None:
    def yesterday() -> str:
        return f"{dt.datetime.now(ZoneInfo(ZONE)).date() - dt.timedelta(days=1):%Y%m%d}"

    before = yesterday()
    report = write(tmp_path, None, SMALL)
    daily = sorted(path.name for path in Path(report.export_dir).glob("events_2*.parquet"))
    assert len(daily) == 3 and daily[-1] in {f"events_{day}.parquet" for day in (before, yesterday())}


def test_a_shop_that_is_there_stays_on_the_next_day(tmp_path: Path) -> None:
    # as a run two days ago has left it
    end_date = dt.datetime.now(ZoneInfo(ZONE)).date() - dt.timedelta(days=3)
    first = write(tmp_path, end_date, SMALL)
    stamps = {path: path.stat().st_mtime_ns for path in Path(first.export_dir).iterdir()}
    again = write(tmp_path, None, SMALL)
    assert again.is_skipped and again.planted == first.planted
    assert {path: path.stat().st_mtime_ns for path in Path(first.export_dir).iterdir()} == stamps
    # an end date that is asked for counts
    moved = write(tmp_path, end_date + dt.timedelta(days=1), SMALL)
    assert not moved.is_skipped and moved.planted != first.planted


def test_a_lost_file_comes_back_as_it_was(tmp_path: Path) -> None:
    end_date = dt.date(2026, 8, 20)
    report = write(tmp_path, end_date, SMALL)
    contents = {path: path.read_bytes() for path in Path(report.export_dir).iterdir()}
    next(iter(contents)).unlink()
    assert not write(tmp_path, None, SMALL).is_skipped
    assert {path: path.read_bytes() for path in Path(report.export_dir).iterdir()} == contents


def test_other_options_make_a_new_shop_that_ends_yesterday(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    write_sample_shop(settings, SampleOptions(sessions=60, days=3, end_date=dt.date(2026, 8, 20)), progress=False)
    report = write_sample_shop(settings, SampleOptions(sessions=61, days=3), progress=False)
    assert not report.is_skipped and not list(Path(report.export_dir).glob("events_202608*.parquet"))
