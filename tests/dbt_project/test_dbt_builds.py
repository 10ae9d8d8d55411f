"""The marts on rows small enough to check by hand, built day by day and at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.dbt_runner import build_and_publish, query, snapshot
from tests.lake_writer import make_event, remove_day, write_day
from warehouse.settings import Settings

FIRST, SECOND, THIRD = "2026-08-01", "2026-08-02", "2026-08-03"


def page(at: str, path: str, **options: object) -> dict[str, object]:
    params = {"page_location": f"https://shop.example{path}", **(options.pop("params", {}) or {})}  # type: ignore[dict-item]
    return make_event("page_view", at, params=params, **options)  # type: ignore[arg-type]


def first_day() -> list[dict[str, object]]:
    return [
        page("2026-08-01T10:00:00", "/a?utm=1"),
        make_event("add_to_cart", "2026-08-01T10:01:00"),
        make_event("begin_checkout", "2026-08-01T10:02:00"),
        make_event(
            "purchase",
            "2026-08-01T10:03:00",
            ecommerce={"transaction_id": "T1", "purchase_revenue_in_usd": 40.0},
        ),
        # another user: a cart left behind, over midnight
        page("2026-08-01T23:50:00", "/b", user="night", session=7),
        # with numbers that nothing measured: they count for nothing, and stop nothing
        make_event(
            "add_to_cart",
            "2026-08-01T23:55:00",
            user="night",
            session=7,
            params={"value": 1e15, "currency": "USD", "engagement_time_msec": 10**16},
        ),
        # no consent: an event, and nobody's session
        make_event("page_view", "2026-08-01T12:00:00", user=None, session=None),
        # no event at all
        make_event("", "2026-08-01T12:00:00"),
        # staff
        make_event("page_view", "2026-08-01T12:00:00", user="staff", params={"traffic_type": "internal"}),
    ]


def second_day() -> list[dict[str, object]]:
    return [
        page("2026-08-02T00:10:00", "/c", user="night", session=7),
        # the order page again, next day: not a second purchase
        make_event(
            "purchase",
            "2026-08-02T09:00:00",
            session=2,
            ecommerce={"transaction_id": "T1", "purchase_revenue_in_usd": 40.0},
        ),
    ]


def test_numbers_can_be_checked_by_hand(settings: Settings) -> None:
    write_day(settings, FIRST, [*first_day(), first_day()[0]])
    write_day(settings, SECOND, second_day())
    build_and_publish(settings)
    assert query(settings, "select * from ops.event_counts order by 1") == [
        # raw, quarantined, duplicate, synthetic, internal, staged, cookieless
        (query(settings, "select date '2026-08-01'")[0][0], 10, 1, 1, 0, 1, 7, 1),
        (query(settings, "select date '2026-08-02'")[0][0], 2, 0, 0, 0, 0, 2, 0),
    ]
    assert query(settings, "select reason from ops.quarantined_events") == [("missing_event_name",)]
    assert query(
        settings,
        """
        select session_id, cast(session_date as varchar), session_duration_seconds, landing_page, exit_page,
            purchases, revenue_usd, is_cart_abandoned
        from marts.fct_sessions order by session_id
        """,
    ) == [
        ("1|night|7", "2026-08-01", 1200.0, "/b", "/c", 0, 0.0, True),
        ("1|user|1", "2026-08-01", 180.0, "/a", "/a", 1, 40.0, False),
        ("1|user|2", "2026-08-02", 0.0, None, None, 0, 0.0, False),
    ]
    assert query(
        settings,
        """
        select cast(kpi_date as varchar), events, sessions, users, conversion_rate, cart_abandonment_rate,
            checkout_abandonment_rate, avg_session_duration_seconds, purchases, revenue_usd, is_provisional
        from marts.agg_kpis_daily order by 1
        """,
    ) == [
        ("2026-08-01", 7, 2, 2, 0.5, 0.5, 0.0, 690.0, 1, 40.0, False),
        ("2026-08-02", 2, 1, 1, 0.0, None, None, 0.0, 0, 0.0, False),
    ]
    # the features of the buyer see nothing from the purchase on
    assert query(
        settings,
        """
        select event_count, page_views, add_to_carts, begin_checkouts, elapsed_seconds, label_purchased
        from ml.feat_sessions where session_id = '1|user|1'
        """,
    ) == [(3, 1, 1, 1, 120.0, True)]
    assert query(
        settings,
        """
        select decision_point, is_at_risk, label_purchased, page_views
        from ml.feat_session_prefixes where session_id = '1|user|1' order by decision_point
        """,
    ) == [
        # the cart lies at 60 s, the checkout at 120 s, the purchase itself is the fourth event
        ("events_1", True, True, 1),
        ("events_2", False, True, 1),
        ("events_3", False, True, 1),
        ("seconds_120", False, True, 1),
        ("seconds_30", True, True, 1),
        ("seconds_60", False, True, 1),
    ]


def test_days_in_any_order_equal_a_full_rebuild(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    final = {
        FIRST: first_day(),
        SECOND: second_day(),
        THIRD: [
            page("2026-08-03T08:00:00", "/d", session=3),
            page("2026-08-03T08:00:20", "/e", user="app", session=None),
        ],
    }
    at_once = make_settings(home=tmp_path / "at_once")
    for date, events in final.items():
        write_day(at_once, date, events)
    build_and_publish(at_once)
    expected = snapshot(at_once)
    for number, order in enumerate([(THIRD, FIRST, SECOND), (SECOND, THIRD, FIRST)]):
        day_by_day = make_settings(home=tmp_path / f"order{number}")
        for date in order:
            write_day(day_by_day, date, final[date])
            build_and_publish(day_by_day)
        assert snapshot(day_by_day) == expected


def test_a_rewritten_day_changes_the_sessions_it_touches(settings: Settings) -> None:
    # the first version of the day lacks what happened before midnight, and has a session that is not in the second
    write_day(settings, FIRST, [page("2026-08-01T11:00:00", "/gone", user="gone", session=9)])
    write_day(settings, SECOND, second_day())
    build_and_publish(settings)
    assert query(settings, "select count(*) from marts.fct_sessions where session_id = '1|gone|9'") == [(1,)]
    assert query(
        settings, "select cast(session_date as varchar) from marts.fct_sessions where user_pseudo_id = 'night'"
    ) == [("2026-08-02",)]
    # the reloaded order page is the only purchase known so far
    assert query(settings, "select cast(purchase_date as varchar) from marts.fct_purchases") == [("2026-08-02",)]
    write_day(settings, FIRST, first_day())
    build_and_publish(settings)
    assert query(settings, "select count(*) from marts.fct_sessions where session_id = '1|gone|9'") == [(0,)]
    assert query(
        settings, "select cast(session_date as varchar) from marts.fct_sessions where user_pseudo_id = 'night'"
    ) == [("2026-08-01",)]
    assert query(settings, "select cast(purchase_date as varchar) from marts.fct_purchases") == [("2026-08-01",)]
    incremental = snapshot(settings)
    build_and_publish(settings, full_rebuild=True)
    assert snapshot(settings) == incremental


def test_a_late_day_reaches_sessions_dated_before_it(settings: Settings) -> None:
    """Late events with early timestamps, and a purchase that takes a transaction from a session dated earlier."""
    bought = {"transaction_id": "T9", "purchase_revenue_in_usd": 9.0}
    write_day(
        settings,
        FIRST,
        [
            page("2026-08-01T10:00:00", "/a", user="late", session=2),
            page("2026-08-01T10:00:00", "/a", user="loader", session=5),
        ],
    )
    # a loader with a constant session id: the session has events on the first and the third, none on the second
    write_day(
        settings, THIRD, [make_event("purchase", "2026-08-03T10:00:00", user="loader", session=5, ecommerce=bought)]
    )
    build_and_publish(settings)
    assert query(settings, "select session_id from marts.fct_sessions where has_purchase") == [("1|loader|5",)]
    write_day(
        settings,
        SECOND,
        [
            page("2026-07-31T10:00:00", "/b", user="late", session=1, date="20260802"),
            make_event("purchase", "2026-08-02T10:00:00", user="first", session=1, ecommerce=bought),
        ],
    )
    build_and_publish(settings)
    assert query(settings, "select session_id from marts.fct_sessions where has_purchase") == [("1|first|1",)]
    assert query(
        settings, "select session_id, session_number from marts.fct_sessions where user_pseudo_id = 'late' order by 1"
    ) == [("1|late|1", 1), ("1|late|2", 2)]
    incremental = snapshot(settings)
    build_and_publish(settings, full_rebuild=True)
    assert snapshot(settings) == incremental


def test_runs_of_events_without_ids_move_together(settings: Settings) -> None:
    """A late event before midnight moves the start, and so the key, of the run that goes on after it."""
    after = [page("2026-08-02T00:05:00", "/x", user="app", session=None)]
    write_day(settings, SECOND, after)
    build_and_publish(settings)
    write_day(settings, FIRST, [page("2026-08-01T23:45:00", "/w", user="app", session=None)])
    build_and_publish(settings)
    assert query(
        settings, "select cast(session_date as varchar), event_count, landing_page from marts.fct_sessions"
    ) == [("2026-08-01", 2, "/w")]
    incremental = snapshot(settings)
    build_and_publish(settings, full_rebuild=True)
    assert snapshot(settings) == incremental
    remove_day(settings, FIRST)
    build_and_publish(settings)
    assert query(
        settings, "select cast(session_date as varchar), event_count, landing_page from marts.fct_sessions"
    ) == [("2026-08-02", 1, "/x")]


def test_a_day_of_the_property_is_not_a_day_of_utc(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(property_timezone="America/Los_Angeles")
    evening = make_event(
        "purchase",
        "2026-08-02T04:30:00",  # 21:30 on the first in Los Angeles
        date="20260801",
        ecommerce={"transaction_id": "T1", "purchase_revenue_in_usd": 10.0},
    )
    write_day(settings, FIRST, [evening])
    build_and_publish(settings)
    assert query(
        settings, "select cast(session_date as varchar), hour_of_day, day_of_week from marts.fct_sessions"
    ) == [("2026-08-01", 21, 6)]
    assert query(settings, "select cast(kpi_date as varchar), purchases, revenue_usd from marts.agg_kpis_daily") == [
        ("2026-08-01", 1, 10.0)
    ]
