"""New and returning visitors and buyers in every table of KPIs, and what becomes of a week's new people."""

from __future__ import annotations

from typing import Any

import pytest

from foundation.settings import Settings
from tests.dbt_runner import build_and_publish, query
from tests.lake_writer import make_event, write_day

Event = dict[str, Any]

MONDAY, WEDNESDAY, NEXT_MONDAY, LATER = "2026-08-03", "2026-08-05", "2026-08-10", "2026-08-19"


def visit(user: str, at: str, number: int, *, order: str | None = None, **columns: Any) -> list[Event]:
    """A session with GA4's number, and an order of ten dollars in it."""
    options: dict[str, Any] = {"user": user, "session": number, **columns}
    page = {"page_location": "https://shop.example/", "ga_session_number": number}
    rows = [make_event("page_view", f"{at}T10:00:00", params=page, **options)]
    if order is not None:
        money = {"transaction_id": order, "purchase_revenue_in_usd": 10.0}
        rows.append(make_event("purchase", f"{at}T10:01:00", ecommerce=money, **options))
    return rows


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = Settings(home=tmp_path_factory.mktemp("home"), property_timezone="UTC")
    days = {
        # `known` had come four times before the data begins
        MONDAY: [*visit("new", MONDAY, 1), *visit("known", MONDAY, 5, order="K1"), *visit("gone", MONDAY, 1)],
        WEDNESDAY: [*visit("new", WEDNESDAY, 2, order="N1"), *visit("late", WEDNESDAY, 1, order="L1")],
        NEXT_MONDAY: [*visit("known", NEXT_MONDAY, 6, order="K2"), *visit("fresh", NEXT_MONDAY, 1)],
        LATER: [*visit("new", LATER, 3)],
    }
    for date, rows in days.items():
        write_day(settings, date, rows)
    build_and_publish(settings)
    return settings


def test_a_device_that_ga4_knew_before_the_data_begins_is_not_new(shop: Settings) -> None:
    # the query of docs/analysts.md
    assert query(
        shop,
        """
        select
            date_trunc('week', session_date)::date::varchar as week,
            count(*) filter (where is_new_user) as new_by_ga4,
            count(*) filter (where device_session_number = 1) as first_in_the_data,
            count(*) filter (where device_session_number = 1 and not is_new_user) as known_before_the_data,
            count(*) filter (where is_new_user and device_session_number > 1) as new_again
        from marts.fct_sessions
        group by week
        order by week
        """,
    ) == [(MONDAY, 3, 4, 1, 0), (NEXT_MONDAY, 1, 1, 0, 0), ("2026-08-17", 0, 0, 0, 0)]


_VISITORS = "new_users, new_user_session_rate, new_user_conversion_rate, returning_user_conversion_rate"
_BUYERS = "new_buyer_purchases, new_buyer_revenue_usd, returning_buyer_purchases, returning_buyer_revenue_usd"
_OF_DAYS = [
    (MONDAY, 2, pytest.approx(2 / 3), 0.0, 1.0, 1, 10.0, 0, 0.0),
    (WEDNESDAY, 1, 0.5, 1.0, 1.0, 2, 20.0, 0, 0.0),
    (NEXT_MONDAY, 1, 0.5, 0.0, 1.0, 0, 0.0, 1, 10.0),
    (LATER, 0, 0.0, None, 0.0, 0, 0.0, 0, 0.0),
]


def test_the_days_say_who_was_new(shop: Settings) -> None:
    columns = f"kpi_date::varchar, {_VISITORS}, {_BUYERS}"
    assert query(shop, f"select {columns} from marts.agg_kpis_daily order by 1") == _OF_DAYS
    assert (
        query(
            shop,
            f"select {columns} from marts.agg_kpis_daily_by_dimension "
            "where dimension = 'device_category' order by kpi_date",
        )
        == _OF_DAYS
    )
    # every visit was at ten
    hours = "where hour_of_day = 10 and sessions > 0 order by kpi_date"
    assert query(shop, f"select {columns} from marts.agg_sessions_hourly {hours}") == _OF_DAYS
    for table in ("agg_kpis_hourly", "agg_kpis_hourly_by_dimension"):
        of_device = "" if table == "agg_kpis_hourly" else "dimension = 'device_category' and "
        found = query(
            shop,
            f"select kpi_date::varchar, new_users, {_BUYERS} from marts.{table} "
            f"where {of_device}hour_of_day = 10 and sessions > 0 order by kpi_date",
        )
        assert found == [(row[0], row[1], *row[5:]) for row in _OF_DAYS]


def test_visitor_type_is_a_dimension(shop: Settings) -> None:
    assert query(
        shop,
        "select kpi_date::varchar, dimension_value, sessions, sessions_with_purchase, revenue_usd "
        "from marts.agg_kpis_daily_by_dimension where dimension = 'visitor_type' order by all",
    ) == [
        (MONDAY, "new", 2, 0, 0.0),
        (MONDAY, "returning", 1, 1, 10.0),
        (WEDNESDAY, "new", 1, 1, 10.0),
        (WEDNESDAY, "returning", 1, 1, 10.0),
        (NEXT_MONDAY, "new", 1, 0, 0.0),
        (NEXT_MONDAY, "returning", 1, 1, 10.0),
        (LATER, "returning", 1, 0, 0.0),
    ]


def test_a_weeks_people_are_followed(shop: Settings) -> None:
    found = query(
        shop,
        """
        select cohort_week::varchar, weeks_since, observed_days, is_provisional, cohort_users, cohort_new_users,
            active_users, buyers, purchases, revenue_usd
        from marts.agg_cohorts_weekly where dimension = 'all' order by all
        """,
    )
    assert found == [
        (MONDAY, 0, 2, False, 4, 3, 4, 3, 3, 30.0),
        (MONDAY, 1, 1, False, 4, 3, 1, 1, 1, 10.0),
        (MONDAY, 2, 1, True, 4, 3, 1, 0, 0, 0.0),
        (NEXT_MONDAY, 0, 1, False, 1, 1, 1, 0, 0, 0.0),
        (NEXT_MONDAY, 1, 1, True, 1, 1, 0, 0, 0, 0.0),
    ]
    [(low, high)] = query(
        shop,
        "select retention_rate_low, retention_rate_high from marts.agg_cohorts_weekly "
        f"where dimension = 'all' and cohort_week = '{MONDAY}' and weeks_since = 1",
    )
    assert (low, high) == pytest.approx((0.04559, 0.69936), abs=1e-5)  # Wilson, 1 of 4


def test_a_person_has_the_time_to_the_first_and_to_the_next_order(shop: Settings) -> None:
    assert query(
        shop,
        "select user_pseudo_id, has_earlier_sessions, round(days_to_first_purchase, 2), days_to_second_purchase "
        "from marts.dim_users order by 1",
    ) == [
        ("fresh", False, None, None),
        ("gone", False, None, None),
        ("known", True, 0.0, 7.0),
        ("late", False, 0.0, None),
        ("new", False, 2.0, None),
    ]


def test_an_order_before_the_first_visit_is_of_its_first_week(tmp_path: Any) -> None:
    settings = Settings(home=tmp_path / "home", property_timezone="UTC")
    order = make_event(
        "purchase",
        f"{MONDAY}T09:00:00",
        user="early",
        session=None,
        ecommerce={"transaction_id": "S1", "purchase_revenue_in_usd": 10.0},
    )
    write_day(settings, MONDAY, [order, *visit("other", MONDAY, 1)])
    write_day(settings, NEXT_MONDAY, visit("early", NEXT_MONDAY, 1))
    build_and_publish(settings)
    assert query(
        settings,
        "select cohort_week::varchar, weeks_since, cohort_users, active_users, buyers, revenue_usd "
        "from marts.agg_cohorts_weekly where dimension = 'all' and buyers > 0",
    ) == [(NEXT_MONDAY, 0, 1, 1, 1, 10.0)]
    assert query(settings, "select days_to_first_purchase from marts.dim_users where user_pseudo_id = 'early'") == [
        (0.0,)
    ]
