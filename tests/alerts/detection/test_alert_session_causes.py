"""Causes within the hour: the very hours of a running day against the same hours of the days before it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import duckdb
import pytest
from kpi_tables import make_rule

from alerts.detection.causes import Causes, explain
from alerts.detection.session_splits import read_session_splits
from alerts.detection.verdicts import Hours

ZONE = ZoneInfo("Europe/Berlin")
TODAY = dt.date(2026, 8, 29)
BASELINE = [TODAY - dt.timedelta(days=back) for back in range(28, 0, -1)]
RULE = make_rule(hourly="carts", impact="orders", dimensions=["device_category"])
HOURS = Hours(
    since="2026-08-29T10:00+02:00",
    until=None,
    seen_until="2026-08-29T13:00+02:00",
    came=0,
    begun=0,
    expected=0,
    deviation=1,
)


@dataclass(frozen=True)
class Carts:
    """So many carts of one kind, all filled at 10:30, of which some are bought at 11:00 and some at 15:00."""

    number: int
    soon: int
    late: int = 0
    device: str = "mobile"
    browser: str = "Safari"
    version: str = "18"
    release: str | None = "4.1"
    payment: str | None = None
    filled: dt.time = dt.time(10, 30)


@pytest.fixture
def warehouse() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute(
            """
            create schema marts;
            create table marts.fct_session_steps (
                session_id varchar, session_date date, session_started_at timestamp, cart_at timestamp,
                checkout_at timestamp, purchased_at timestamp, device_category varchar, default_channel_group varchar,
                country varchar, browser varchar, browser_version varchar, release varchar, payment_type varchar,
                landing_page varchar, cart_page varchar, checkout_page varchar
            );
            create table marts.agg_kpis_daily as
            select null::date as kpi_date, 0 as purchases, 0.0 as revenue_usd, 0 as sessions,
                0.0 as cart_abandonment_rate, 0 as sessions_with_add_to_cart where false;
            """
        )
        yield connection


def fill(warehouse: duckdb.DuckDBPyConnection, date: dt.date, *kinds: Carts) -> None:
    def utc(time: dt.time) -> dt.datetime:
        return dt.datetime.combine(date, time, ZONE).astimezone(dt.UTC).replace(tzinfo=None)

    for kind in kinds:
        for number in range(kind.number):
            bought = dt.time(11) if number < kind.soon else dt.time(15) if number < kind.soon + kind.late else None
            warehouse.execute(
                """
                insert into marts.fct_session_steps
                values (?, ?, ?, ?, null, ?, ?, 'Direct', 'DE', ?, ?, ?, ?, '/', '/p', null)
                """,
                [
                    f"{date} {kind} {number}",
                    date,
                    utc(kind.filled),
                    utc(kind.filled),
                    None if bought is None else utc(bought),
                    kind.device,
                    kind.browser,
                    kind.version,
                    kind.release,
                    kind.payment,
                ],
            )


def find(warehouse: duckdb.DuckDBPyConnection, value: tuple[str, str] | None = None) -> Causes:
    return explain(warehouse, RULE, "above", [TODAY], BASELINE, dimension_value=value, hours={TODAY: HOURS}, zone=ZONE)


def test_what_comes_later_in_the_day_counts_on_neither_side(warehouse: duckdb.DuckDBPyConnection) -> None:
    night = Carts(50, 50, filled=dt.time(3))
    for date in BASELINE:
        fill(warehouse, date, Carts(10, 4, 4), Carts(10, 5, 3, device="desktop"), night)
    fill(warehouse, TODAY, Carts(10, 0, 9), Carts(10, 5, 5, device="desktop"), night)

    (split,) = [
        each
        for each in read_session_splits(warehouse, RULE, [TODAY], BASELINE, zone=ZONE, hours={TODAY: HOURS})
        if each.dimension == "device_category"
    ]
    # Carts of 10:00 to 13:00, bought by 13:00 or not: of the usual ten on mobile four, of today's none.
    assert split.names == ["desktop", "mobile"]
    assert list(split.n[:2]) == [10, 10] and list(split.y[:2]) == [5, 10]
    assert list(split.n_before[:2]) == [280, 280] and list(split.y_before[:2]) == [140, 168]


def test_a_release_that_broke_is_named_before_the_device_it_runs_on(warehouse: duckdb.DuckDBPyConnection) -> None:
    for date in BASELINE:
        fill(warehouse, date, Carts(30, 15), Carts(10, 5, release="4.2"), Carts(40, 20, device="desktop", release=None))
    fill(warehouse, TODAY, Carts(60, 30), Carts(60, 0, release="4.2"), Carts(80, 40, device="desktop", release=None))

    first = find(warehouse).drivers[0]
    assert (first.dimension, first.value, first.is_significant) == ("release", "4.2", True)
    assert (first.observed, first.expected) == (1.0, pytest.approx(0.5))
    assert first.excess == pytest.approx(30)
    # asked of mobile alone, it is the same release
    (first, *_) = find(warehouse, ("device_category", "mobile")).drivers
    assert (first.dimension, first.value, first.is_significant) == ("release", "4.2", True)


def test_a_version_of_a_browser_on_one_device_is_named(warehouse: duckdb.DuckDBPyConnection) -> None:
    usual = [
        Carts(20, 10, version="17"),
        Carts(20, 10, version="18"),
        Carts(20, 10, version="18", device="desktop"),
        Carts(20, 10, version="140", browser="Chrome", device="desktop"),
    ]
    for date in BASELINE:
        fill(warehouse, date, *usual)
    fill(warehouse, TODAY, *usual[::2], *usual[3:], Carts(60, 1, version="18"))

    first = find(warehouse).drivers[0]
    assert (first.dimension, first.value, first.is_significant) == ("browser_version", "Safari 18, mobile", True)


def test_when_all_alike_fell_nothing_is_named(warehouse: duckdb.DuckDBPyConnection) -> None:
    kinds = [
        Carts(25, 12, device=device, release=release) for device in ("mobile", "desktop") for release in ("1", "2")
    ]
    for date in BASELINE:
        fill(warehouse, date, *kinds)
    fill(warehouse, TODAY, *(Carts(25, 1, device=each.device, release=each.release) for each in kinds))
    assert not any(driver.is_significant for driver in find(warehouse).drivers)


def test_whole_days_and_hours_of_two_days_are_each_held_against_their_like(
    warehouse: duckdb.DuckDBPyConnection,
) -> None:
    yesterday = BASELINE[-1]
    for date in BASELINE[:-1]:
        fill(warehouse, date, Carts(10, 5, 2), Carts(10, 5, 2, filled=dt.time(5)), Carts(1, 0, device="desktop"))
    fill(warehouse, yesterday, Carts(10, 0, 1), Carts(1, 0, device="desktop"))
    fill(warehouse, TODAY, Carts(10, 0, 1), Carts(1, 0, device="desktop"))
    splits = read_session_splits(warehouse, RULE, [yesterday, TODAY], BASELINE[:-1], zone=ZONE, hours={TODAY: HOURS})
    mobile = next(each for each in splits if each.dimension == "device_category")
    row = mobile.names.index("mobile")
    # yesterday's whole day, 9 of 10 not bought; today none of 10 by 13:00
    assert (mobile.n[row], mobile.y[row]) == (20, 19)
    # each day once as a whole (20 carts, 6 lost) and once by its hours (10 carts, 5 not bought by 13:00)
    assert (mobile.n_before[row], mobile.y_before[row]) == (27 * 30, 27 * 11)
