"""Hours, and what has come so far of what began in them, on rows that can be checked by hand."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from foundation.settings import Settings
from tests.dbt_project.recorded_builds import RecordedBuilds
from tests.dbt_runner import build_and_publish, query
from tests.lake_writer import make_event, write_day

Event = dict[str, Any]
OLD, TODAY = "2026-08-01", "2026-08-20"


def visit(
    user: str, at: str, *, cart: int | None = None, checkout: int | None = None, buys: int | None = None, **options: Any
) -> list[Event]:
    """A session from a moment (UTC) on; its steps so many minutes later."""
    start = dt.datetime.fromisoformat(at)

    def event(name: str, minutes: int, **more: Any) -> Event:
        moment = (start + dt.timedelta(minutes=minutes)).isoformat()
        return make_event(name, moment, user=user, date=at[:10].replace("-", ""), **more, **options)

    rows = [event("page_view", 0)]
    if cart is not None:
        rows.append(event("add_to_cart", cart))
    if checkout is not None:
        rows.append(event("begin_checkout", checkout))
    if buys is not None:
        ecommerce = {"transaction_id": f"T-{user}", "purchase_revenue_in_usd": 10.0}
        rows.append(event("purchase", buys, ecommerce=ecommerce))
    return rows


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = Settings(home=tmp_path_factory.mktemp("home"), property_timezone="Europe/Berlin")
    # long ago: of four who bought after a cart, one did within 5 minutes, one within 30, one within 2 hours, one in 4
    past = [
        *visit("a", f"{OLD}T08:00:00", cart=1, checkout=3, buys=5),
        *visit("b", f"{OLD}T09:00:00", cart=0, buys=30),
        *visit("c", f"{OLD}T10:00:00", cart=0, buys=120),
        *visit("d", f"{OLD}T11:00:00", cart=0, checkout=230, buys=240),
        *visit("e", f"{OLD}T12:00:00", cart=0),
    ]
    now = [
        *visit("m1", f"{TODAY}T08:10:00", cart=5, checkout=10, buys=70, device={"category": "mobile"}),
        *visit("m2", f"{TODAY}T08:20:00", cart=50, device={"category": "mobile"}),
        *visit("d1", f"{TODAY}T08:30:00", device={"category": "desktop"}),
        *visit("d2", f"{TODAY}T10:00:00", cart=0, device={"category": "desktop"}),
        make_event("page_view", f"{TODAY}T10:10:00", user=None, session=None),
        # the newest of all
        *visit("d3", f"{TODAY}T11:30:00", device={"category": "desktop"}),
    ]
    write_day(settings, OLD, past)
    write_day(settings, TODAY, now, kind="intraday")
    build_and_publish(settings)
    return settings


def test_the_completion_curve_says_when_those_buy_who_do(shop: Settings) -> None:
    found = query(
        shop,
        "select minutes, purchases_by_then, purchases, share, first_date::varchar, last_date::varchar "
        "from marts.agg_completion_curve where stage = 'cart' and minutes in (3, 5, 30, 120, 180, 240) order by 1",
    )
    assert found == [
        (3, 0, 4, 0.0, OLD, OLD),
        (5, 1, 4, 0.25, OLD, OLD),
        (30, 2, 4, 0.5, OLD, OLD),
        (120, 3, 4, 0.75, OLD, OLD),
        (180, 3, 4, 0.75, OLD, OLD),
        (240, 4, 4, 1.0, OLD, OLD),
    ]
    assert query(
        shop,
        "select minutes, share from marts.agg_completion_curve where stage = 'checkout' and minutes <= 10 order by 1",
    ) == [(1, 0.0), (2, 0.5), (3, 0.5), (5, 0.5), (7, 0.5), (10, 1.0)]
    [(low, high)] = query(
        shop, "select share_low, share_high from marts.agg_completion_curve where stage = 'cart' and minutes = 30"
    )
    assert (low, high) == pytest.approx((0.15004, 0.84996), abs=1e-5)  # Wilson, 2 of 4


def test_an_hour_has_what_began_in_it_and_what_has_come_of_it(shop: Settings) -> None:
    found = query(
        shop,
        f"""
        select strftime(hour_started_at, '%H:%M'), hour_of_day, is_over, events, sessions, carts, carts_bought,
            cart_conversion_rate, checkouts, checkouts_bought, purchases, revenue_usd
        from marts.agg_kpis_hourly where kpi_date = date '{TODAY}' and hour_of_day >= 9 order by hour_started_at
        """,
    )
    assert found == [
        ("07:00", 9, True, 0, 0, 0, 0, None, 0, 0, 0, 0.0),
        ("08:00", 10, True, 5, 3, 1, 1, 1.0, 1, 1, 0, 0.0),
        ("09:00", 11, True, 2, 0, 1, 0, 0.0, 0, 0, 1, 10.0),
        ("10:00", 12, True, 3, 1, 1, 0, 0.0, 0, 0, 0, 0.0),
        # the newest event came at half past
        ("11:00", 13, False, 1, 1, 0, 0, None, 0, 0, 0, 0.0),
    ]


def test_an_hour_says_how_mature_its_carts_are(shop: Settings) -> None:
    # 11:30 is 180, 120, 60 and 0 minutes after the middle of these hours
    assert query(
        shop,
        f"select hour_of_day, cart_maturity from marts.agg_kpis_hourly "
        f"where kpi_date = date '{TODAY}' and hour_of_day >= 10 order by 1",
    ) == [(10, 0.75), (11, 0.75), (12, 0.5), (13, 0.0)]
    assert query(shop, f"select distinct cart_maturity from marts.agg_kpis_hourly where kpi_date = date '{OLD}'") == [
        (1.0,)
    ]


def test_the_values_of_a_dimension_add_up_to_the_shop(shop: Settings) -> None:
    assert query(
        shop,
        f"""
        select dimension_value, hour_of_day, sessions, carts, carts_bought, purchases
        from marts.agg_kpis_hourly_by_dimension
        where dimension = 'device_category' and kpi_date = date '{TODAY}' order by all
        """,
    ) == [
        ("desktop", 10, 1, 0, 0, 0),
        ("desktop", 12, 1, 1, 0, 0),
        ("desktop", 13, 1, 0, 0, 0),
        ("mobile", 10, 2, 1, 1, 0),
        ("mobile", 11, 0, 1, 0, 1),
    ]
    for dimension in ("device_category", "default_channel_group"):
        assert query(
            shop,
            f"""
            select sum(sessions), sum(carts), sum(carts_bought), sum(checkouts), sum(purchases), sum(revenue_usd)
            from marts.agg_kpis_hourly_by_dimension where dimension = '{dimension}'
            """,
        ) == query(
            shop,
            "select sum(sessions), sum(carts), sum(carts_bought), sum(checkouts), sum(purchases), sum(revenue_usd) "
            "from marts.agg_kpis_hourly",
        )


def test_hours_of_a_day_add_up_to_the_day(shop: Settings) -> None:
    assert query(
        shop,
        "select kpi_date, sum(events), sum(sessions), sum(revenue_usd) from marts.agg_kpis_hourly "
        "group by kpi_date order by kpi_date",
    ) == query(shop, "select kpi_date, events, sessions, revenue_usd from marts.agg_kpis_daily order by 1")


def test_a_visitors_clock_that_is_ahead_makes_no_hours(builds: RecordedBuilds) -> None:
    builds.clear()
    ahead = make_event("page_view", "2026-08-03T12:00:00", user="ahead", date="20260801")
    write_day(builds.settings, "2026-08-01", [make_event("page_view", "2026-08-01T18:00:00", user="u"), ahead])
    builds.build(now=dt.datetime(2026, 8, 1, 20, 30, tzinfo=dt.UTC))
    assert query(builds.settings, "select max(hour_started_at)::varchar from marts.agg_kpis_hourly") == [
        ("2026-08-01 20:00:00",)
    ]


def test_what_became_of_the_carts_of_an_hour_is_counted_by_hours_later(shop: Settings) -> None:
    found = query(
        shop,
        f"""
        select dimension_value, hour(hour_started_at) as hour, hours_later, bought, not_bought
        from marts.agg_completions_hourly
        where stage = 'cart' and kpi_date = date '{TODAY}' and dimension in ('all', 'device_category')
        order by dimension, hour, hours_later, dimension_value
        """,
    )
    # m1 filled its cart at 08:05 and bought at 09:10; m2 at 09:10, and d2 at 10:00, and were gone half an hour after
    assert found == [
        ("all", 8, 1, 1, 0),
        ("all", 9, 0, 0, 1),
        ("all", 10, 0, 0, 1),
        ("mobile", 8, 1, 1, 0),
        ("mobile", 9, 0, 0, 1),
        ("desktop", 10, 0, 0, 1),
    ]
    # d bought ten minutes after the checkout that it began at 14:50 (11:00 UTC and 230 minutes)
    assert query(
        shop,
        "select hour(hour_started_at), hours_later, bought, not_bought from marts.agg_completions_hourly "
        f"where stage = 'checkout' and kpi_date = date '{OLD}' and dimension = 'all' order by 1",
    ) == [(8, 0, 1, 0), (14, 1, 1, 0)]
