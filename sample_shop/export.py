"""From compact events to the nested rows of the GA4 export, in Arrow."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sample_shop import world
from sample_shop.arrow import NOT_SET, Bools, Ints, load_event_schema, make_list, make_struct
from sample_shop.identifiers import make_user_ids, make_user_pseudo_ids, mix
from sample_shop.items import make_items
from sample_shop.lookups import list_collected, list_devices, list_first_sources, list_last_clicks, list_places
from sample_shop.options import Calendar
from sample_shop.parameters import make_event_params
from sample_shop.records import EVENT_NAMES, NAME, Flag, OrderForm, line_quantity
from sample_shop.rows import Records, Rows

Floats = NDArray[np.float64]

_DAILY_ONLY = ("user_ltv", "traffic_source", "is_active_user", "session_traffic_source_last_click", "publisher")


def make_table(calendar: Calendar, events: Records, sessions: Records, *, is_intraday: bool) -> pa.Table:
    """The export rows of `events` (their `session` being a row of `sessions`), as `load_event_schema()` says."""
    schema = load_event_schema()
    rows = Rows(calendar, events, sessions)
    columns: dict[str, pa.Array] = {
        "event_date": _event_date(rows),
        "event_timestamp": pa.array(events["timestamp"], mask=rows.has(Flag.NULL_TIMESTAMP)),
        "event_name": pa.array(EVENT_NAMES, pa.string()).take(pa.array(events["name"], mask=rows.has(Flag.NULL_NAME))),
        "event_params": make_event_params(rows),
        "event_value_in_usd": pa.array(np.round(rows.value * rows.usd_rate, 2), mask=~rows.has_value),
        "event_bundle_sequence_id": pa.array(_draw_below(1 << 31, events["page_loaded"] + events["batch"], 3)),
        "event_server_timestamp_offset": pa.array(_draw_below(900_000, events["timestamp"], 4)),
        "user_id": _user_id(rows),
        "user_pseudo_id": _user_pseudo_id(rows),
        "privacy_info": _privacy_info(rows),
        "user_properties": _user_properties(rows),
        "user_first_touch_timestamp": pa.array(rows.session["first_touch"], mask=rows.is_cookieless),
        "user_ltv": _user_ltv(rows),
        "device": list_devices().take(pa.array(rows.session["device"] * len(world.PLACES) + rows.session["place"])),
        "geo": list_places().take(pa.array(rows.session["place"])),
        "traffic_source": list_first_sources().take(pa.array(rows.session["first_source"], mask=rows.is_cookieless)),
        "stream_id": pa.repeat(world.STREAM_ID, len(events)),
        "platform": pa.repeat("WEB", len(events)),
        "event_dimensions": _event_dimensions(rows),
        "ecommerce": _ecommerce(rows),
        "items": make_items(rows),
        "collected_traffic_source": _collected_traffic_source(rows),
        "is_active_user": pa.array(rows.has(Flag.ENGAGED) | (events["name"] == NAME["first_visit"])),
        "batch_event_index": pa.array(events["index"].astype(np.int64)),
        "batch_page_id": pa.array(events["page_loaded"] // 1_000),
        "batch_ordering_id": pa.array(events["batch"].astype(np.int64)),
        "session_traffic_source_last_click": list_last_clicks().take(
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


def _draw_below(limit: int, values: Ints, salt: int) -> Ints:
    """A number from 0 to `limit` - 1 that looks random and is always the same for a value."""
    return (mix(values, salt) % np.uint64(limit)).astype(np.int64)


def _event_date(rows: Rows) -> pa.Array:
    day = rows.calendar.day_of(rows.events["timestamp"])
    first = int(day.min()) if rows.count else 0
    last = int(day.max()) if rows.count else 0
    dates = [f"{rows.calendar.date(each):%Y%m%d}" for each in range(first, last + 1)]
    number = np.where(rows.has(Flag.IMPOSSIBLE_DATE), len(dates), day - first)
    return pa.array([*dates, "20261345"], pa.string()).take(pa.array(number))


def _user_pseudo_id(rows: Rows) -> pa.Array:
    return rows.by_session(
        lambda sessions: make_user_pseudo_ids(sessions["client"], sessions["first_touch"], rows.seed),
        rows.is_cookieless,
    )


def _user_id(rows: Rows) -> pa.Array:
    known = rows.has(Flag.USER_KNOWN) & ~rows.is_cookieless
    ids = rows.by_session(lambda sessions: make_user_ids(sessions["person"], rows.seed), ~known)
    not_set = rows.session["has_user_not_set"] & ~known & ~rows.is_cookieless
    return pc.if_else(pa.array(not_set), pa.scalar(NOT_SET), ids)


def _privacy_info(rows: Rows) -> pa.Array:
    kind = rows.schema.field("privacy_info").type
    given = {"analytics_storage": "Yes", "ads_storage": "Yes", "uses_transient_token": "No"}
    denied = {"analytics_storage": "No", "ads_storage": "No", "uses_transient_token": "Yes"}
    unsaid = {"analytics_storage": "Yes", "ads_storage": None, "uses_transient_token": "No"}
    drawn = _draw_below(100, rows.session["client"], 6)  # each browser's banner is answered once
    answer = np.select(
        [rows.is_cookieless, drawn < world.ADS_DENIED_PERCENT, drawn >= 100 - world.ADS_UNSAID_PERCENT], [1, 2, 3], 0
    )
    return pa.array([given, denied, {**given, "ads_storage": "No"}, unsaid], type=kind).take(pa.array(answer))


def _user_properties(rows: Rows) -> pa.Array:
    kind = rows.schema.field("user_properties").type
    known = rows.has(Flag.USER_KNOWN) & ~rows.is_cookieless
    tier = _draw_below(len(world.LOYALTY_TIERS), rows.session["person"][known], 5)
    total = len(tier)
    value = make_struct(
        kind.value_type.field("value").type,
        total,
        string_value=pa.array(world.LOYALTY_TIERS, pa.string()).take(pa.array(tier)),
        set_timestamp_micros=pa.array(rows.session["start"][known]),
    )
    entry = make_struct(kind.value_type, total, key=pa.repeat("loyalty_tier", total), value=value)
    return make_list(kind, known.astype(np.int64), entry)


def _event_dimensions(rows: Rows) -> pa.Array:
    hostname = pa.repeat(world.HOSTNAME, rows.count)
    return make_struct(rows.schema.field("event_dimensions").type, rows.count, hostname=hostname)


def _user_ltv(rows: Rows) -> pa.Array:
    return make_struct(
        rows.schema.field("user_ltv").type,
        rows.count,
        mask=rows.is_cookieless,
        revenue=pa.array(rows.session["lifetime_usd"]),
        currency=pa.repeat("USD", rows.count),
    )


def _collected_traffic_source(rows: Rows) -> pa.Array:
    kind = rows.schema.field("collected_traffic_source").type
    source = rows.session["source"]
    carries = rows.has(Flag.ARRIVAL) & (source != world.DIRECT)
    base = list_collected().take(pa.array(source, mask=~carries))
    click_kind = np.array([each.click_id or "" for each in world.SOURCES])[source]
    children = {field.name: pc.struct_field(base, field.name) for field in kind}
    for name in ("gclid", "srsltid"):
        children[name] = rows.by_session(rows.make_click_ids, ~(carries & (click_kind == name)))
    return make_struct(kind, rows.count, mask=~carries, **children)


def _ecommerce(rows: Rows) -> pa.Array:
    kind = rows.schema.field("ecommerce").type
    quirks = rows.calendar.options.quirks
    quantity = np.where(rows.lines >= 0, line_quantity(rows.lines), 0).sum(axis=1)
    form = rows.session["order_form"]
    named = rows.is_order & (form != OrderForm.ONLY_PARAMETER) & (form != OrderForm.NOWHERE)
    order = rows.by_session(rows.make_order_numbers, ~named)
    if quirks.not_set_ids:  # the export says so on every e-commerce event that has no order
        order = pc.if_else(pa.array(named), order, pa.scalar(NOT_SET))
    revenue, refund = rows.value, rows.value

    def money(amount: Floats, where: Bools) -> pa.Array:
        return pa.array(np.round(amount, 2), mask=~where)

    return make_struct(
        kind,
        rows.count,
        mask=~rows.has_lines,
        total_item_quantity=pa.array(quantity),
        unique_items=pa.array((rows.lines >= 0).sum(axis=1)),
        purchase_revenue=money(revenue, rows.is_purchase),
        purchase_revenue_in_usd=money(revenue * rows.usd_rate, rows.is_purchase),
        refund_value=money(refund, rows.is_refund),
        refund_value_in_usd=money(refund * rows.usd_rate, rows.is_refund),
        shipping_value=money(rows.shipping, rows.is_purchase),
        shipping_value_in_usd=money(rows.shipping * rows.usd_rate, rows.is_purchase),
        tax_value=money(rows.tax, rows.is_purchase),
        tax_value_in_usd=money(rows.tax * rows.usd_rate, rows.is_purchase),
        transaction_id=order,
    )
