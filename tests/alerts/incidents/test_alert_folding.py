"""Which incidents are told as one."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

from alerts.incidents.folding import Candidate, choose_leaders

DAY = dt.date(2026, 8, 10)


def make(incident_id: str, **values: object) -> Candidate:
    """An unannounced critical incident of the whole shop on one day."""
    plain = Candidate(incident_id, incident_id, None, "above", DAY, DAY, "critical", 5.0, None, False, None)
    return replace(plain, **values)  # type: ignore[arg-type]


def test_the_whole_speaks_for_its_values_when_both_are_new() -> None:
    part = make("carts-mobile", rule="carts", dimension="device_category", strength=9.0)
    assert choose_leaders([part, make("carts")]) == {"carts-mobile": "carts"}
    assert choose_leaders([part, make("carts", direction="below")]) == {}
    late = make("carts", first=DAY + dt.timedelta(days=2), last=DAY + dt.timedelta(days=2))
    assert choose_leaders([part, late]) == {}
    assert choose_leaders([part, replace(late, first=DAY + dt.timedelta(days=1))]) == {"carts-mobile": "carts"}


def test_a_value_that_was_announced_first_goes_on_speaking() -> None:
    part = make("carts-mobile", rule="carts", dimension="device_category", is_announced=True)
    assert choose_leaders([part, make("carts")]) == {"carts": "carts-mobile"}


def test_one_cause_is_one_voice_and_another_cause_another() -> None:
    mobile = {"cause": "device_category=mobile"}
    found = choose_leaders(
        [
            make("revenue", severity="warning", **mobile),
            make("carts", **mobile),
            make("duration", cause="device_category=tablet"),
            make("sessions"),
            make("unexplained"),
        ]
    )
    assert found == {"revenue": "carts"}


def test_two_groups_that_turn_out_to_be_one_keep_the_first_voice() -> None:
    announced = {"is_announced": True, "cause": "browser=Safari"}
    found = choose_leaders(
        [
            make("carts", **announced),
            make("checkout", folded_into="carts", cause="browser=Safari"),
            make("revenue", first=DAY - dt.timedelta(days=1), **announced),
            make("buyers", folded_into="revenue"),
        ]
    )
    assert found == {"carts": "revenue", "checkout": "revenue", "buyers": "revenue"}


def test_once_folded_stays_folded_when_the_cause_moves() -> None:
    found = choose_leaders(
        [make("carts", cause="a=b", is_announced=True), make("revenue", cause="c=d", folded_into="carts")]
    )
    assert found == {"revenue": "carts"}


def test_without_events_there_are_no_sessions_and_no_revenue() -> None:
    events = make("events", direction="below", severity="warning", measures="events")
    sessions = make("sessions", direction="below", measures="sessions")
    revenue = make("revenue", direction="below", measures="revenue_usd")
    more = make("more", direction="above", measures="sessions")
    carts = make("carts", measures="carts")
    found = choose_leaders([sessions, events, revenue, more, carts])
    assert found == {"sessions": "events", "revenue": "events"}
    # less revenue alone is not a matter of fewer sessions
    assert choose_leaders([sessions, revenue]) == {}
