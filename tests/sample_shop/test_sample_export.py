"""The export of the sample shop, read as anybody would read it: DuckDB over the day files."""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from foundation.errors import UsageError
from foundation.settings import PROJECT_DIR, Settings
from sample_shop.__main__ import main
from sample_shop.job import (
    ForeignFolderError,
    SampleBusyError,
    SampleReport,
    deliver_rewritten_day,
    lock_folder,
    write_sample_shop,
)
from sample_shop.options import SWITCHES, SampleOptions
from warehouse.ga4_schema import EVENT_COLUMNS

ZONE = "America/Los_Angeles"
END = dt.date(2026, 9, 30)
INCIDENT_DATES = {"20260921", "20260922", "20260923"}
SHORT_DATE = "20260926"
STARTS = "('session_start', 'first_visit')"


class Sample:
    """A written sample and a DuckDB connection with its rows as `raw` and `events`."""

    def __init__(self, settings: Settings, report: SampleReport, options: SampleOptions) -> None:
        self.settings, self.report, self.options = settings, report, options
        self.export = Path(report.export_dir)
        self.connection = duckdb.connect()
        self.load()

    def load(self) -> None:
        """(Re)read the files. `raw`: every row. `events`: the daily tables' valid rows of known visitors, once each."""
        run = self.connection.execute
        run(
            f"""
            create or replace table raw as
            select *, row_number() over () as row_id, regexp_extract(filename, '(events_[a-z_]*)\\d', 1) as kind
            from read_parquet('{self.export}/*.parquet', filename = true)
            """
        )
        run(f"create or replace view truth as select * from read_parquet('{self.report.truth_path}')")
        run("create or replace macro param(params, name) as list_filter(params, lambda x: x.key = name)[1].value")
        # A copy has the same parameters in any order.
        run(
            """
            create or replace table valid as
            with named as (
                select row_id, user_pseudo_id, event_timestamp, event_name, stream_id, batch_page_id,
                    batch_ordering_id, batch_event_index,
                    param(event_params, 'ga_session_id').int_value as ga_session_id,
                    list_sum(list_transform(event_params, lambda x: hash(x)::hugeint)) as params,
                    list_transform(event_params, lambda x: x.key) as keys
                from raw
                where kind = 'events_' and event_name is not null and event_timestamp is not null
                    and user_pseudo_id is not null and event_date <> '20261345'
            ),
            once as (
                select * from named
                where not list_contains(keys, 'synthetic_bundle') and not list_contains(keys, 'traffic_type')
                qualify row_number() over (
                    partition by user_pseudo_id, event_timestamp, event_name, params order by row_id) = 1
            )
            select row_id, ga_session_id, stream_id || '|' || user_pseudo_id || '|' || ga_session_id as session_id,
                row_number() over (
                    partition by user_pseudo_id, ga_session_id
                    order by event_timestamp, batch_page_id, batch_ordering_id, batch_event_index
                ) as place
            from once
            """
        )
        run("create or replace view events as select * from raw join valid using (row_id)")
        run(
            f"""
            create or replace table sessions as
            select session_id, any_value(user_pseudo_id) as user_pseudo_id, any_value(ga_session_id) as ga_session_id,
                min(event_timestamp) as started, max(event_timestamp) as ended,
                arg_min(event_date, event_timestamp) as session_date, count(distinct event_date) as dates,
                any_value(device.category) as device,
                (max(event_timestamp) - min(event_timestamp)) / 1e6 as seconds,
                count(*) as events, count(*) filter (event_name not in {STARTS}) as counted,
                bool_or(event_name = 'add_to_cart') as has_cart, bool_or(event_name = 'purchase') as has_purchase
            from events group by session_id
            """
        )

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        return self.connection.execute(sql).fetchall()

    def value(self, sql: str) -> Any:
        """The one value of a query."""
        return self.rows(sql)[0][0]


def _write(folder: Path, options: SampleOptions, zone: str = ZONE) -> Sample:
    settings = Settings(home=folder, property_timezone=zone)
    return Sample(settings, write_sample_shop(settings, options, progress=False), options)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """The default sample, what `make run` starts from, with fixed dates."""
    return _write(tmp_path_factory.mktemp("default"), SampleOptions(end_date=END))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """A sample without quirks and incidents."""
    options = SampleOptions(sessions=6_000, days=15, end_date=END).without("quirks", "incidents")
    return _write(tmp_path_factory.mktemp("plain"), options)


# ---------------------------------------------------------------------------------------------------- form


def test_every_file_has_the_exported_columns_and_types(shop: Sample) -> None:
    nulls = ", ".join(f"null::{kind} as {name}" for name, kind in EVENT_COLUMNS.items())
    wanted = shop.rows(f"describe select {nulls}")
    assert len(wanted) == 31
    for path in shop.export.iterdir():
        described = shop.rows(f"describe select * from read_parquet('{path}')")
        assert [row[:2] for row in described] == [row[:2] for row in wanted]


def test_the_folder_holds_the_day_files_and_nothing_else(shop: Sample) -> None:
    days = [END - dt.timedelta(days=back) for back in range(60)]
    wanted = {f"events_{day:%Y%m%d}.parquet" for day in days}
    wanted |= {"events_intraday_20260930.parquet", "events_intraday_20261001.parquet"}
    assert {path.name for path in shop.export.iterdir()} == wanted
    assert shop.report.files == len(wanted)
    assert shop.report.events == shop.value("select count(*) from raw")


def test_exactly_one_value_of_a_parameter_is_set(shop: Sample) -> None:
    values = "value.string_value, value.int_value, value.float_value, value.double_value"
    set_values = " + ".join(f"({each} is not null)::int" for each in values.split(", "))
    assert shop.rows(
        f"select distinct {set_values} from (select unnest(event_params, recursive := false) as p from raw) "
        "cross join lateral (select p.value as value)"
    ) == [(1,)]


@pytest.mark.parametrize("sample", ["shop", "plain"])
def test_event_dates_are_the_property_s(sample: str, request: pytest.FixtureRequest) -> None:
    chosen: Sample = request.getfixturevalue(sample)
    wrong = f"strftime(make_timestamptz(event_timestamp) at time zone '{ZONE}', '%Y%m%d') <> event_date"
    assert chosen.value(f"select count(*) from raw where {wrong} and event_date <> '20261345'") == 0
    in_wrong_file = "event_date <> regexp_extract(filename, '(\\d{8})', 1) and event_date <> '20261345'"
    assert chosen.value(f"select count(*) from raw where {in_wrong_file}") == 0


def test_dates_are_right_where_the_clock_changes(tmp_path: Path) -> None:
    options = SampleOptions(sessions=1_500, days=12, end_date=dt.date(2026, 10, 30))  # clocks go back on the 25th
    sample = _write(tmp_path, options, "Europe/Berlin")
    wrong = "strftime(make_timestamptz(event_timestamp) at time zone 'Europe/Berlin', '%Y%m%d') <> event_date"
    assert sample.value(f"select count(*) from raw where {wrong} and event_date <> '20261345'") == 0
    assert sample.value("select count(distinct event_date) from raw where kind = 'events_'") >= 12


# ------------------------------------------------------------------------------------------------ physics


def test_sessions_are_ga4_s(plain: Sample) -> None:
    """The id is the start's second; no gap of 30 minutes within a session, and always one between two."""
    assert plain.value("select count(*) from sessions where ga_session_id <> started // 1000000") == 0
    assert plain.value("select count(*) - count(distinct (user_pseudo_id, ga_session_id)) from sessions") == 0
    gaps = """
        select session_id, event_timestamp
            - lag(event_timestamp) over (partition by session_id order by event_timestamp) as gap from events
    """
    assert plain.value(f"select max(gap) / 6e7 from ({gaps})") < 30
    pauses = "select started - lag(ended) over (partition by user_pseudo_id order by started) as pause from sessions"
    assert plain.value(f"select min(pause) / 6e7 from ({pauses})") > 30
    order = "event_timestamp, batch_page_id, batch_ordering_id, batch_event_index"
    assert plain.value(f"select count(*) - count(distinct (session_id, {order})) from events") == 0
    assert plain.value("select count(*) from sessions where dates > 1") == 0
    starts = """
        select count(*) filter (event_name = 'session_start') as starts,
            count(*) filter (event_name = 'first_visit') as firsts,
            any_value(param(event_params, 'ga_session_number').int_value) as number,
            count(distinct param(event_params, 'ga_session_number').int_value) as numbers
        from events group by session_id
    """
    assert plain.value(f"select count(*) from ({starts}) where starts <> 1 or numbers <> 1") == 0
    assert plain.value(f"select count(*) from ({starts}) where (firsts = 1) <> (number = 1)") == 0


def test_session_numbers_count_up(plain: Sample) -> None:
    numbered = """
        select user_pseudo_id, session_id, min(event_timestamp) as started,
            any_value(param(event_params, 'ga_session_number').int_value) as number
        from events group by 1, 2
    """
    steps = f"select number - lag(number) over (partition by user_pseudo_id order by started) as step from ({numbered})"
    assert plain.rows(f"select distinct step from ({steps}) where step is not null") == [(1,)]


def test_the_cart_holds_what_was_put_in_and_not_taken_out(plain: Sample) -> None:
    moves = """
        select session_id, place, event_name, item.item_id, item.item_variant,
            case event_name when 'add_to_cart' then item.quantity else -item.quantity end as change
        from events, unnest(items) as t(item)
        where event_name in ('add_to_cart', 'remove_from_cart')
    """
    content = f"""
        select sum(change) over (partition by session_id, item_id, item_variant order by place) as content
        from ({moves})
    """
    assert plain.value(f"select count(*) from ({moves})") > 1_000
    assert plain.value(f"select min(content) from ({content})") >= 0
    # What the cart, the checkout and the order show is the sum of the moves so far.
    shown = """
        select e.session_id, e.place, e.event_name, sum(item.quantity) as shown
        from events as e, unnest(items) as t(item)
        where event_name in ('view_cart', 'begin_checkout', 'add_shipping_info', 'add_payment_info', 'purchase')
        group by all
    """
    summed = f"""
        select s.*,
            (select sum(change) from ({moves}) as m where m.session_id = s.session_id and m.place < s.place) as held
        from ({shown}) as s
    """
    assert plain.value(f"select count(*) from ({summed}) where held is distinct from shown") == 0
    empty = "event_name in ('view_cart', 'begin_checkout', 'purchase') and len(items) = 0"
    assert plain.value(f"select count(*) from events where {empty}") == 0


def test_nobody_buys_without_going_through_the_checkout(plain: Sample) -> None:
    funnel = ["add_to_cart", "begin_checkout", "add_shipping_info", "add_payment_info", "purchase"]
    firsts = ", ".join(f"min(place) filter (event_name = '{name}') as {name}" for name in funnel)
    plain.connection.execute(f"create or replace table funnel as select session_id, {firsts} from events group by 1")
    assert plain.value("select count(purchase) from funnel") > 200
    for before, after in itertools.pairwise(funnel):
        wrong = f"{after} is not null and ({before} is null or {before} > {after})"
        assert plain.value(f"select count(*) from funnel where {wrong}") == 0
    # No select_item but on the way to its product, no product event away from its page.
    follows = """
        select event_name, items[1].item_id as item_id,
            lead(event_name, 2) over w as after_page, lead(items[1].item_id, 2) over w as next_item
        from events window w as (partition by session_id order by place)
    """
    wrong = "event_name = 'select_item' and (after_page <> 'view_item' or next_item <> item_id)"
    assert plain.value(f"select count(*) from ({follows}) where {wrong}") == 0


def test_a_new_product_page_is_new_and_a_price_is_the_price(plain: Sample) -> None:
    prices = (
        "select item.item_id, count(distinct item.price) as prices from events, unnest(items) as t(item) group by 1"
    )
    assert plain.value(f"select max(prices) from ({prices}) where item_id is not null") == 1
    assert plain.value("select count(distinct items[1].item_id) from events where event_name = 'view_item'") > 300


def test_orders_add_up(plain: Sample) -> None:
    purchases = "from events where event_name = 'purchase'"
    assert plain.value(f"select count(*) - count(distinct ecommerce.transaction_id) {purchases}") == 0
    assert plain.value(f"select count(*) {purchases} and user_pseudo_id is null") == 0
    off = """
        abs(ecommerce.purchase_revenue - list_sum(list_transform(items, lambda x: x.item_revenue))) > 0.005
        or ecommerce.total_item_quantity <> list_sum(list_transform(items, lambda x: x.quantity))
        or abs(coalesce(param(event_params, 'value').double_value, param(event_params, 'value').int_value)
               - ecommerce.purchase_revenue) > 0.005
        or param(event_params, 'transaction_id').string_value <> ecommerce.transaction_id
    """
    assert plain.value(f"select count(*) {purchases} and ({off})") == 0


def test_money_is_in_two_currencies(shop: Sample) -> None:
    currency = "param(event_params, 'currency').string_value"
    shares = dict(shop.rows(f"select {currency}, count(*) from events where event_name = 'purchase' group by 1"))
    assert 0.08 < shares["EUR"] / sum(shares.values()) < 0.30
    rate = f"case {currency} when 'EUR' then 1.09 else 1.0 end"
    off = f"abs(ecommerce.purchase_revenue * {rate} - ecommerce.purchase_revenue_in_usd) > 0.006"
    assert shop.value(f"select count(*) from events where event_name = 'purchase' and {off}") == 0
    off = f"abs(coalesce(param(event_params, 'value').double_value, param(event_params, 'value').int_value) * {rate} - event_value_in_usd) > 0.006"  # noqa: E501
    assert shop.value(f"select count(*) from events where event_value_in_usd is not null and {off}") == 0


def test_refunds_come_later_and_never_exceed_the_order(shop: Sample) -> None:
    orders = """
        select coalesce(nullif(ecommerce.transaction_id, '(not set)'),
                param(event_params, 'transaction_id').int_value::varchar) as order_id,
            event_name, event_date, event_timestamp,
            ecommerce.purchase_revenue as revenue, ecommerce.refund_value as refund
        from events where event_name in ('purchase', 'refund')
    """
    paid = f"select order_id, min(event_date) as day, min(revenue) as revenue from ({orders}) group by 1"
    refunded = f"""
        select order_id, min(event_date) as day, sum(refund) as refund, count(*) as parts from ({orders})
        where refund is not null group by 1
    """
    both = f"from ({refunded}) as r left join ({paid}) as p using (order_id)"
    assert shop.value(f"select count(*) {both}") > 50
    assert shop.value(f"select count(*) {both} where p.order_id is null or r.day <= p.day") == 0
    assert shop.value(f"select count(*) {both} where r.refund > p.revenue + 0.005") == 0
    assert shop.value(f"select count(*) {both} where r.refund < p.revenue - 0.005") > 0
    assert shop.value(f"select max(parts) {both}") == 2


# ----------------------------------------------------------------------------------------------- the world


def test_the_shop_s_figures_are_as_designed(shop: Sample) -> None:
    sessions, conversion, carts, abandonment, events, seconds, longest, mobile = shop.rows(
        """
        select count(*), avg(has_purchase::int), avg(has_cart::int),
            1 - count(*) filter (has_cart and has_purchase) / count(*) filter (has_cart),
            avg(counted), avg(seconds), max(seconds), avg((device = 'mobile')::int)
        from sessions
        """
    )[0]
    assert 24_700 < sessions < 25_400
    assert 0.069 < conversion < 0.079
    assert 0.20 < carts < 0.25
    assert 0.64 < abandonment < 0.70
    assert 7 < events < 11
    assert 120 < seconds < 360
    assert longest > 1_800  # the tail is heavy
    assert 0.55 < mobile < 0.61


def test_visitors_come_back_and_on_other_devices(shop: Sample) -> None:
    several = "select count(*) as n from sessions group by user_pseudo_id"
    assert 0.2 < shop.value(f"select avg((n > 1)::int) from ({several})") < 0.6
    devices = """
        select user_id, count(distinct user_pseudo_id) as clients, count(distinct device.category) as kinds
        from events where user_id <> '(not set)' group by 1
    """
    assert shop.value(f"select count(*) from ({devices}) where clients = 2 and kinds = 2") > 30
    assert shop.value(f"select max(clients) from ({devices})") == 2
    # The login happens within a session for some.
    mixed = "select session_id from events group by 1 having count(user_id) not in (0, count(*))"
    assert shop.value(f"select count(*) from ({mixed})") > 50


def test_traffic_carries_its_marks(shop: Sample) -> None:
    campaigns = "collected_traffic_source.gclid is not null"
    assert shop.value(f"select count(distinct collected_traffic_source.gclid) from events where {campaigns}") > 1_000
    location = "param(event_params, 'page_location').string_value"
    tagged = f"{location} like '%utm_source=facebook&%&fbclid=%'"
    assert shop.value(f"select count(distinct {location}) from events where {tagged}") > 500
    channels = dict(
        shop.rows(
            "select session_traffic_source_last_click.cross_channel_campaign.default_channel_group, "
            "count(distinct session_id) from events group by 1"
        )
    )
    assert set(channels) == {
        "Direct", "Organic Search", "Paid Search", "Paid Shopping", "Paid Social", "Organic Social", "Email",
        "Affiliates", "Referral",
    }  # fmt: skip
    # A session's click ids and last click are the same in all its events.
    clicks = "session_traffic_source_last_click.cross_channel_campaign.campaign_name"
    assert shop.value(f"select max(n) from (select count(distinct {clicks}) as n from events group by session_id)") == 1
    # A direct session takes over the visitor's earlier click.
    direct = """
        select session_id, bool_or(collected_traffic_source is not null) as has_source,
            any_value(session_traffic_source_last_click.cross_channel_campaign.source) as source
        from events group by 1
    """
    taken = dict(shop.rows(f"select source = '(direct)', count(*) from ({direct}) where not has_source group by 1"))
    assert taken[True] > 500
    assert taken[False] > 500
    entrances = """
        select count(*) as n from events
        where event_name = 'page_view' and param(event_params, 'entrances').int_value = 1 group by session_id
    """
    assert shop.rows(f"select distinct n from ({entrances})") == [(1,)]


def test_engagement_agrees_with_its_definition(plain: Sample) -> None:
    sessions = """
        select max(param(event_params, 'session_engaged').string_value) = '1' as said,
            sum(coalesce(param(event_params, 'engagement_time_msec').int_value, 0)) >= 10000
            or count(*) filter (event_name = 'page_view') >= 2 or bool_or(event_name = 'purchase') as is_so
        from events group by session_id
    """
    assert plain.rows(f"select said = is_so, count(*) from ({sessions}) group by 1")[0][0] is True
    assert plain.value(f"select count(*) from ({sessions}) where said <> is_so") == 0
    assert plain.value(f"select count(*) from ({sessions}) where not said") > 100


# -------------------------------------------------------------------------------------------------- incidents


def _days_that_cross(sample: Sample) -> tuple[set[str], set[str]]:
    """Days on which abandonment and duration cross the alert thresholds, having 14 to 28 days before them."""
    daily = """
        select session_date, count(*) as n, sum(seconds) as seconds, count(*) filter (has_cart) as carts,
            count(*) filter (has_cart and not has_purchase) as abandoned
        from sessions group by 1
    """
    compared = f"""
        select session_date, abandoned / carts as rate, seconds / n as duration,
            sum(abandoned) over w / sum(carts) over w as usual_rate, sum(seconds) over w / sum(n) over w as usual,
            count(*) over w as days
        from ({daily}) window w as (order by session_date rows between 28 preceding and 1 preceding)
    """
    rows = sample.rows(f"select session_date, rate, duration, usual_rate, usual from ({compared}) where days >= 14")
    assert len(rows) == sample.options.days - 14
    abandoned = {row[0] for row in rows if row[1] >= 1.25 * row[3] or row[1] >= 0.85}
    return abandoned, {row[0] for row in rows if row[2] <= 0.65 * row[4] or row[2] >= 1.6 * row[4]}


def test_the_incidents_stand_out_and_nothing_else_does(shop: Sample) -> None:
    assert _days_that_cross(shop) == (INCIDENT_DATES, {SHORT_DATE})
    assert shop.report.planted["broken_mobile_checkout"] == ["2026-09-21", "2026-09-22", "2026-09-23"]
    assert shop.report.planted["short_sessions"] == ["2026-09-26"]


def test_during_the_incident_nobody_buys_on_mobile(shop: Sample) -> None:
    by_device = dict(
        shop.rows(
            f"""
            select device, count(*) filter (has_purchase) from sessions semi join truth using (session_id)
            where session_date in ({", ".join(f"'{date}'" for date in INCIDENT_DATES)}) group by 1
            """
        )
    )
    assert by_device["mobile"] == 0
    assert by_device["desktop"] > 10


def test_without_incidents_those_days_are_like_the_others(plain: Sample) -> None:
    mobile = """
        select count(*) filter (has_purchase) from sessions
        where device = 'mobile' and session_date in ('20260921', '20260922', '20260923')
    """
    assert plain.value(mobile) > 30
    usual, short = plain.rows(
        f"select avg(seconds), avg(seconds) filter (session_date = '{SHORT_DATE}') from sessions"
    )[0]
    assert short > 0.7 * usual
    assert plain.report.planted == {"broken_mobile_checkout": [], "short_sessions": [], "rewritten_day": []}


def test_each_browser_has_answered_once_whether_it_may_be_advertised_to(plain: Sample) -> None:
    answers = plain.rows(
        """
        select answer, count(*) / sum(count(*)) over () from (
            select user_pseudo_id, string_agg(distinct coalesce(privacy_info.ads_storage, 'unsaid')) as answer
            from raw where user_pseudo_id is not null group by user_pseudo_id)
        group by answer order by answer
        """
    )
    assert [answer for answer, _ in answers] == ["No", "Yes", "unsaid"]
    assert [share for _, share in answers] == pytest.approx([0.22, 0.75, 0.03], abs=0.03)


# ----------------------------------------------------------------------------------------------------- quirks

QUIRKS: dict[str, str] = {
    "duplicates": """
        select count(*) from (
            select 1 from raw where event_timestamp is not null and user_pseudo_id is not null
            group by filename, event_date, event_timestamp, user_pseudo_id, event_name, event_params
            having count(*) > 1)
    """,
    "reordered_duplicates": """
        select count(*) from (
            select 1 from raw where user_pseudo_id is not null and filename like '%2026092%'
            group by filename, event_timestamp, user_pseudo_id, event_name,
                list_sort(list_transform(event_params, lambda x: x::varchar))
            having count(distinct event_params) > 1)
    """,
    "unordered_rows": """
        select count(*) from (
            select event_timestamp < lag(event_timestamp) over (order by file_row_number) as back
            from read_parquet('{export}/events_20260929.parquet', file_row_number = true)) where back
    """,
    "unreliable_session_start": """
        select count(*) from (
            select count(*) filter (event_name = 'session_start') as starts from events group by session_id)
        where starts <> 1
    """,
    "mixed_session_engaged": "select count(*) from raw where param(event_params, 'session_engaged').int_value = 1",
    "cookieless": """
        select count(*) from raw where user_pseudo_id is null and param(event_params, 'ga_session_id') is null
            and privacy_info.analytics_storage = 'No'
    """,
    "not_set_ids": "select count(*) from raw where ecommerce.transaction_id = '(not set)' or user_id = '(not set)'",
    "int_transaction_ids": "select count(*) from raw where param(event_params, 'transaction_id').int_value is not null",
    "reloaded_orders": """
        select count(*) from (
            select 1 from events where event_name = 'purchase' and ecommerce.transaction_id <> '(not set)'
            group by ecommerce.transaction_id having count(*) > 1)
    """,
    "midnight_sessions": "select count(*) from sessions where dates > 1",
    "intraday_beside_daily": "select count(*) from raw where filename like '%events_intraday_20260930.parquet'",
    "intraday_only_day": "select count(*) from raw where filename like '%events_intraday_20261001.parquet'",
    "rewritten_day": "select count(*) from glob('{later}/*.parquet')",
    "bad_rows": """
        select count(*) from raw where event_name is null or event_timestamp is null or event_date = '20261345'
    """,
    "internal_traffic": "select count(*) from raw where param(event_params, 'traffic_type').string_value = 'internal'",
    "synthetic_rows": "select count(*) from raw where param(event_params, 'synthetic_bundle').int_value = 1",
}


@pytest.mark.parametrize("quirk", QUIRKS)
def test_each_quirk_is_there_when_on_and_gone_when_off(quirk: str, shop: Sample, plain: Sample) -> None:
    def count(sample: Sample) -> int:
        return int(sample.value(QUIRKS[quirk].format(export=sample.export, later=sample.report.later_dir)))

    assert count(shop) > 0
    assert count(plain) == 0


def test_every_quirk_is_tested() -> None:
    assert set(QUIRKS) | {"broken_mobile_checkout", "short_sessions"} == set(SWITCHES)


@pytest.mark.parametrize("quirk", QUIRKS)
def test_one_quirk_off_leaves_the_others_on(quirk: str, tmp_path: Path) -> None:
    sample = _write(tmp_path, SampleOptions(sessions=300, days=3, end_date=END).without(quirk))
    assert sample.value(QUIRKS[quirk].format(export=sample.export, later=sample.report.later_dir)) == 0
    other = "cookieless" if quirk != "cookieless" else "duplicates"
    assert sample.value(QUIRKS[other]) > 0


def test_cookieless_pages_all_look_like_a_first_visit(shop: Sample) -> None:
    views, starts, firsts = shop.rows(
        """
        select count(*) filter (event_name = 'page_view'), count(*) filter (event_name = 'session_start'),
            count(*) filter (event_name = 'first_visit')
        from (select distinct on (event_timestamp, event_name, event_params) * from raw
            where user_pseudo_id is null and kind = 'events_' and event_date <> '20261345')
        """
    )[0]
    assert views > 500
    assert abs(starts - views) <= 0.02 * views  # copies with other parameters count twice
    assert abs(firsts - views) <= 0.02 * views


def test_about_a_dozen_rows_are_bad(shop: Sample) -> None:
    reasons = shop.rows(
        """
        select count(*) filter (event_name is null), count(*) filter (event_timestamp is null),
            count(*) filter (event_date = '20261345') from raw
        """
    )[0]
    assert reasons == (4, 4, 4)


def test_a_session_across_midnight_is_in_two_files(shop: Sample) -> None:
    crossing = "select session_id from sessions where dates = 2"
    assert 10 < shop.value(f"select count(*) from ({crossing})") < 500
    files = f"select count(distinct filename) as n from events where session_id in ({crossing}) group by session_id"
    assert shop.rows(f"select distinct n from ({files})") == [(2,)]


def test_the_intraday_table_is_a_poorer_copy(shop: Sample) -> None:
    kind = "filename like '%events_intraday_20260930.parquet'"
    key = "user_pseudo_id, event_timestamp, event_name"
    unknown = f"""
        select {key} from raw where {kind} and event_name is not null and user_pseudo_id is not null
        except select {key} from raw where filename like '%events_20260930.parquet'
    """
    assert shop.value(f"select count(*) from ({unknown})") == 0
    daily = shop.value("select count(*) from raw where filename like '%events_20260930.parquet'")
    assert 0.4 * daily < shop.value(f"select count(*) from raw where {kind}") < 0.9 * daily
    filled = "count(traffic_source), count(session_traffic_source_last_click), count(user_ltv), count(is_active_user)"
    assert shop.rows(f"select {filled} from raw where kind = 'events_intraday_'") == [(0, 0, 0, 0)]
    assert min(shop.rows(f"select {filled} from raw where kind = 'events_'")[0]) > 0


def test_the_rewritten_day_is_delivered_late(tmp_path: Path) -> None:
    sample = _write(tmp_path, SampleOptions(sessions=1_500, days=4))
    day = sample.report.planted["rewritten_day"][0].replace("-", "")
    late = "select distinct session_id from truth where arrives_late"
    of_day = f"select distinct session_id from events where event_date = '{day}'"
    before = {row[0] for row in sample.rows(of_day)}
    assert sample.value(f"select count(*) from ({late})") > 20
    assert sample.value(f"select count(*) from ({of_day}) semi join ({late}) using (session_id)") == 0

    assert [path.name for path in deliver_rewritten_day(sample.settings)] == [f"events_{day}.parquet"]
    sample.load()
    after = {row[0] for row in sample.rows(of_day)}
    assert before < after
    assert {row[0] for row in sample.rows(late)} <= after
    assert deliver_rewritten_day(sample.settings)  # again: nothing changes
    sample.load()
    assert {row[0] for row in sample.rows(of_day)} == after
    assert len(list(sample.export.iterdir())) == sample.report.files


def test_late_delivery_needs_a_later_version(plain: Sample) -> None:
    with pytest.raises(UsageError, match="rewritten_day"):
        deliver_rewritten_day(plain.settings)


# ------------------------------------------------------------------------------------------------------ truth


def test_the_truth_speaks_of_the_exported_sessions(shop: Sample) -> None:
    """Labels, dates and decision points agree with what the events say."""
    shop.connection.execute(
        f"""
        create or replace table compared as
        with said as (
            select session_id, any_value(session_date) as session_date,
                bool_or(purchased) filter (decision_point = 'full') as has_purchase,
                max(case decision_point when 'full' then 0 else replace(decision_point, 'events_', '')::int end) as k
            from truth where not arrives_late and session_date <= date '2026-09-29' group by 1
        ),
        marked as (
            select session_id, event_name,
                row_number() over (partition by session_id order by place) as k
            from events where event_name not in {STARTS}
        ),
        seen as (
            select session_id,
                min(k) filter (event_name in ('add_to_cart', 'begin_checkout', 'purchase')) as first_cart,
                min(k) filter (event_name = 'purchase') as first_purchase
            from marked group by 1
        )
        select said.*, sessions.* exclude (session_id, session_date, has_purchase), seen.* exclude (session_id),
            strptime(sessions.session_date, '%Y%m%d')::date as seen_date, sessions.has_purchase as seen_purchase
        from said left join sessions using (session_id) left join seen using (session_id)
        """
    )
    assert shop.value("select count(*) from compared") > 24_000
    assert shop.value("select count(*) from compared where seen_date is distinct from session_date") == 0
    assert shop.value("select count(*) from compared where seen_purchase is distinct from has_purchase") == 0
    reached = (
        "case when counted >= 8 then 8 when counted >= 5 then 5 when counted >= 3 then 3 else least(counted, 2) end"
    )
    assert shop.value(f"select count(*) from compared where k <> {reached}") == 0
    points = """
        from truth join compared using (session_id)
        cross join lateral (select replace(decision_point, 'events_', '')::int as at_event)
        where decision_point <> 'full'
    """
    risk = "is_at_risk is distinct from (coalesce(first_cart, 999) > at_event)"
    assert shop.value(f"select count(*) {points} and {risk}") == 0
    later = "purchased is distinct from (coalesce(first_purchase, 0) > at_event)"
    assert shop.value(f"select count(*) {points} and {later}") == 0


def test_internal_and_cookieless_visitors_have_no_truth(shop: Sample) -> None:
    sessions = """
        select distinct
            stream_id || '|' || user_pseudo_id || '|' || param(event_params, 'ga_session_id').int_value as id
        from raw where param(event_params, 'traffic_type').string_value = 'internal'
    """
    assert shop.value(f"select count(*) from ({sessions})") > 20
    assert shop.value(f"select count(*) from truth where session_id in (select id from ({sessions}))") == 0
    assert shop.value("select count(*) from truth where session_id is null") == 0


# -------------------------------------------------------------------------------------------------- the writer


def _hashes(folder: Path) -> dict[str, str]:
    paths = sorted(path for path in folder.rglob("*.parquet"))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_the_same_options_make_the_same_bytes_however_many_processes(tmp_path: Path) -> None:
    options = SampleOptions(sessions=5_200, days=2, end_date=END)  # two chunks
    for name, processes in (("one", 1), ("two", 2)):
        settings = Settings(home=tmp_path / name, property_timezone=ZONE)
        write_sample_shop(settings, options, processes=processes, progress=False)
    one, two = _hashes(tmp_path / "one"), _hashes(tmp_path / "two")
    assert one == two
    assert len(one) == 5
    other = SampleOptions(sessions=300, days=2, end_date=END, seed=options.seed + 1)
    write_sample_shop(Settings(home=tmp_path / "two", property_timezone=ZONE), other, progress=False)
    assert not set(one.values()) & set(_hashes(tmp_path / "two").values())


def test_what_is_there_is_not_written_again(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    options = SampleOptions(sessions=200, days=3)
    first = write_sample_shop(settings, options, progress=False)
    stamps = {path: path.stat().st_mtime_ns for path in Path(first.export_dir).iterdir()}
    again = write_sample_shop(settings, options, progress=False)
    assert again.is_skipped
    assert "nothing to do" in again.message
    assert (again.events, again.files, again.sessions) == (first.events, first.files, first.sessions)
    assert {path: path.stat().st_mtime_ns for path in Path(first.export_dir).iterdir()} == stamps
    changed = write_sample_shop(settings, options.without("cookieless"), progress=False)
    assert not changed.is_skipped
    next(Path(first.export_dir).iterdir()).unlink()  # a file got lost: written anew
    assert not write_sample_shop(settings, options.without("cookieless"), progress=False).is_skipped
    assert not write_sample_shop(make_settings(property_timezone=ZONE), options, progress=False).is_skipped


def test_other_people_s_files_are_not_replaced(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    settings.sample_export_dir.mkdir(parents=True)
    stranger = settings.sample_export_dir / "thesis.docx"
    stranger.write_text("mine")
    with pytest.raises(ForeignFolderError, match=r"thesis\.docx"):
        write_sample_shop(settings, SampleOptions(sessions=50, days=2), progress=False)
    assert stranger.read_text() == "mine"


def test_two_writers_do_not_meet(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    root = settings.sample_export_dir.parent
    root.mkdir(parents=True)
    with lock_folder(root), pytest.raises(SampleBusyError, match="another process"):
        write_sample_shop(settings, SampleOptions(sessions=50, days=2), progress=False)


def test_a_killed_writer_leaves_nothing_half_written(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, property_timezone="UTC")
    root = settings.sample_export_dir.parent
    command = [sys.executable, "-m", "sample_shop", "--out", str(root), "--sessions", "4000", "--days", "40"]
    process = subprocess.Popen(command, cwd=PROJECT_DIR, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(root.glob(".writing-*/export/events_*.parquet")):  # in the middle of the day files
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not settings.sample_export_dir.exists()
    assert not (root / "_sample.json").exists()
    report = write_sample_shop(settings, SampleOptions(sessions=100, days=2), progress=False)
    assert not report.is_skipped
    assert sorted(path.name for path in root.iterdir()) == ["_sample.json", "export", "later", "truth"]


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUNNELHOUSE_HOME", str(tmp_path))
    arguments = ["--sessions", "120", "--days", "4", "--end-date", "2026-03-10", "--seed", "9"]
    assert main([*arguments, "--without", "intraday-only-day"]) == 0
    assert "events/s" in capsys.readouterr().out
    names = sorted(path.name for path in (tmp_path / "sample_shop" / "export").iterdir())
    assert names[0] == "events_20260307.parquet"
    assert "events_intraday_20260311.parquet" not in names
    assert main(["write", *arguments, "--without", "intraday_only_day"]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert main(["deliver-late"]) == 0
    assert "events_20260308.parquet" in capsys.readouterr().out
    assert main(["--without", "gravity"]) == 2
    assert "'gravity' is not a quirk" in capsys.readouterr().err
    assert main(["--sessions", "0"]) == 2
    assert main(["deliver-late", "--out", str(tmp_path / "nowhere")]) == 2


def test_a_pipe_gets_lines_and_no_bar(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sample_shop", "--out", str(tmp_path), "--sessions", "50", "--days", "2"]
    done = subprocess.run(command, cwd=PROJECT_DIR, capture_output=True, check=True)
    assert done.stderr == b""
    assert re.fullmatch(rb"sample_shop: \d+ sessions, [\d,]+ events in 4 day files, [^\r\n]+\n", done.stdout)


@pytest.mark.parametrize(("sessions", "days"), [(1, 1), (3, 2), (40, 20)])
def test_tiny_samples_work(sessions: int, days: int, make_settings: Callable[..., Settings]) -> None:
    report = write_sample_shop(make_settings(), SampleOptions(sessions=sessions, days=days), progress=False)
    assert report.sessions >= sessions
    assert report.files == days + 2
