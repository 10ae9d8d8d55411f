"""Default channel groups, on one example of each of Google's rules."""

from __future__ import annotations

from foundation.settings import Settings
from tests.dbt_runner import build_and_publish, query
from tests.lake_writer import make_event, write_day

CASES = {
    ("google", "organic", None): "Organic Search",
    ("www.bing", None, None): "Organic Search",
    ("google", "cpc", "brand"): "Paid Search",
    ("google", "cpc", "summer-shopping"): "Paid Shopping",
    ("google", "cpc", "pmax cross-network"): "Cross-network",
    ("m.facebook.com", "paid_social", None): "Paid Social",
    ("instagram", "social", None): "Organic Social",
    ("youtube.com", "cpv", None): "Paid Video",
    ("vimeo.com", "referral", None): "Organic Video",
    ("news", "newsletter", None): "Unassigned",
    ("news", "email", None): "Email",
    ("partner", "affiliate", None): "Affiliates",
    ("blog.example", "referral", None): "Referral",
    ("adnet", "display", None): "Display",
    ("adnet", "ppc", None): "Paid Other",
    ("ebay", "referral", None): "Organic Shopping",
    ("podcast", "audio", None): "Audio",
    ("sms", "text", None): "SMS",
    ("firebase", "x", None): "Mobile Push Notifications",
    ("(direct)", "(none)", None): "Direct",
}


def test_each_rule(settings: Settings) -> None:
    events = [
        make_event(
            "page_view",
            "2026-08-01T10:00:00",
            user=f"user-{number}",
            collected_traffic_source={
                "manual_source": source,
                "manual_medium": medium,
                "manual_campaign_name": campaign,
            },
        )
        for number, (source, medium, campaign) in enumerate(CASES)
    ]
    write_day(settings, "2026-08-01", events)
    build_and_publish(settings)
    found = query(settings, "select source, medium, campaign, default_channel_group from marts.fct_sessions")
    assert {(source, medium, campaign): group for source, medium, campaign, group in found} == CASES
