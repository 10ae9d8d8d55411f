"""The export's `items`: products of an event, the head of a list, or promotions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sample_shop import world
from sample_shop.arrow import Bools, Ints, make_list, make_struct
from sample_shop.records import NAME, line_item, line_quantity, line_size
from sample_shop.rows import Rows

ITEMS_IN_A_LIST = 6


@dataclass(frozen=True)
class _Entries:
    """All items of a table, one entry each (M,), in order of their rows."""

    row: Ints
    place: Ints  # 0, 1, … in its row
    is_line: Bools  # of a cart, an order or a product page
    in_list: Bools  # of a category page
    line: Ints  # packed; -1 where there is none
    amount: NDArray[np.float64]  # what the line costs
    item: Ints  # row of the catalogue, where it is a product

    @property
    def is_product(self) -> Bools:
        """The others are promotions."""
        return self.in_list | self.is_line


def make_items(rows: Rows) -> pa.Array:
    """The column, one list a row."""
    kind = rows.schema.field("items").type
    lines = (rows.lines >= 0).sum(axis=1)
    counts = np.select(
        [rows.is_event("view_item_list"), rows.is_event("view_promotion"), rows.is_event("select_promotion")],
        [ITEMS_IN_A_LIST, 2, 1],
        default=lines,
    )
    entries = _list_entries(rows, counts, lines)
    values = make_struct(
        kind.value_type,
        len(entries.row),
        **_describe_products(rows, entries),
        **_describe_sales(rows, entries),
        **_describe_lists(rows, entries),
        **_describe_promotions(rows, entries),
    )
    return make_list(kind, counts, values)


def _list_entries(rows: Rows, counts: Ints, lines: Ints) -> _Entries:
    row = np.repeat(np.arange(rows.count), counts)
    place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    # The lines of an order need not begin in the first place: a refund may be of the rest.
    line, amount = np.full(len(row), -1), np.zeros(len(row))
    is_line = (counts == lines)[row] & rows.has_lines[row]
    line[is_line] = rows.lines[rows.lines >= 0]
    amount[is_line] = rows.amounts[rows.lines >= 0]
    # Category pages show their most popular items, in three arrangements.
    category = (rows.events["page"] - world.LIST_PAGE)[row]
    shown = (place + rows.events["detail"][row] * 3) % world.ITEMS_PER_CATEGORY
    in_list = rows.is_event("view_item_list")[row]
    item = np.where(in_list, category * world.ITEMS_PER_CATEGORY + shown, line_item(line))
    return _Entries(row, place, is_line, in_list, line, amount, item)


def _describe_products(rows: Rows, entries: _Entries) -> dict[str, pa.Array]:
    is_product, catalogue = entries.is_product, world.CATALOGUE
    item = np.where(is_product, entries.item, 0)
    index = pa.array(item, mask=~is_product)
    size = np.where(entries.in_list, 2, line_size(entries.line))
    price = catalogue.price[item]
    return {
        "item_id": _pick(catalogue.item_id, index),
        "item_name": _pick(catalogue.name, index),
        "item_brand": _pick(catalogue.brand, index),
        "item_variant": _pick(list(world.SIZES), _only(is_product * size, is_product)),
        "item_category": _pick(catalogue.category, index),
        "item_category2": _pick(catalogue.department, index),
        "item_category3": _pick(catalogue.line, index),
        "price": _only(price, is_product),
        "price_in_usd": _only(np.round(price * rows.usd_rate[entries.row], 2), is_product),
    }


def _describe_sales(rows: Rows, entries: _Entries) -> dict[str, pa.Array]:
    name, amount = rows.name[entries.row], entries.amount
    in_usd = np.round(amount * rows.usd_rate[entries.row], 2)
    ordered = entries.is_line & (name == NAME["purchase"])
    refunded = entries.is_line & (name == NAME["refund"])
    with_coupon = ordered & (rows.session["coupon"][entries.row] > 0)
    return {
        "quantity": _only(line_quantity(entries.line), entries.is_line),
        "item_revenue": _only(amount, ordered),
        "item_revenue_in_usd": _only(in_usd, ordered),
        "item_refund": _only(amount, refunded),
        "item_refund_in_usd": _only(in_usd, refunded),
        "coupon": _pick([world.COUPONS[1] or ""], _only(np.zeros(len(name), dtype=np.int64), with_coupon)),
    }


def _describe_lists(rows: Rows, entries: _Entries) -> dict[str, pa.Array]:
    from_list = entries.in_list | (entries.is_line & (rows.name[entries.row] == NAME["select_item"]))
    category = pa.array(np.where(from_list, entries.item // world.ITEMS_PER_CATEGORY, 0), mask=~from_list)
    place = _only(entries.in_list * entries.place, entries.in_list)
    return {
        "item_list_id": _pick([f"category_{number}" for number in range(len(world.CATEGORIES))], category),
        "item_list_name": _pick([row[0] for row in world.CATEGORIES], category),
        "item_list_index": _pick([str(each) for each in range(ITEMS_IN_A_LIST)], place),
    }


def _describe_promotions(rows: Rows, entries: _Entries) -> dict[str, pa.Array]:
    promotion = (rows.events["detail"][entries.row] + entries.place) % len(world.PROMOTIONS)
    index = pa.array(np.where(entries.is_product, 0, promotion), mask=entries.is_product)
    columns = ("promotion_id", "promotion_name", "creative_name", "creative_slot")
    return {column: _pick([row[place] for row in world.PROMOTIONS], index) for place, column in enumerate(columns)}


def _pick(values: list[str], index: pa.Array) -> pa.Array:
    return pa.array(values, pa.string()).take(index)


def _only(values: NDArray, entries: Bools) -> pa.Array:
    return pa.array(values, mask=~entries)
