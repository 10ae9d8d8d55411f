"""A valid day of the export that uses every column, from which the fuzz of the loader mutates its files."""

from __future__ import annotations

import copy
import datetime as dt
import json
from pathlib import Path
from typing import Any

import duckdb

from warehouse.ga4_schema import EVENT_COLUMNS

SESSIONS = 4
_FUNNEL = ("session_start", "page_view", "view_item", "add_to_cart", "begin_checkout", "purchase")

_SAME_IN_ALL: dict[str, Any] = {
    "privacy_info": {"analytics_storage": "Yes", "ads_storage": "No", "uses_transient_token": "No"},
    "user_ltv": {"revenue": 1.25, "currency": "USD"},
    "device": {
        "category": "mobile",
        "operating_system": "Android",
        "time_zone_offset_seconds": "3600",
        "web_info": {"browser": "Chrome", "hostname": "shop.example"},
    },
    "geo": {"city": "Ghent", "country": "Belgium"},
    "app_info": {"id": "app"},
    "traffic_source": {"name": "(direct)", "medium": "(none)", "source": "(direct)"},
    "stream_id": "123",
    "platform": "WEB",
    "event_dimensions": {"hostname": "shop.example"},
    "collected_traffic_source": {"manual_source": "news", "manual_medium": "email"},
    "is_active_user": True,
    "session_traffic_source_last_click": {
        "manual_campaign": {"source": "news", "medium": "email", "campaign_name": "autumn"},
        "cross_channel_campaign": {"source": "news", "primary_channel_group": "Email"},
    },
    "publisher": {"ad_revenue_in_usd": 0.5},
}


def make_day(date: dt.date) -> list[dict[str, Any]]:
    """Four visits of one day, as BigQuery writes them to JSON."""
    noon = int(dt.datetime(date.year, date.month, date.day, 12, tzinfo=dt.UTC).timestamp())
    return [
        _make_event(date, noon + 300 * visit, visit, step, name)
        for visit in range(SESSIONS)
        for step, name in enumerate(_FUNNEL[: 3 + visit])
    ]


def write_base(connection: duckdb.DuckDBPyConnection, date: dt.date, folder: Path) -> None:
    """Make the table `base` of the day's rows in the export's full schema."""
    lines = folder / "base.ndjson"
    lines.write_text("".join(json.dumps(event) + "\n" for event in make_day(date)), encoding="utf-8")
    columns = ", ".join(f"'{name}': '{dtype}'" for name, dtype in EVENT_COLUMNS.items())
    connection.execute(
        f"create or replace table base as from read_json('{lines}', format = 'newline_delimited', "
        f"columns = {{{columns}}}, hive_partitioning = false)"
    )
    lines.unlink()


def _make_event(date: dt.date, started: int, visit: int, step: int, name: str) -> dict[str, Any]:
    micros = (started + 20 * step) * 1_000_000
    event: dict[str, Any] = {
        "event_date": f"{date:%Y%m%d}",
        "event_timestamp": str(micros),
        "event_name": name,
        "event_params": [
            {"key": "ga_session_id", "value": {"int_value": str(started)}},
            {"key": "ga_session_number", "value": {"int_value": "1"}},
            {"key": "page_location", "value": {"string_value": f"https://shop.example/{name}?n={visit}"}},
            {"key": "value", "value": {"double_value": 9.5}},
            {"key": "engagement_time_msec", "value": {"int_value": "1200"}},
        ],
        "event_previous_timestamp": str(micros - 1),
        "event_bundle_sequence_id": "7",
        "event_server_timestamp_offset": "12",
        "user_pseudo_id": f"{date:%j}.{visit}",
        "user_properties": [{"key": "tier", "value": {"string_value": "gold", "set_timestamp_micros": str(micros)}}],
        "user_first_touch_timestamp": str(micros),
        **copy.deepcopy(_SAME_IN_ALL),
        "batch_event_index": str(step),
        "batch_page_id": str(started * 1000),
        "batch_ordering_id": "1",
    }
    if visit % 2:
        event["user_id"] = f"customer-{visit}"
    if step >= 2:
        event["event_value_in_usd"] = 9.5
        event["items"] = [
            {
                "item_id": f"sku-{number}",
                "item_name": "Shirt",
                "price": 4.75,
                "quantity": "2",
                "item_params": [{"key": "size", "value": {"string_value": "M"}}],
            }
            for number in range(2)
        ]
    if name == "purchase":
        event["ecommerce"] = {
            "total_item_quantity": "4",
            "purchase_revenue_in_usd": 19.0,
            "purchase_revenue": 19.0,
            "transaction_id": f"T{date:%Y%m%d}{visit}",
        }
    return event
