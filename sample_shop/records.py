"""The compact form of the shop's events and sessions, before they become the nested rows of the export."""

from __future__ import annotations

from enum import IntEnum, IntFlag

import numpy as np
from numpy.typing import NDArray

from sample_shop import world
from sample_shop.behaviour import S, Step

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Kind(IntEnum):
    """Whose session it is."""

    CLEAN = 0
    COOKIELESS = 1
    INTERNAL = 2
    AFTER_SALES = 3  # a returned order or a reloaded confirmation: no walk through the shop


class Flag(IntFlag):
    """What is special about an event."""

    LANDING_PAGE = 1  # on the session's first page, whose location carries the campaign
    ENTRANCE = 2  # the session's first page_view
    ARRIVAL = 4  # in the session's first batch: has collected_traffic_source
    ENGAGED = 8
    USER_KNOWN = 16
    REORDERED = 32
    SYNTHETIC = 64
    NULL_NAME = 128
    NULL_TIMESTAMP = 256
    IMPOSSIBLE_DATE = 512


EVENT_NAMES = (
    "page_view",
    "session_start",
    "first_visit",
    "user_engagement",
    "scroll",
    "click",
    "view_promotion",
    "select_promotion",
    "view_item_list",
    "select_item",
    "view_search_results",
    "view_item",
    "add_to_wishlist",
    "add_to_cart",
    "remove_from_cart",
    "view_cart",
    "begin_checkout",
    "add_shipping_info",
    "add_payment_info",
    "purchase",
    "refund",
)
NAME = {name: number for number, name in enumerate(EVENT_NAMES)}

# The batch of events each step fires. A purchase comes before the confirmation's page view, so that nothing seen before
# the purchase gives it away.
STEP_EVENTS: dict[Step, tuple[str, ...]] = {
    Step.HOME: ("page_view", "view_promotion"),
    Step.LIST: ("page_view", "view_item_list"),
    Step.SEARCH: ("page_view", "view_search_results"),
    Step.PRODUCT: ("page_view", "view_item"),
    Step.AGAIN: ("page_view", "view_item"),
    Step.CONTENT: ("page_view",),
    Step.CART: ("page_view", "view_cart"),
    Step.CHECKOUT: ("page_view", "begin_checkout"),
    Step.PURCHASE: ("purchase", "page_view"),
    Step.ORDERS: ("page_view",),
    Step.HOME_AFTER: ("page_view", "view_promotion"),
    Step.SELECT_PROMOTION: ("select_promotion",),
    Step.SELECT_ITEM: ("select_item",),
    Step.SCROLL_HOME: ("scroll",),
    Step.SCROLL_LIST: ("scroll",),
    Step.SCROLL_SEARCH: ("scroll",),
    Step.SCROLL_PRODUCT: ("scroll",),
    Step.SCROLL_CONTENT: ("scroll",),
    Step.WISH: ("add_to_wishlist",),
    Step.ADD: ("add_to_cart",),
    Step.REMOVE: ("remove_from_cart",),
    Step.SHIPPING: ("add_shipping_info",),
    Step.PAYMENT: ("add_payment_info",),
    Step.CLICK: ("click",),
    Step.LEAVE_BROWSING: ("user_engagement",),
    Step.LEAVE_PRODUCT: ("user_engagement",),
    Step.LEAVE_CART: ("user_engagement",),
    Step.LEAVE_AFTER: ("user_engagement",),
}
EVENTS_IN_STEP = np.array([len(STEP_EVENTS[Step(step)]) for step in range(S)])
FIRST_EVENT = np.array([NAME[STEP_EVENTS[Step(step)][0]] for step in range(S)])
SECOND_EVENT = np.array([NAME[STEP_EVENTS[Step(step)][-1]] for step in range(S)])

EVENT_DTYPE = np.dtype(
    [
        ("session", "i4"),  # row of the sessions beside it
        ("timestamp", "i8"),  # UTC microseconds
        ("name", "u1"),
        ("flags", "u2"),
        ("page", "i2"),  # row of world.PAGE_LOCATIONS
        ("referrer", "i2"),  # row of world.PAGE_LOCATIONS; -1 for the page the session came from
        ("page_loaded", "i8"),  # UTC microseconds
        ("batch", "i2"),  # 1, 2, … on the page
        ("index", "i2"),  # 1, 2, … in the batch
        ("engagement", "i4"),  # milliseconds; -1 for none
        ("detail", "i2"),  # promotion, first place of the list or outbound link shown
        ("line_0", "i4"),  # see pack_line; -1 for none
        ("line_1", "i4"),
        ("line_2", "i4"),
    ]
)
LINE_COLUMNS = ("line_0", "line_1", "line_2")

SESSION_DTYPE = np.dtype(
    [
        ("client", "i8"),  # number of the browser, unique in the sample
        ("person", "i8"),
        ("start", "i8"),  # UTC microseconds
        ("number", "i4"),  # ga_session_number
        ("kind", "u1"),
        ("device", "i2"),
        ("place", "i2"),
        ("source", "i2"),  # where this visit came from
        ("click_source", "i2"),  # last non-direct click within 30 days
        ("first_source", "i2"),  # of the client's first visit
        ("first_touch", "i8"),  # UTC microseconds
        ("lifetime_usd", "f8"),  # of the client's orders in earlier sessions
        ("order", "i8"),  # number of the order placed, returned or reloaded
        ("order_form", "u1"),
        ("coupon", "u1"),
        ("shipping", "u1"),
        ("payment", "u1"),
        ("has_int_engaged", "?"),
        ("has_user_not_set", "?"),
        ("arrives_late", "?"),
    ]
)


class OrderForm(IntEnum):
    """Where an order's number stands in its events."""

    PLAIN = 0
    INT_PARAMETER = 1  # the parameter is an integer
    ONLY_PARAMETER = 2  # the column says "(not set)"
    NOWHERE = 3  # column and parameter say "(not set)"


def pack_line(item: Ints, size: Ints, quantity: Ints) -> Ints:
    """One order line as one number."""
    return item * 64 + size * 8 + quantity


def line_item(line: Ints) -> Ints:
    """Row of the catalogue."""
    return line // 64


def line_size(line: Ints) -> Ints:
    """Row of world.SIZES."""
    return line // 8 % 8


def line_quantity(line: Ints) -> Ints:
    """Pieces."""
    return line % 8


def line_amount(line: Ints, coupon: Ints) -> Floats:
    """What the line costs after the coupon, in the session's currency, two decimals; 0 for no line (-1)."""
    price = world.CATALOGUE.price[np.maximum(line_item(line), 0)]
    return np.where(line < 0, 0.0, np.round(price * line_quantity(line) * (1 - world.COUPON_DISCOUNT[coupon]), 2))
