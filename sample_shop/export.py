"""From compact events to the nested rows of the GA4 export, in Arrow."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sample_shop import world
from sample_shop.identifiers import (
    make_click_ids,
    make_order_numbers,
    make_user_ids,
    make_user_pseudo_ids,
    mix,
)
from sample_shop.options import MICROSECONDS, Calendar
from sample_shop.records import (
    EVENT_NAMES,
    LINE_COLUMNS,
    NAME,
    Flag,
    Kind,
    OrderForm,
    line_amount,
    line_item,
    line_quantity,
    line_size,
)
from warehouse.ga4_schema import EVENT_COLUMNS

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Records = NDArray[np.void]

NOT_SET = "(not set)"
ITEMS_IN_A_LIST = 6
_DAILY_ONLY = ("user_ltv", "traffic_source", "is_active_user", "session_traffic_source_last_click", "publisher")


@lru_cache(maxsize=1)
def load_event_schema() -> pa.Schema:
    """The Arrow schema of the export, derived from the DuckDB types of `warehouse.ga4_schema`."""
    columns = ", ".join(f"null::{kind} as {name}" for name, kind in EVENT_COLUMNS.items())
    with duckdb.connect() as connection:
        return connection.sql(f"select {columns} limit 0").to_arrow_table().schema


def make_table(calendar: Calendar, events: Records, sessions: Records, *, is_intraday: bool) -> pa.Table:
    """The export rows of `events` (their `session` being a row of `sessions`), as `load_event_schema()` says."""
    schema = load_event_schema()
    rows = _Rows(calendar, events, sessions)
    columns: dict[str, pa.Array] = {
        "event_date": rows.event_date(),
        "event_timestamp": pa.array(events["timestamp"], mask=rows.has(Flag.NULL_TIMESTAMP)),
        "event_name": pa.array(EVENT_NAMES, pa.string()).take(pa.array(events["name"], mask=rows.has(Flag.NULL_NAME))),
        "event_params": rows.event_params(),
        "event_value_in_usd": pa.array(np.round(rows.value * rows.usd_rate, 2), mask=~rows.has_value),
        "event_bundle_sequence_id": pa.array(_draw_below(1 << 31, events["page_loaded"] + events["batch"], 3)),
        "event_server_timestamp_offset": pa.array(_draw_below(900_000, events["timestamp"], 4)),
        "user_id": rows.user_id(),
        "user_pseudo_id": rows.user_pseudo_id(),
        "privacy_info": rows.privacy_info(),
        "user_properties": rows.user_properties(),
        "user_first_touch_timestamp": pa.array(rows.session["first_touch"], mask=rows.is_cookieless),
        "user_ltv": rows.user_ltv(),
        "device": _devices().take(pa.array(rows.session["device"] * len(world.PLACES) + rows.session["place"])),
        "geo": _places().take(pa.array(rows.session["place"])),
        "traffic_source": _first_sources().take(pa.array(rows.session["first_source"], mask=rows.is_cookieless)),
        "stream_id": pa.repeat(world.STREAM_ID, len(events)),
        "platform": pa.repeat("WEB", len(events)),
        "event_dimensions": rows.event_dimensions(),
        "ecommerce": rows.ecommerce(),
        "items": rows.items(),
        "collected_traffic_source": rows.collected_traffic_source(),
        "is_active_user": pa.array(rows.has(Flag.ENGAGED) | (events["name"] == NAME["first_visit"])),
        "batch_event_index": pa.array(events["index"].astype(np.int64)),
        "batch_page_id": pa.array(events["page_loaded"] // 1_000),
        "batch_ordering_id": pa.array(events["batch"].astype(np.int64)),
        "session_traffic_source_last_click": _last_clicks().take(
            pa.array(rows.session["click_source"], mask=rows.is_cookieless)
        ),
    }
    return pa.Table.from_arrays(
        [
            pa.nulls(len(events), field.type)
            if field.name not in columns or (is_intraday and field.name in _DAILY_ONLY)
            else columns[field.name].cast(field.type)
            for field in schema
        ],
        schema=schema,
    )


def _struct(kind: pa.StructType, length: int, mask: Bools | None = None, **children: pa.Array) -> pa.StructArray:
    """A struct array of type `kind`; children not given are null; `mask` is true where the struct itself is null."""
    arrays = [
        children[field.name].cast(field.type) if field.name in children else pa.nulls(length, field.type)
        for field in kind
    ]
    return pa.StructArray.from_arrays(
        arrays, fields=list(kind), mask=None if mask is None else pa.array(np.ascontiguousarray(mask))
    )


def _list(kind: pa.ListType, counts: Ints, values: pa.Array) -> pa.ListArray:
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values, type=kind)


# ----------------------------------------------------------------------------- structs that only a few values fill


@lru_cache(maxsize=1)
def _devices() -> pa.Array:
    """Row device * number of places + place: the language comes with the place."""
    return pa.array(
        [
            {
                "category": device.category,
                "mobile_brand_name": device.brand,
                "mobile_model_name": device.model,
                "mobile_marketing_name": device.marketing_name,
                "operating_system": device.operating_system,
                "operating_system_version": device.os_version,
                "language": place[5],
                "is_limited_ad_tracking": "No",
                "web_info": {
                    "browser": device.browser,
                    "browser_version": device.browser_version,
                    "hostname": world.HOSTNAME,
                },
            }
            for device in world.DEVICES
            for place in world.PLACES
        ],
        type=load_event_schema().field("device").type,
    )


@lru_cache(maxsize=1)
def _places() -> pa.Array:
    return pa.array(
        [
            {
                "continent": continent,
                "sub_continent": sub_continent,
                "country": country,
                "region": region,
                "city": city,
                "metro": NOT_SET,
            }
            for continent, sub_continent, country, region, city, *_ in world.PLACES
        ],
        type=load_event_schema().field("geo").type,
    )


@lru_cache(maxsize=1)
def _first_sources() -> pa.Array:
    return pa.array(
        [{"name": each.campaign, "medium": each.medium, "source": each.source} for each in world.SOURCES],
        type=load_event_schema().field("traffic_source").type,
    )


@lru_cache(maxsize=1)
def _last_clicks() -> pa.Array:
    rows = []
    for each in world.SOURCES:
        is_google_ads = each.click_id == "gclid"
        row: dict[str, dict[str, str | None]] = {
            "cross_channel_campaign": {
                "campaign_id": each.campaign_id or NOT_SET,
                "campaign_name": each.campaign,
                "source": each.source,
                "medium": each.medium,
                "source_platform": "Google Ads" if is_google_ads else "Manual",
                "default_channel_group": each.channel,
                "primary_channel_group": each.channel,
            },
            "manual_campaign": {
                "campaign_id": NOT_SET if is_google_ads else each.campaign_id or NOT_SET,
                "campaign_name": NOT_SET if is_google_ads else each.campaign,
                "source": NOT_SET if is_google_ads else each.source,
                "medium": NOT_SET if is_google_ads else each.medium,
                "term": NOT_SET,
                "content": each.content or NOT_SET,
                "source_platform": NOT_SET,
                "creative_format": NOT_SET,
                "marketing_tactic": NOT_SET,
            },
        }
        if is_google_ads:
            row["google_ads_campaign"] = {
                "customer_id": "5550102030",
                "account_name": world.SHOP_NAME,
                "campaign_id": each.campaign_id,
                "campaign_name": each.campaign,
                "ad_group_id": f"{each.campaign_id}01",
                "ad_group_name": f"{each.campaign}_all",
            }
        rows.append(row)
    return pa.array(rows, type=load_event_schema().field("session_traffic_source_last_click").type)


@lru_cache(maxsize=1)
def _collected() -> pa.Array:
    """By source, without click ids. Auto-tagged ads carry only their gclid; direct visits carry nothing."""
    rows = [
        {}
        if each.click_id == "gclid"
        else {
            "manual_campaign_id": each.campaign_id,
            "manual_campaign_name": each.campaign,
            "manual_source": each.source,
            "manual_medium": each.medium,
            "manual_content": each.content,
        }
        for each in world.SOURCES
    ]
    return pa.array(rows, type=load_event_schema().field("collected_traffic_source").type)


def _draw_below(limit: int, values: Ints, salt: int) -> Ints:
    """A number from 0 to `limit` - 1 that looks random and is always the same for a value."""
    return (mix(values, salt) % np.uint64(limit)).astype(np.int64)


class _Strings:
    """A pool of strings that event parameters point into: -1 is null."""

    def __init__(self) -> None:
        self._arrays: list[pa.Array] = []
        self._length = 0

    def add(self, strings: list[str] | tuple[str, ...] | pa.Array) -> int:
        """Take strings in; the number of the first."""
        array = strings if isinstance(strings, pa.Array) else pa.array(strings, pa.string())
        first = self._length
        self._arrays.append(array)
        self._length += len(array)
        return first

    def take(self, numbers: Ints) -> pa.Array:
        """The strings of the numbers, null for -1."""
        return pa.concat_arrays(self._arrays).take(pa.array(numbers, mask=numbers < 0))


def _widen(records: Records) -> dict[str, NDArray]:
    """The columns of compact records, whole numbers as int64, so that sums cannot overflow."""
    names = records.dtype.names or ()
    return {
        name: records[name].astype(np.int64) if records.dtype[name].kind in "iu" else records[name] for name in names
    }


class _Rows:
    """The rows of one table, with what several columns need."""

    def __init__(self, calendar: Calendar, events: Records, sessions: Records) -> None:
        self.calendar = calendar
        self.seed = calendar.options.seed
        self.events = _widen(events)
        self.sessions = sessions
        self.session = _widen(sessions[events["session"]])
        self.schema = load_event_schema()
        self.count = len(events)
        self.name = self.events["name"]
        self.is_cookieless = self.session["kind"] == Kind.COOKIELESS
        self.pays_eur = world.PLACE_PAYS_EUR[self.session["place"]]
        self.usd_rate = np.where(self.pays_eur, world.EUR_TO_USD, 1.0)
        self.is_purchase, self.is_refund = self.is_event("purchase"), self.is_event("refund")
        self.is_order = self.is_purchase | self.is_refund
        # Coupons are entered at the end: they lower what is paid, not what is in the cart.
        coupon = np.where(self.is_order, self.session["coupon"], 0)
        self.lines = np.stack([self.events[column] for column in LINE_COLUMNS], axis=1)
        # Only events about products have lines to show: not a page_view of the same batch.
        self.has_lines = self.is_event(
            "select_item", "view_item", "add_to_wishlist", "add_to_cart", "remove_from_cart", "view_cart",
            "begin_checkout", "add_shipping_info", "add_payment_info", "purchase", "refund",
        ) & (self.lines >= 0).any(axis=1)  # fmt: skip
        self.lines[~self.has_lines] = -1
        self.amounts = np.stack([line_amount(self.lines[:, place], coupon) for place in range(3)], axis=1)
        self.value = np.round(self.amounts.sum(axis=1), 2)
        self.has_value = self.has_lines & ~self.is_event("select_item")
        self.shipping = np.where(
            (self.session["shipping"] == 0) & (self.value >= world.FREE_SHIPPING_FROM),
            0.0,
            world.SHIPPING_PRICE[self.session["shipping"]],
        )
        self.tax = np.round(self.value * world.TAX_RATE, 2)

    def is_event(self, *names: str) -> Bools:
        """Rows of these events."""
        return np.isin(self.name, [NAME[name] for name in names])

    def has(self, flag: Flag) -> Bools:
        """Rows with the flag."""
        return (self.events["flags"] & int(flag)) != 0

    def by_session(self, make: Callable[[Records], pa.Array], mask: Bools) -> pa.Array:
        """What `make` gives for each session, repeated for its events; null where `mask`."""
        return make(self.sessions).take(pa.array(self.events["session"], mask=mask))

    def event_date(self) -> pa.Array:
        day = self.calendar.day_of(self.events["timestamp"])
        first = int(day.min()) if self.count else 0
        last = int(day.max()) if self.count else 0
        dates = [f"{self.calendar.date(each):%Y%m%d}" for each in range(first, last + 1)]
        number = np.where(self.has(Flag.IMPOSSIBLE_DATE), len(dates), day - first)
        return pa.array([*dates, "20261345"], pa.string()).take(pa.array(number))

    def user_pseudo_id(self) -> pa.Array:
        return self.by_session(
            lambda sessions: make_user_pseudo_ids(sessions["client"], sessions["first_touch"], self.seed),
            self.is_cookieless,
        )

    def user_id(self) -> pa.Array:
        known = self.has(Flag.USER_KNOWN) & ~self.is_cookieless
        ids = self.by_session(lambda sessions: make_user_ids(sessions["person"], self.seed), ~known)
        not_set = self.session["has_user_not_set"] & ~known & ~self.is_cookieless
        return pc.if_else(pa.array(not_set), pa.scalar(NOT_SET), ids)

    def privacy_info(self) -> pa.Array:
        kind = self.schema.field("privacy_info").type
        given = {"analytics_storage": "Yes", "ads_storage": "Yes", "uses_transient_token": "No"}
        denied = {"analytics_storage": "No", "ads_storage": "No", "uses_transient_token": "Yes"}
        return pa.array([given, denied], type=kind).take(pa.array(self.is_cookieless.astype(np.int64)))

    def user_properties(self) -> pa.Array:
        kind = self.schema.field("user_properties").type
        known = self.has(Flag.USER_KNOWN) & ~self.is_cookieless
        tier = _draw_below(len(world.LOYALTY_TIERS), self.session["person"][known], 5)
        total = len(tier)
        value = _struct(
            kind.value_type.field("value").type,
            total,
            string_value=pa.array(world.LOYALTY_TIERS, pa.string()).take(pa.array(tier)),
            set_timestamp_micros=pa.array(self.session["start"][known]),
        )
        entry = _struct(kind.value_type, total, key=pa.repeat("loyalty_tier", total), value=value)
        return _list(kind, known.astype(np.int64), entry)

    def event_dimensions(self) -> pa.Array:
        hostname = pa.repeat(world.HOSTNAME, self.count)
        return _struct(self.schema.field("event_dimensions").type, self.count, hostname=hostname)

    def user_ltv(self) -> pa.Array:
        return _struct(
            self.schema.field("user_ltv").type,
            self.count,
            mask=self.is_cookieless,
            revenue=pa.array(self.session["lifetime_usd"]),
            currency=pa.repeat("USD", self.count),
        )

    def collected_traffic_source(self) -> pa.Array:
        kind = self.schema.field("collected_traffic_source").type
        source = self.session["source"]
        carries = self.has(Flag.ARRIVAL) & (source != world.DIRECT)
        base = _collected().take(pa.array(source, mask=~carries))
        click_kind = np.array([each.click_id or "" for each in world.SOURCES])[source]
        children = {field.name: pc.struct_field(base, field.name) for field in kind}
        for name in ("gclid", "srsltid"):
            children[name] = self.by_session(self._click_ids, ~(carries & (click_kind == name)))
        return _struct(kind, self.count, mask=~carries, **children)

    def _click_ids(self, sessions: Records) -> pa.Array:
        return make_click_ids(sessions["start"] + sessions["client"], self.seed)

    def _order_numbers(self, sessions: Records) -> pa.Array:
        return pc.cast(pa.array(make_order_numbers(sessions["order"], self.seed)), pa.string())

    def ecommerce(self) -> pa.Array:
        kind = self.schema.field("ecommerce").type
        quirks = self.calendar.options.quirks
        quantity = np.where(self.lines >= 0, line_quantity(self.lines), 0).sum(axis=1)
        form = self.session["order_form"]
        named = self.is_order & (form != OrderForm.ONLY_PARAMETER) & (form != OrderForm.NOWHERE)
        order = self.by_session(self._order_numbers, ~named)
        if quirks.not_set_ids:  # the export says so on every e-commerce event that has no order
            order = pc.if_else(pa.array(named), order, pa.scalar(NOT_SET))
        revenue, refund = self.value, self.value

        def money(amount: Floats, rows: Bools) -> pa.Array:
            return pa.array(np.round(amount, 2), mask=~rows)

        return _struct(
            kind,
            self.count,
            mask=~self.has_lines,
            total_item_quantity=pa.array(quantity),
            unique_items=pa.array((self.lines >= 0).sum(axis=1)),
            purchase_revenue=money(revenue, self.is_purchase),
            purchase_revenue_in_usd=money(revenue * self.usd_rate, self.is_purchase),
            refund_value=money(refund, self.is_refund),
            refund_value_in_usd=money(refund * self.usd_rate, self.is_refund),
            shipping_value=money(self.shipping, self.is_purchase),
            shipping_value_in_usd=money(self.shipping * self.usd_rate, self.is_purchase),
            tax_value=money(self.tax, self.is_purchase),
            tax_value_in_usd=money(self.tax * self.usd_rate, self.is_purchase),
            transaction_id=order,
        )

    def items(self) -> pa.Array:
        """Products of an event, the head of a list, or two promotions."""
        kind = self.schema.field("items").type
        is_list, is_promotions = self.is_event("view_item_list"), self.is_event("view_promotion")
        is_promotion = self.is_event("select_promotion")
        lines = (self.lines >= 0).sum(axis=1)
        counts = np.select([is_list, is_promotions, is_promotion], [ITEMS_IN_A_LIST, 2, 1], default=lines)
        row = np.repeat(np.arange(self.count), counts)
        place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        total = len(row)

        # The lines of an order need not begin in the first place: a refund may be of the rest.
        flat_lines = np.full(total, -1)
        flat_amounts = np.zeros(total)
        is_line = (counts == lines)[row] & self.has_lines[row]
        flat_lines[is_line] = self.lines[self.lines >= 0]
        flat_amounts[is_line] = self.amounts[self.lines >= 0]
        # Category pages show their most popular items, in three arrangements.
        category = (self.events["page"] - world.LIST_PAGE)[row]
        shown = (place + self.events["detail"][row] * 3) % world.ITEMS_PER_CATEGORY
        in_list = is_list[row]
        item = np.where(in_list, category * world.ITEMS_PER_CATEGORY + shown, line_item(flat_lines))
        is_item = in_list | is_line
        item_index = pa.array(np.where(is_item, item, 0), mask=~is_item)
        size = np.where(in_list, 2, line_size(flat_lines))

        name = self.name[row]
        ordered = is_line & np.isin(name, [NAME["purchase"]])
        refunded = is_line & np.isin(name, [NAME["refund"]])
        rate = self.usd_rate[row]
        price = world.CATALOGUE.price[np.where(is_item, item, 0)]
        promotion = (self.events["detail"][row] + place) % len(world.PROMOTIONS)
        promotion_index = pa.array(np.where(is_item, 0, promotion), mask=is_item)
        from_list = in_list | (is_line & (name == NAME["select_item"]))
        list_category = pa.array(np.where(from_list, item // world.ITEMS_PER_CATEGORY, 0), mask=~from_list)
        with_coupon = ordered & (self.session["coupon"][row] > 0)

        def pick(values: list[str], index: pa.Array) -> pa.Array:
            return pa.array(values, pa.string()).take(index)

        def number(values: NDArray, rows: Bools) -> pa.Array:
            return pa.array(values, mask=~rows)

        catalogue = world.CATALOGUE
        values = _struct(
            kind.value_type,
            total,
            item_id=pick(catalogue.item_id, item_index),
            item_name=pick(catalogue.name, item_index),
            item_brand=pick(catalogue.brand, item_index),
            item_variant=pick(list(world.SIZES), number(is_item * size, is_item)),
            item_category=pick(catalogue.category, item_index),
            item_category2=pick(catalogue.department, item_index),
            item_category3=pick(catalogue.line, item_index),
            price=number(price, is_item),
            price_in_usd=number(np.round(price * rate, 2), is_item),
            quantity=number(line_quantity(flat_lines), is_line),
            item_revenue=number(flat_amounts, ordered),
            item_revenue_in_usd=number(np.round(flat_amounts * rate, 2), ordered),
            item_refund=number(flat_amounts, refunded),
            item_refund_in_usd=number(np.round(flat_amounts * rate, 2), refunded),
            coupon=pick([world.COUPONS[1] or ""], number(np.zeros(total, dtype=np.int64), with_coupon)),
            item_list_id=pick([f"category_{number}" for number in range(len(world.CATEGORIES))], list_category),
            item_list_name=pick([row[0] for row in world.CATEGORIES], list_category),
            item_list_index=pick([str(each) for each in range(ITEMS_IN_A_LIST)], number(in_list * place, in_list)),
            promotion_id=pick([row[0] for row in world.PROMOTIONS], promotion_index),
            promotion_name=pick([row[1] for row in world.PROMOTIONS], promotion_index),
            creative_name=pick([row[2] for row in world.PROMOTIONS], promotion_index),
            creative_slot=pick([row[3] for row in world.PROMOTIONS], promotion_index),
        )  # fmt: skip
        return _list(kind, counts, values)

    def event_params(self) -> pa.Array:
        """The parameters of every row, in one order, or backwards where the row is a reordered copy."""
        kind = self.schema.field("event_params").type
        strings = _Strings()
        everywhere = np.ones(self.count, dtype=bool)
        named = ~self.is_cookieless
        keys: list[str] = []
        presences: list[Bools] = []
        ints: list[Ints | None] = []
        doubles: list[Floats | None] = []
        texts: list[Ints | None] = []

        def add(
            key: str, rows: Bools, *, int_: Ints | None = None, double: Floats | None = None, text: Ints | None = None
        ) -> None:
            keys.append(key)
            presences.append(rows)
            ints.append(int_)
            doubles.append(double)
            texts.append(text)

        events, session = self.events, self.session
        add("ga_session_id", named, int_=session["start"] // MICROSECONDS)
        add("ga_session_number", named, int_=session["number"])
        engaged = self.has(Flag.ENGAGED)
        int_engaged = session["has_int_engaged"]
        zero_one = strings.add(["0", "1"])
        add("session_engaged", ~int_engaged, text=zero_one + engaged.astype(np.int64))
        add("session_engaged", int_engaged, int_=engaged.astype(np.int64))
        add("engagement_time_msec", events["engagement"] >= 0, int_=events["engagement"])
        locations = strings.add(world.PAGE_LOCATIONS)
        tagged = strings.add(self._tagged_locations())
        source = session["source"]
        has_tags = np.array([each.has_utm or each.click_id is not None for each in world.SOURCES])[source]
        on_landing = self.has(Flag.LANDING_PAGE) & has_tags
        landing_page = np.searchsorted(self._landing_sessions, events["session"])
        add("page_location", everywhere, text=np.where(on_landing, tagged + landing_page, locations + events["page"]))
        titles = strings.add(world.PAGE_TITLES)
        add("page_title", everywhere, text=titles + events["page"])
        referrers = strings.add([each.referrer or "" for each in world.SOURCES])
        came_from_outside = events["referrer"] < 0
        has_referrer = ~came_from_outside | np.array([each.referrer is not None for each in world.SOURCES])[source]
        referrer = np.where(came_from_outside, referrers + source, locations + events["referrer"])
        add("page_referrer", has_referrer, text=referrer)
        entrance = self.has(Flag.ENTRANCE)
        add("entrances", entrance, int_=np.ones(self.count, dtype=np.int64))
        from_campaign = entrance & (source != world.DIRECT)
        for key in ("source", "medium", "campaign", "campaign_id", "term", "content"):
            values = [getattr(each, key) for each in world.SOURCES]
            has_one = np.array([value is not None for value in values])[source]
            add(key, from_campaign & has_one, text=strings.add([value or "" for value in values]) + source)
        terms = strings.add([term for term, _ in world.SEARCH_TERMS])
        add("search_term", self.is_event("view_search_results"), text=terms + events["page"] - world.SEARCH_PAGE)
        add("percent_scrolled", self.is_event("scroll"), int_=np.full(self.count, 90))
        click = self.is_event("click")
        link = np.where(click, events["detail"], 0)
        add("link_url", click, text=strings.add([url for url, _ in world.OUTBOUND_LINKS]) + link)
        add("link_domain", click, text=strings.add([domain for _, domain in world.OUTBOUND_LINKS]) + link)
        add("outbound", click, text=np.full(self.count, strings.add(["true"])))
        add("currency", self.has_value, text=strings.add(["USD", "EUR"]) + self.pays_eur.astype(np.int64))
        is_whole = self.value == np.floor(self.value)  # the export types a value by what it looks like
        add("value", self.has_value & is_whole, int_=self.value.astype(np.int64))
        add("value", self.has_value & ~is_whole, double=self.value)
        self._add_order_params(add, strings)
        is_list = self.is_event("view_item_list", "select_item")
        # An item's number says its category; a list's page does.
        category = np.where(
            self.is_event("view_item_list"),
            events["page"] - world.LIST_PAGE,
            line_item(np.maximum(self.lines[:, 0], 0)) // world.ITEMS_PER_CATEGORY,
        )
        names = strings.add([row[0] for row in world.CATEGORIES])
        numbers = strings.add([f"category_{number}" for number in range(len(world.CATEGORIES))])
        add("item_list_id", is_list, text=numbers + category)
        add("item_list_name", is_list, text=names + category)
        internal = session["kind"] == Kind.INTERNAL
        add("traffic_type", internal, text=np.full(self.count, strings.add(["internal"])))
        add("synthetic_bundle", self.has(Flag.SYNTHETIC), int_=np.ones(self.count, dtype=np.int64))
        return self._assemble_params(kind, strings, keys, presences, ints, doubles, texts)

    def _add_order_params(self, add: Callable[..., None], strings: _Strings) -> None:
        session = self.session
        form = session["order_form"]
        numbers = make_order_numbers(session["order"], self.seed)
        as_int = self.is_order & ((form == OrderForm.INT_PARAMETER) | (form == OrderForm.ONLY_PARAMETER))
        if not self.calendar.options.quirks.int_transaction_ids:
            as_int &= False
        texts = strings.add(self._order_numbers(self.sessions))
        not_set = strings.add([NOT_SET])
        add("transaction_id", as_int, int_=numbers)
        text = np.where(form == OrderForm.NOWHERE, not_set, texts + self.events["session"])
        add("transaction_id", self.is_order & ~as_int, text=text)
        coupon = self.is_purchase & (session["coupon"] > 0)
        add("coupon", coupon, text=np.full(self.count, strings.add([each or "" for each in world.COUPONS]) + 1))
        paying = self.is_event("add_payment_info")
        add("payment_type", paying, text=strings.add(world.PAYMENT_TYPES) + session["payment"])
        shipping = self.is_event("add_shipping_info")
        add("shipping_tier", shipping, text=strings.add(world.SHIPPING_TIERS) + session["shipping"])
        add("shipping", self.is_purchase, double=self.shipping)
        add("tax", self.is_purchase, double=self.tax)

    def _assemble_params(
        self,
        kind: pa.ListType,
        strings: _Strings,
        keys: list[str],
        presences: list[Bools],
        ints: list[Ints | None],
        doubles: list[Floats | None],
        texts: list[Ints | None],
    ) -> pa.Array:
        present = np.stack(presences, axis=1)
        counts = present.sum(axis=1)
        offsets = np.cumsum(counts) - counts
        total = int(counts.sum())
        place = np.cumsum(present, axis=1, dtype=np.int32) - 1
        backwards = self.has(Flag.REORDERED)
        place[backwards] = counts[backwards, None] - 1 - place[backwards]
        key = np.zeros(total, dtype=np.int64)
        text = np.full(total, -1)
        int_value, is_int = np.zeros(total, dtype=np.int64), np.zeros(total, dtype=bool)
        double_value, is_double = np.zeros(total), np.zeros(total, dtype=bool)
        for number in range(len(keys)):
            rows = present[:, number]
            position = offsets[rows] + place[rows, number]
            key[position] = number
            int_, double, text_ = ints[number], doubles[number], texts[number]
            if int_ is not None:
                int_value[position], is_int[position] = int_[rows], True
            elif double is not None:
                double_value[position], is_double[position] = double[rows], True
            elif text_ is not None:
                text[position] = text_[rows]
        value = _struct(
            kind.value_type.field("value").type,
            total,
            string_value=strings.take(text),
            int_value=pa.array(int_value, mask=~is_int),
            double_value=pa.array(double_value, mask=~is_double),
        )
        entry = _struct(kind.value_type, total, key=pa.array(keys, pa.string()).take(pa.array(key)), value=value)
        return _list(kind, counts, entry)

    def _tagged_locations(self) -> pa.Array:
        """The landing page's location with its campaign and click id, one per session that has an event on it."""
        on_landing = np.flatnonzero(self.has(Flag.LANDING_PAGE))
        self._landing_sessions, first = np.unique(self.events["session"][on_landing], return_index=True)
        sessions = self.sessions[self._landing_sessions]
        page = pa.array(world.PAGE_LOCATIONS, pa.string()).take(pa.array(self.events["page"][on_landing[first]]))
        source = pa.array(sessions["source"])
        tags, needs_id = [], []
        for each in world.SOURCES:
            utm = {
                "utm_source": each.source,
                "utm_medium": each.medium,
                "utm_campaign": each.campaign,
                "utm_id": each.campaign_id,
                "utm_content": each.content,
            }
            parts = (
                [f"{key}={value}" for key, value in utm.items() if value and value != NOT_SET] if each.has_utm else []
            )
            tags.append("?" + "&".join([*parts, *([f"{each.click_id}="] if each.click_id else [])]))
            needs_id.append(each.click_id is not None)
        ids = pc.if_else(pa.array(needs_id).take(source), self._click_ids(sessions), pa.scalar(""))
        return pc.binary_join_element_wise(page, pa.array(tags, pa.string()).take(source), ids, "")
