"""The rows of one exported table, with what several of its columns need."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sample_shop import world
from sample_shop.arrow import Bools, load_event_schema
from sample_shop.identifiers import make_click_ids, make_order_numbers
from sample_shop.options import Calendar
from sample_shop.records import LINE_COLUMNS, NAME, Flag, Kind, line_amount

Records = NDArray[np.void]


class Rows:
    """Events and their sessions, one entry a row of the table."""

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

    def make_click_ids(self, sessions: Records) -> pa.Array:
        """The click id of each session's arrival."""
        return make_click_ids(sessions["start"] + sessions["client"], self.seed)

    def make_order_numbers(self, sessions: Records) -> pa.Array:
        """The number of each session's order, as text."""
        return pc.cast(pa.array(make_order_numbers(sessions["order"], self.seed)), pa.string())


def _widen(records: Records) -> dict[str, NDArray]:
    """The columns of compact records, whole numbers as int64, so that sums cannot overflow."""
    names = records.dtype.names or ()
    return {
        name: records[name].astype(np.int64) if records.dtype[name].kind in "iu" else records[name] for name in names
    }
