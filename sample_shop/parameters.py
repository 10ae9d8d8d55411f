"""The export's `event_params`: what each event says about its session, its page and itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sample_shop import world
from sample_shop.arrow import NOT_SET, Bools, Ints, Strings, make_list, make_struct
from sample_shop.identifiers import make_order_numbers
from sample_shop.options import MICROSECONDS
from sample_shop.records import Flag, Kind, OrderForm, line_item
from sample_shop.rows import Rows

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Parameter:
    """One key: the rows that have it, and their values in one of three types."""

    key: str
    rows: Bools
    int_: Ints | None
    double: Floats | None
    text: Ints | None  # numbers in the pool of strings


class _Parameters:
    """The parameters of a table, in the order in which its rows have them."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.strings = Strings()
        self._given: list[_Parameter] = []

    def add(
        self, key: str, rows: Bools, *, int_: Ints | None = None, double: Floats | None = None, text: Ints | None = None
    ) -> None:
        """Give rows a parameter with a value of one type; values are (n,), one for each row of the table."""
        self._given.append(_Parameter(key, rows, int_, double, text))

    def add_text(self, key: str, rows: Bools, value: str) -> None:
        """Give rows a parameter with one text."""
        self.add(key, rows, text=np.full(self.rows.count, self.strings.add([value])))

    def assemble(self) -> pa.Array:
        """The column: the parameters in their order, or backwards where the row is a reordered copy."""
        kind = self.rows.schema.field("event_params").type
        present = np.stack([parameter.rows for parameter in self._given], axis=1)
        counts = present.sum(axis=1)
        offsets = np.cumsum(counts) - counts
        total = int(counts.sum())
        place = np.cumsum(present, axis=1, dtype=np.int32) - 1
        backwards = self.rows.has(Flag.REORDERED)
        place[backwards] = counts[backwards, None] - 1 - place[backwards]
        key = np.zeros(total, dtype=np.int64)
        text = np.full(total, -1)
        int_value, is_int = np.zeros(total, dtype=np.int64), np.zeros(total, dtype=bool)
        double_value, is_double = np.zeros(total), np.zeros(total, dtype=bool)
        for number, parameter in enumerate(self._given):
            rows = parameter.rows
            position = offsets[rows] + place[rows, number]
            key[position] = number
            if parameter.int_ is not None:
                int_value[position], is_int[position] = parameter.int_[rows], True
            elif parameter.double is not None:
                double_value[position], is_double[position] = parameter.double[rows], True
            elif parameter.text is not None:
                text[position] = parameter.text[rows]
        value = make_struct(
            kind.value_type.field("value").type,
            total,
            string_value=self.strings.take(text),
            int_value=pa.array(int_value, mask=~is_int),
            double_value=pa.array(double_value, mask=~is_double),
        )
        keys = pa.array([parameter.key for parameter in self._given], pa.string())
        return make_list(kind, counts, make_struct(kind.value_type, total, key=keys.take(pa.array(key)), value=value))


def make_event_params(rows: Rows) -> pa.Array:
    """The column, one list a row."""
    parameters = _Parameters(rows)
    _add_session(parameters)
    _add_page(parameters)
    _add_campaign(parameters)
    _add_deed(parameters)
    _add_money(parameters)
    _add_order(parameters)
    _add_list(parameters)
    parameters.add_text("traffic_type", rows.session["kind"] == Kind.INTERNAL, "internal")
    parameters.add("synthetic_bundle", rows.has(Flag.SYNTHETIC), int_=np.ones(rows.count, dtype=np.int64))
    return parameters.assemble()


def _add_session(parameters: _Parameters) -> None:
    rows = parameters.rows
    named = ~rows.is_cookieless
    parameters.add("ga_session_id", named, int_=rows.session["start"] // MICROSECONDS)
    parameters.add("ga_session_number", named, int_=rows.session["number"])
    engaged = rows.has(Flag.ENGAGED).astype(np.int64)
    int_engaged = rows.session["has_int_engaged"]
    parameters.add("session_engaged", ~int_engaged, text=parameters.strings.add(["0", "1"]) + engaged)
    parameters.add("session_engaged", int_engaged, int_=engaged)
    parameters.add("engagement_time_msec", rows.events["engagement"] >= 0, int_=rows.events["engagement"])


def _add_page(parameters: _Parameters) -> None:
    rows, strings = parameters.rows, parameters.strings
    source, page = rows.session["source"], rows.events["page"]
    everywhere = np.ones(rows.count, dtype=bool)
    locations = strings.add(world.PAGE_LOCATIONS)
    landing_sessions, tagged_locations = _tag_locations(rows)
    tagged = strings.add(tagged_locations) + np.searchsorted(landing_sessions, rows.events["session"])
    has_tags = np.array([each.has_utm or each.click_id is not None for each in world.SOURCES])[source]
    on_landing = rows.has(Flag.LANDING_PAGE) & has_tags
    parameters.add("page_location", everywhere, text=np.where(on_landing, tagged, locations + page))
    parameters.add("page_title", everywhere, text=strings.add(world.PAGE_TITLES) + page)
    referrers = strings.add([each.referrer or "" for each in world.SOURCES])
    came_from_outside = rows.events["referrer"] < 0
    has_referrer = ~came_from_outside | np.array([each.referrer is not None for each in world.SOURCES])[source]
    referrer = np.where(came_from_outside, referrers + source, locations + rows.events["referrer"])
    parameters.add("page_referrer", has_referrer, text=referrer)


def _add_campaign(parameters: _Parameters) -> None:
    rows, source = parameters.rows, parameters.rows.session["source"]
    entrance = rows.has(Flag.ENTRANCE)
    parameters.add("entrances", entrance, int_=np.ones(rows.count, dtype=np.int64))
    from_campaign = entrance & (source != world.DIRECT)
    for key in ("source", "medium", "campaign", "campaign_id", "term", "content"):
        values = [getattr(each, key) for each in world.SOURCES]
        has_one = np.array([value is not None for value in values])[source]
        first = parameters.strings.add([value or "" for value in values])
        parameters.add(key, from_campaign & has_one, text=first + source)


def _add_deed(parameters: _Parameters) -> None:
    """What was searched, how far was scrolled, where a click led."""
    rows, strings = parameters.rows, parameters.strings
    terms = strings.add([term for term, _ in world.SEARCH_TERMS])
    page = rows.events["page"]
    parameters.add("search_term", rows.is_event("view_search_results"), text=terms + page - world.SEARCH_PAGE)
    parameters.add("percent_scrolled", rows.is_event("scroll"), int_=np.full(rows.count, 90))
    click = rows.is_event("click")
    link = np.where(click, rows.events["detail"], 0)
    parameters.add("link_url", click, text=strings.add([url for url, _ in world.OUTBOUND_LINKS]) + link)
    parameters.add("link_domain", click, text=strings.add([domain for _, domain in world.OUTBOUND_LINKS]) + link)
    parameters.add_text("outbound", click, "true")


def _add_money(parameters: _Parameters) -> None:
    rows = parameters.rows
    currency = parameters.strings.add(["USD", "EUR"]) + rows.pays_eur.astype(np.int64)
    parameters.add("currency", rows.has_value, text=currency)
    is_whole = rows.value == np.floor(rows.value)  # the export types a value by what it looks like
    parameters.add("value", rows.has_value & is_whole, int_=rows.value.astype(np.int64))
    parameters.add("value", rows.has_value & ~is_whole, double=rows.value)


def _add_order(parameters: _Parameters) -> None:
    rows, session, strings = parameters.rows, parameters.rows.session, parameters.strings
    form = session["order_form"]
    as_int = rows.is_order & ((form == OrderForm.INT_PARAMETER) | (form == OrderForm.ONLY_PARAMETER))
    if not rows.calendar.options.quirks.int_transaction_ids:
        as_int &= False
    texts = strings.add(rows.make_order_numbers(rows.sessions))
    not_set = strings.add([NOT_SET])
    parameters.add("transaction_id", as_int, int_=make_order_numbers(session["order"], rows.seed))
    text = np.where(form == OrderForm.NOWHERE, not_set, texts + rows.events["session"])
    parameters.add("transaction_id", rows.is_order & ~as_int, text=text)
    parameters.add_text("coupon", rows.is_purchase & (session["coupon"] > 0), world.COUPONS[1] or "")
    payment, tier = strings.add(world.PAYMENT_TYPES), strings.add(world.SHIPPING_TIERS)
    parameters.add("payment_type", rows.is_event("add_payment_info"), text=payment + session["payment"])
    parameters.add("shipping_tier", rows.is_event("add_shipping_info"), text=tier + session["shipping"])
    parameters.add("shipping", rows.is_purchase, double=rows.shipping)
    parameters.add("tax", rows.is_purchase, double=rows.tax)


def _add_list(parameters: _Parameters) -> None:
    rows = parameters.rows
    is_list = rows.is_event("view_item_list", "select_item")
    # An item's number says its category; a list's page does.
    category = np.where(
        rows.is_event("view_item_list"),
        rows.events["page"] - world.LIST_PAGE,
        line_item(np.maximum(rows.lines[:, 0], 0)) // world.ITEMS_PER_CATEGORY,
    )
    names = parameters.strings.add([row[0] for row in world.CATEGORIES])
    numbers = parameters.strings.add([f"category_{number}" for number in range(len(world.CATEGORIES))])
    parameters.add("item_list_id", is_list, text=numbers + category)
    parameters.add("item_list_name", is_list, text=names + category)


def _tag_locations(rows: Rows) -> tuple[Ints, pa.Array]:
    """The sessions that have an event on their landing page, and its location with their campaign and click id."""
    on_landing = np.flatnonzero(rows.has(Flag.LANDING_PAGE))
    landing_sessions, first = np.unique(rows.events["session"][on_landing], return_index=True)
    sessions = rows.sessions[landing_sessions]
    page = pa.array(world.PAGE_LOCATIONS, pa.string()).take(pa.array(rows.events["page"][on_landing[first]]))
    source = pa.array(sessions["source"])
    needs_id = pa.array([each.click_id is not None for each in world.SOURCES])
    ids = pc.if_else(needs_id.take(source), rows.make_click_ids(sessions), pa.scalar(""))
    tags = pa.array([_write_tags(each) for each in world.SOURCES], pa.string())
    return landing_sessions, pc.binary_join_element_wise(page, tags.take(source), ids, "")


def _write_tags(source: world.Source) -> str:
    utm = {
        "utm_source": source.source,
        "utm_medium": source.medium,
        "utm_campaign": source.campaign,
        "utm_id": source.campaign_id,
        "utm_content": source.content,
    }
    parts = [f"{key}={value}" for key, value in utm.items() if value and value != NOT_SET] if source.has_utm else []
    return "?" + "&".join([*parts, *([f"{source.click_id}="] if source.click_id else [])])
