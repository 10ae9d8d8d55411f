"""Small shops with every quirk of an export, and the ways their day files can arrive: strategies that shrink and print.

A scenario is what happened (visits, as rows of the export) and how it was delivered: portions of table files, each a
version of a day. A day may be delivered late, again with other rows, first as intraday, in two files that share rows,
empty, or never. What counts in the end is the last version of each table.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from tests.ingest.export_writer import write_ndjson, write_parquet

ZONE = "America/Los_Angeles"
# the second has 23 hours; the fourth to sixth are 29 to 31 days after the first two
DAYS = [
    dt.date(2026, 3, 7),
    dt.date(2026, 3, 8),
    dt.date(2026, 3, 9),
    dt.date(2026, 4, 5),
    dt.date(2026, 4, 6),
    dt.date(2026, 4, 7),
]
_CLOCKS = ["10:00", "11:00", "09:00", "00:01", "23:50", "03:15"]
_DEVICES = ["phone", "laptop", "tablet", "kiosk"]
_ADS_STORAGE = {"/a": "Yes", "/b": "No", "/c": None}  # what the page's banner has been told


@dataclass(frozen=True)
class Act:
    """One event of a visit."""

    name: str
    minutes_later: int = 0
    path: str = "/a"
    transaction_id: str | int | None = None
    amount: float | None = None
    engagement_msec: int | None = None
    batch: tuple[int, int, int] | None = None
    is_batch_in_params: bool = False
    is_entrance: bool = False
    is_copied: bool = False  # exported twice, once with its params in another order
    exported_days_later: int = 0  # in the table of a later day than that of its timestamp
    has_no_id: bool = False  # sent without the visit's session id, and without a page: by a server


@dataclass(frozen=True)
class Visit:
    """What one device did in a row."""

    device: str | None
    day: int
    clock: str
    session: int | None
    acts: tuple[Act, ...]
    user_id: str | None = None
    source: str = "none"
    is_internal: bool = False


@dataclass(frozen=True)
class Row:
    """One row of the export and, for people, what it is."""

    table_date: dt.date
    columns: dict[str, Any] = field(hash=False)
    label: str


@dataclass(frozen=True)
class Delivery:
    """One version of one table: which of the day's rows it has."""

    day: int
    kind: str = "daily"
    version: str = "all"
    files: int = 1

    @property
    def table(self) -> str:
        """The table's name."""
        return f"events_{'' if self.kind == 'daily' else self.kind + '_'}{DAYS[self.day]:%Y%m%d}"


@dataclass(frozen=True)
class Scenario:
    """What happened, and the portions in which it arrives; a build follows each portion."""

    visits: tuple[Visit, ...]
    portions: tuple[tuple[Delivery, ...], ...]

    def rows_of(self, delivery: Delivery) -> list[Row]:
        """The rows of one table version, copies included."""
        day = DAYS[delivery.day]
        rows = [row for visit in self.visits for row in _rows_of_visit(visit) if row.table_date == day]
        if delivery.kind == "intraday":  # which has no last click
            rows = [_without(row, "session_traffic_source_last_click") for row in rows]
        match delivery.version:
            case "none":
                return []
            case "first half":
                return rows[: (len(rows) + 1) // 2]
            case "second half":
                return rows[len(rows) // 2 :]
            case "odd rows":
                return rows[::2]
            case "corrected":  # the same events with other values beside their identity
                return [_corrected(row) for row in rows]
            case _:
                return rows

    def __repr__(self) -> str:
        lines = []
        for number, portion in enumerate(self.portions, start=1):
            lines.append(f"portion {number}, then a build:")
            for delivery in portion:
                rows = self.rows_of(delivery)
                shared = " in two files that share rows" if delivery.files == 2 else ""
                lines.append(f"  {delivery.table} ({delivery.version}{shared}), {len(rows)} rows")
                lines += [f"    {row.label}" for row in rows]
        return "\n".join(lines)


def write_delivery(export: Path, scenario: Scenario, delivery: Delivery) -> None:
    """Put one table into the export's folder, in place of its earlier version."""
    for old in export.glob(f"{delivery.table}[_.]*"):
        old.unlink()
    rows = [row.columns for row in scenario.rows_of(delivery)]
    if not rows:  # a JSON file of no bytes would be a failed transfer
        write_parquet(export / f"{delivery.table}.parquet", [])
        return
    middle = len(rows) // 2
    parts = [rows[: middle + 1], rows[middle:]] if delivery.files == 2 else [rows]
    for number, part in enumerate(parts):
        write_ndjson(export / f"{delivery.table}_{number:012}.json", part)


def _rows_of_visit(visit: Visit) -> list[Row]:
    zone = ZoneInfo(ZONE)
    start = dt.datetime.combine(DAYS[visit.day], dt.time.fromisoformat(visit.clock), tzinfo=zone).astimezone(dt.UTC)
    rows = []
    for number, act in enumerate(visit.acts):
        start += dt.timedelta(minutes=act.minutes_later)
        local = start.astimezone(zone)
        table_date = local.date() + dt.timedelta(days=act.exported_days_later)
        columns = _columns_of(visit, act, start, table_date, is_first=number == 0)
        who = f"{visit.device or 'no consent'}{f' as {visit.user_id}' if visit.user_id else ''}"
        facts = {
            "session": visit.session,
            "from": visit.source if number == 0 and visit.source != "none" else None,
            "transaction": act.transaction_id,
            "amount": act.amount,
            "engaged ms": act.engagement_msec,
            "batch": act.batch,
            "no id": act.has_no_id or None,
            "internal": visit.is_internal or None,
        }
        told = ", ".join(f"{name} {value}" for name, value in facts.items() if value is not None)
        label = f"{local:%Y-%m-%d %H:%M} {who}: {act.name} {act.path} ({told})"
        rows.append(Row(table_date, columns, label))
        if act.is_copied:
            copy = {**columns, "event_params": columns["event_params"][::-1]}
            rows.append(Row(table_date, copy, label + " again, params reversed"))
    return rows


def _columns_of(visit: Visit, act: Act, at: dt.datetime, table_date: dt.date, *, is_first: bool) -> dict[str, Any]:
    params: dict[str, Any] = {} if act.has_no_id else {"page_location": f"https://shop.example{act.path}"}
    columns: dict[str, Any] = {
        "event_date": f"{table_date:%Y%m%d}",
        "event_timestamp": str(int(at.timestamp()) * 1_000_000),
        "event_name": act.name,
        "user_pseudo_id": visit.device,
        "user_id": visit.user_id,
        "stream_id": "1",
        "platform": "WEB",
        "device": {"category": "mobile" if visit.device == "phone" else "desktop", "language": f"en-{act.path[1:]}"},
        "geo": {"country": None if act.path == "/b" else "Chile", "city": f"City of {act.path[1:]}"},
        "privacy_info": {
            "analytics_storage": "No" if visit.device is None else "Yes",
            "ads_storage": _ADS_STORAGE.get(act.path),
        },
    }
    if visit.session is not None and not act.has_no_id:
        params["ga_session_id"] = visit.session
    if act.engagement_msec is not None:
        params["engagement_time_msec"] = act.engagement_msec
    if act.is_entrance:
        params["entrances"] = 1
    if visit.is_internal:
        params["traffic_type"] = "internal"
    if act.batch is not None:
        batch = dict(zip(("batch_page_id", "batch_ordering_id", "batch_event_index"), act.batch, strict=True))
        (params if act.is_batch_in_params else columns).update(batch)
    if act.name == "purchase":
        columns["ecommerce"] = {"purchase_revenue_in_usd": act.amount}
        if isinstance(act.transaction_id, str):
            columns["ecommerce"]["transaction_id"] = act.transaction_id
        elif act.transaction_id is not None:
            params["transaction_id"] = act.transaction_id
    if act.name in ("add_payment_info", "add_shipping_info"):
        params["payment_type" if act.name == "add_payment_info" else "shipping_tier"] = act.path[1:]
    if act.name == "click":  # as ga4.yml names it, or with what is no boolean
        params["outbound"] = {"/a": "true", "/b": "false"}.get(act.path, "perhaps")
    if act.engagement_msec == 4000:
        tier = {"string_value": act.path[1:], "set_timestamp_micros": "1"}
        columns["user_properties"] = [{"key": "loyalty_tier", "value": tier}]
    if act.name == "in_app_purchase":
        columns["event_value_in_usd"] = act.amount
    if act.name == "refund":
        columns["ecommerce"] = {
            "refund_value_in_usd": act.amount,
            "transaction_id": None if act.transaction_id is None else str(act.transaction_id),
        }
    columns["items"] = _items_of(act)
    if is_first:
        _add_source(visit.source, params, columns)
    columns["event_params"] = [{"key": key, "value": _typed(value)} for key, value in params.items()]
    return columns


def _items_of(act: Act) -> list[dict[str, Any]]:
    item = {"item_id": act.path[1:], "item_name": act.path, "price_in_usd": act.amount, "quantity": "1"}
    match act.name:
        case "view_item" | "add_to_cart" | "remove_from_cart":
            return [item]
        case "purchase":
            return [item, {"item_id": "extra", "quantity": "2", "item_revenue_in_usd": act.amount}]
        case "refund" if act.path == "/b":
            return [item]
        case "view_item_list":
            return [{"item_id": name, "item_list_id": act.path, "price_in_usd": 9.99} for name in ("a", "b", "c")]
        case "select_item":
            return [{**item, "item_list_id": act.path, "promotion_id": "P1" if act.path == "/c" else None}]
        case "select_promotion":
            return [{"promotion_id": act.path}]
        case _:
            return []


def _add_source(source: str, params: dict[str, Any], columns: dict[str, Any]) -> None:
    match source:
        case "google ads":
            utms = {"manual_source": "google", "manual_medium": "cpc"}
            columns["collected_traffic_source"] = {**utms, "manual_content": "banner", "manual_campaign_id": "5"}
        case "e-mail":
            params |= {"source": "news", "medium": "email", "campaign": "spring", "term": "shoes", "campaign_id": 7}
        case "click id":
            params["page_location"] = params.get("page_location", "https://shop.example/") + "?gclid=Ab1"
        case "last click":
            campaign = {"source": "bing", "medium": "cpc", "campaign_name": "brand"}
            manual = {**campaign, "content": "ad"}
            columns["session_traffic_source_last_click"] = {
                "cross_channel_campaign": campaign,
                "manual_campaign": manual,
            }
        case "named channel" | "unknown":
            known = source == "named channel"
            campaign = (
                {"source": "google", "medium": "cpc"} if known else dict.fromkeys(("source", "medium"), "(not set)")
            )
            named = {**campaign, "default_channel_group": "Cross-network" if known else None}
            columns["session_traffic_source_last_click"] = {"cross_channel_campaign": named}
        case "referrer":
            params["page_referrer"] = "https://blog.example/post"
        case "own referrer":
            params["page_referrer"] = "https://pay.shop.example/"
        case "payment provider":
            params |= {"source": "paypal.com", "medium": "referral"}
        case "assistant":
            params["page_referrer"] = "https://chatgpt.com/"
        case "ignored referrer":
            params |= {"page_referrer": "https://pay.example/", "ignore_referrer": "true"}


def _typed(value: Any) -> dict[str, Any]:
    return {"int_value": str(value)} if isinstance(value, int) else {"string_value": value}


def _without(row: Row, column: str) -> Row:
    return Row(row.table_date, {key: value for key, value in row.columns.items() if key != column}, row.label)


def _corrected(row: Row) -> Row:
    columns = {**row.columns, "device": {"category": "tablet"}, "privacy_info": {"ads_storage": "No"}}
    columns["geo"] = {"country": "Chile", "region": "Norte"}
    if "user_properties" in columns:
        columns["user_properties"] = [{"key": "loyalty_tier", "value": {"string_value": "corrected"}}]
    if columns.get("ecommerce", {}).get("purchase_revenue_in_usd") is not None:
        columns["ecommerce"] = {**columns["ecommerce"], "purchase_revenue_in_usd": 7.25}
    return Row(row.table_date, columns, row.label + " corrected")


def _acts() -> st.SearchStrategy[Act]:
    names = ["page_view", "page_view", "add_to_cart", "purchase", "view_item", "begin_checkout", "refund", "scroll"]
    names += ["in_app_purchase", "notification_receive", "became_a_regular", "add_payment_info", "add_shipping_info"]
    names += ["add_to_cart", "remove_from_cart", "view_item_list", "select_item", "select_promotion"]
    names += ["click", "add_to_wishlist"]
    return st.builds(
        Act,
        name=st.sampled_from([*names, "session_start", "first_visit", "user_engagement"]),
        minutes_later=st.sampled_from([0, 0, 1, 12, 29, 30, 500]),
        path=st.sampled_from(["/a", "/b", "/c"]),
        transaction_id=st.sampled_from([None, "T1", "T2", 3, "(not set)", "undefined"]),
        amount=st.sampled_from([10.0, 0.1, None, 33.33]),
        engagement_msec=st.sampled_from([None, 4000, 12345]),
        batch=st.sampled_from([None, (1, 1, 1), (1, 1, 2), (1, 2, 1)]),
        is_batch_in_params=st.booleans(),
        is_entrance=st.sampled_from([False, False, False, True]),
        is_copied=st.sampled_from([False, False, False, True]),
        exported_days_later=st.sampled_from([0, 0, 0, 0, 0, 1]),
        has_no_id=st.sampled_from([False, False, False, True]),
    )


@st.composite
def _visits(draw: st.DrawFn, device: str | None) -> Visit:
    day = draw(st.integers(0, len(DAYS) - 1))
    return Visit(
        device=device,
        day=day,
        clock=draw(st.sampled_from(_CLOCKS)),
        # mostly one of its own a day; sometimes one that a loader sends for ever, or none
        session=None if device is None else draw(st.sampled_from([day + 1, day + 1, day + 1, 99, None])),
        acts=tuple(draw(st.lists(_acts(), min_size=1, max_size=4))),
        user_id=draw(st.sampled_from([None, None, None, "ann", "ben"])),
        source=draw(
            st.sampled_from(
                [
                    *("none", "google ads", "none", "e-mail", "click id", "last click", "referrer", "ignored referrer"),
                    *("named channel", "unknown", "own referrer", "payment provider", "assistant"),
                ]
            )
        ),
        is_internal=draw(st.sampled_from([False] * 15 + [True])),
    )


def _deliveries() -> st.SearchStrategy[Delivery]:
    return st.builds(
        Delivery,
        day=st.integers(0, len(DAYS) - 1),
        kind=st.sampled_from(["daily", "daily", "daily", "intraday", "fresh"]),
        version=st.sampled_from(["all", "all", "all", "odd rows", "first half", "second half", "corrected", "none"]),
        files=st.sampled_from([1, 1, 2]),
    )


@st.composite
def scenarios(draw: st.DrawFn, *, max_portions: int = 5) -> Scenario:
    """Shops of four devices and people without consent, and deliveries of their days."""
    visits = [visit for device in _DEVICES for visit in draw(st.lists(_visits(device), max_size=10))]
    visits += draw(st.lists(_visits(None), max_size=2))
    portions = draw(st.lists(st.lists(_deliveries(), min_size=1, max_size=5), min_size=2, max_size=max_portions))
    return Scenario(tuple(visits), tuple(tuple(_one_per_table(portion)) for portion in portions))


def _one_per_table(portion: Sequence[Delivery]) -> list[Delivery]:
    return list({delivery.table: delivery for delivery in portion}.values())
