"""Structs of the export that only a few values fill, one row for each number that the records use."""

from __future__ import annotations

from functools import lru_cache

import pyarrow as pa

from sample_shop import world
from sample_shop.arrow import NOT_SET, load_event_schema


@lru_cache(maxsize=1)
def list_devices() -> pa.Array:
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
def list_places() -> pa.Array:
    """By place."""
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
def list_first_sources() -> pa.Array:
    """By source."""
    return pa.array(
        [{"name": each.campaign, "medium": each.medium, "source": each.source} for each in world.SOURCES],
        type=load_event_schema().field("traffic_source").type,
    )


@lru_cache(maxsize=1)
def list_last_clicks() -> pa.Array:
    """By source."""
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
def list_collected() -> pa.Array:
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
