"""`python -m ingest parameters`: what the lake holds, and a proposal that can be used as it stands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from foundation.settings import Settings
from ingest.parameters import (
    NoLakeError,
    ProposalError,
    describe_parameters,
    list_parameters,
    propose,
    write_proposal,
)
from tests.lake_writer import make_event, write_day
from warehouse.ga4_config import load_ga4_config


@pytest.fixture
def loaded(settings: Settings) -> Settings:
    """Two days with parameters of all kinds."""
    tier = [{"key": "Customer Tier", "value": {"string_value": "gold", "set_timestamp_micros": 1}}]
    write_day(settings, "2026-08-01", [make_event("page_view", "2026-08-01T10:00:00", params={"gone": "long ago"})])
    write_day(
        settings,
        "2026-08-02",
        [
            make_event(
                "page_view", "2026-08-02T10:00:00", params={"page_location": "https://a.example/?q=1", "planType": "x"}
            ),
            make_event("page_view", "2026-08-02T10:01:00", params={"planType": "x", "size": 7, "ratio": 0.5}),
            make_event("login", "2026-08-02T10:02:00", params={"size": "8", "ratio": 2, "outbound": "true"}),
            make_event(
                "view_cart", "2026-08-02T10:03:00", params={"note": "line\nbreak " + "y" * 50}, user_properties=tier
            ),
        ],
    )
    return settings


def test_each_is_listed_with_type_share_events_and_example(loaded: Settings) -> None:
    found = {entry.name: entry for entry in list_parameters(loaded, days=1)}
    assert "gone" not in found and "gone" in {entry.name for entry in list_parameters(loaded, days=28)}
    seen = {name: (entry.type, entry.share, entry.events, entry.example) for name, entry in found.items()}
    assert seen["planType"] == ("text", 0.5, ["page_view"], "x")
    assert seen["outbound"] == ("boolean", 0.25, ["login"], "true")
    assert seen["size"][:2] == ("integer", 0.5) and sorted(seen["size"][2]) == ["login", "page_view"]
    assert seen["ratio"][:2] == ("number", 0.5)
    assert seen["note"][3] == "line break " + "y" * 28 + "…"
    assert seen["Customer Tier"] == ("text", 0.25, ["view_cart"], "gold")
    assert {name: entry.status for name, entry in found.items() if entry.status != "new"} == {
        "ga_session_id": "built in",
        "page_location": "built in",
        "outbound": "in ga4.yml",
    }
    table = describe_parameters(list(found.values())).splitlines()
    assert len(table) == 1 + len(found)
    assert next(line for line in table if line.startswith("planType")).split() == [
        "planType", "parameter", "text", "50.0%", "page_view", "x", "new",
    ]  # fmt: skip


def test_the_proposal_is_a_usable_file(
    loaded: Settings, tmp_path: Path, make_settings: Callable[..., Settings]
) -> None:
    found = list_parameters(loaded, days=1)
    path = tmp_path / "proposed.yml"
    write_proposal(found, path, loaded)
    config = load_ga4_config(make_settings(ga4_config=path))
    assert {(entry.name, entry.type, entry.column) for entry in config.event_columns} == {
        ("planType", "text", "plan_type"),
        ("size", "integer", "size"),
        ("ratio", "number", "ratio"),
        ("note", "text", "note"),
        ("Customer Tier", "text", "customer_tier"),
    }
    assert [entry.events for entry in config.event_parameters if entry.name == "size"] == [("login", "page_view")]
    with pytest.raises(ProposalError, match="File exists"):
        write_proposal(found, path, loaded)


def test_a_name_that_no_column_can_have_gets_another_one(settings: Settings, tmp_path: Path) -> None:
    params = {"order": "a", "page_path": "b", "größe": "c", "!": "d"}
    write_day(settings, "2026-08-02", [make_event("page_view", "2026-08-02T10:00:00", params=params)])
    path = tmp_path / "proposed.yml"
    path.write_text(propose(list_parameters(settings, days=1), settings), encoding="utf-8")
    config = load_ga4_config(settings.model_copy(update={"ga4_config": path}))
    assert {entry.name for entry in config.event_columns} == set(params)


def test_without_a_lake_it_says_what_to_do(settings: Settings) -> None:
    with pytest.raises(NoLakeError, match="run `python -m ingest` first"):
        list_parameters(settings, days=28)
