"""Incidents over days, runs and rewrites, on tiny published warehouses."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from alert_warehouse import Segment, ShopDay, date_of, day, publish
from conftest import BOUND_RULES

from alerts.incidents import store
from alerts.incidents.announcing import end_of_quiet_hours
from alerts.incidents.answers import AnswerError, answer
from alerts.incidents.check import Decision, check_rules
from alerts.incidents.store import UnknownIncidentError
from alerts.job import check_and_send, follow_up
from alerts.messages.block_kit import render_event, render_incident
from alerts.messages.facts import event_from_json_values
from alerts.rules.book import QuietHours
from foundation.errors import NothingPublishedError
from foundation.settings import Settings
from foundation.state import open_state

BAD = day(abandoned=180)  # 0.90 against 0.65 x 1.25 = 0.8125
WORSE = day(abandoned=190)
GOOD = ShopDay()
CARTS = "20260810-cart_abandonment_rate-above"


def check(settings: Settings, shop: list[ShopDay | None], *, hour: int = 12, days_later: int = 0) -> Decision:
    """Publish, and check at an hour of the day after the last one; nothing is delivered."""
    publish(settings, shop)
    moment = dt.datetime.combine(date_of(len(shop) + days_later), dt.time(hour), tzinfo=dt.UTC)
    return check_rules(settings, run_id=f"run-{len(shop)}", as_of=moment)


def rows(settings: Settings, sql: str) -> list[tuple[Any, ...]]:
    with open_state(settings) as state:
        return [tuple(row) for row in state.execute(sql)]


def lives(settings: Settings) -> list[tuple[Any, ...]]:
    """Each incident's id, status, first and last day, and which other one speaks for it."""
    return rows(
        settings,
        """
        select incident_id, status, first_seen_date, last_seen_date, folded_into
        from alert_incidents order by opened_at, incident_id
        """,
    )


def events(settings: Settings, incident_id: str = CARTS) -> list[str]:
    return [
        row[0]
        for row in rows(
            settings, f"select event from alert_events where incident_id = '{incident_id}' order by event_id"
        )
    ]


def outbox(settings: Settings) -> list[tuple[Any, ...]]:
    return rows(
        settings, "select incident_id, kind, event from alert_outbox where status != 'dropped' order by 1, outbox_id"
    )


def send_all(settings: Settings) -> None:
    """As if everything that waits had been sent."""
    with open_state(settings) as state:
        state.execute(
            "update alert_outbox set status = 'sent', attempts = 1, message_ts = '1' where status = 'pending'"
        )


def say(settings: Settings, incident_id: str = CARTS) -> str:
    """The incident's own message as it stands."""
    with open_state(settings) as state:
        facts = store.read_facts(state, incident_id)
    assert facts is not None
    return render_incident(facts).plain


def last_reply(settings: Settings, event: str) -> str:
    (payload,) = rows(
        settings,
        f"select payload from alert_outbox where kind = 'reply' and event = '{event}' order by outbox_id desc limit 1",
    )[0]
    return render_event(event_from_json_values(json.loads(payload))).plain


def test_a_quiet_shop_raises_nothing_and_says_which_days_it_checked(settings: Settings) -> None:
    decision = check(settings, [GOOD] * 60)
    assert decision.checked == [date_of(index).isoformat() for index in range(53, 60)]
    assert lives(settings) == [] == outbox(settings)


def test_three_bad_days_are_one_incident_and_one_message(settings: Settings) -> None:
    decision = check(settings, [GOOD] * 40 + [BAD] * 3)
    assert decision.new == {CARTS}
    assert lives(settings) == [(CARTS, "open", "2026-08-10", "2026-08-12", None)]
    assert outbox(settings) == [(CARTS, "parent", "opened")]
    text = say(settings)
    assert text.startswith("🔴 Cart abandonment rate: 90.0 % (+38 %) since Mon 10 Aug\n")
    assert "Mon 10 Aug to Wed 12 Aug (3 days)" in text and "Usual range: " in text and "Expected: 65.0 %" in text


def test_the_same_days_again_say_nothing(settings: Settings) -> None:
    check(settings, [GOOD] * 40 + [BAD] * 3)
    send_all(settings)
    again = check(settings, [GOOD] * 40 + [BAD] * 3)
    assert again.checked == [] and not again.touched
    assert len(outbox(settings)) == 1


def test_a_life_day_by_day_is_one_message_that_changes_and_a_thread(settings: Settings) -> None:
    shop: list[ShopDay | None] = [GOOD] * 40
    for next_day in (BAD, WORSE, WORSE, GOOD, GOOD):
        shop = [*shop, next_day]
        check(settings, shop)
        send_all(settings)
    assert lives(settings) == [(CARTS, "resolved", "2026-08-10", "2026-08-12", None)]
    assert events(settings) == ["opened", "updated", "updated", "resolved"]
    assert [kind for _, kind, _ in outbox(settings)] == [
        "parent",
        "update",
        "reply",
        "update",
        "reply",
        "update",
        "reply",
    ]
    assert say(settings).startswith(
        "✅ Cart abandonment rate: 95.0 % (+46 %) Mon 10 Aug to Wed 12 Aug (3 days), normal again Thu 13 Aug\n"
    )
    assert last_reply(settings, "resolved") == (
        "✅ Cart abandonment rate is back to normal on Thu 13 Aug 2026: 65.0 %, expected 65.0 %. It lasted 3 days."
    )
    assert last_reply(settings, "updated") == "3 days now: 95.0 % (+46 %) on Wed 12 Aug 2026, expected 65.0 %"


def test_what_happens_before_the_first_message_is_sent_is_told_by_it_alone(settings: Settings) -> None:
    shop: list[ShopDay | None] = [*[GOOD] * 40, BAD]
    check(settings, shop)
    check(settings, [*shop, WORSE])
    check(settings, [*shop, WORSE, GOOD])
    assert outbox(settings) == [(CARTS, "parent", "opened")]
    (payload,) = rows(settings, "select payload from alert_outbox")[0]
    assert json.loads(payload)["resolved_date"] == "2026-08-12"
    assert "normal again Wed 12 Aug" in say(settings)


def test_a_problem_that_comes_back_soon_continues_its_incident(settings: Settings) -> None:
    shop = [*[GOOD] * 40, BAD, GOOD, GOOD, BAD, GOOD, BAD, GOOD]
    for count in range(41, len(shop) + 1):
        check(settings, shop[:count])
        send_all(settings)
    assert lives(settings) == [(CARTS, "resolved", "2026-08-10", "2026-08-15", None)]
    assert events(settings) == ["opened", "resolved", "reopened", "resolved", "reopened", "resolved"]
    assert [kind for _, kind, _ in outbox(settings)].count("parent") == 1
    assert last_reply(settings, "reopened").startswith("🔁 It is back: Cart abandonment rate 90.0 %")


def test_a_problem_that_comes_back_much_later_is_a_new_incident(settings: Settings) -> None:
    shop = [*[GOOD] * 40, BAD, *[GOOD] * 8, BAD]
    check(settings, shop[:42])
    check(settings, shop)
    assert [row[:2] for row in lives(settings)] == [
        (CARTS, "resolved"),
        ("20260819-cart_abandonment_rate-above", "open"),
    ]


def test_two_rules_and_two_directions_are_incidents_of_their_own(settings: Settings) -> None:
    check(settings, [*[GOOD] * 40, day(abandoned=180, duration=40.0), day(duration=170.0)])
    assert {(row[0], row[1]) for row in lives(settings)} == {
        (CARTS, "resolved"),
        ("20260810-avg_session_duration_seconds-below", "resolved"),
        ("20260811-avg_session_duration_seconds-above", "open"),
    }
    # The second day's trailing value knows nothing of the first.
    expected = [row[0] for row in rows(settings, "select expected from alert_incidents where unit = 'seconds'")]
    assert expected == pytest.approx([100.0, 100.0])


def test_provisional_days_open_nothing(settings: Settings) -> None:
    provisional = ShopDay(BAD.segments, is_provisional=True)
    check(settings, [*[GOOD] * 40, *[provisional] * 3])
    assert lives(settings) == []
    # Nor do they end what is open.
    check(settings, [*[GOOD] * 40, BAD, ShopDay(is_provisional=True)])
    assert [row[1] for row in lives(settings)] == ["open"]


def test_missing_and_small_days_do_not_part_an_incident(settings: Settings) -> None:
    check(settings, [*[GOOD] * 40, BAD, None, day(carts=10, abandoned=1), BAD])
    assert [row[2] for row in lives(settings)] == [date_of(40).isoformat()]


def test_a_rewritten_day_joins_the_incident_beside_it(settings: Settings) -> None:
    check(settings, [*[GOOD] * 41, BAD])
    send_all(settings)
    check(settings, [*[GOOD] * 40, BAD, BAD])
    incident_id = "20260811-cart_abandonment_rate-above"
    assert lives(settings) == [(incident_id, "open", "2026-08-10", "2026-08-11", None)]
    assert [kind for _, kind, _ in outbox(settings)] == ["parent", "update", "reply"]


def test_a_day_that_turns_normal_withdraws_what_was_said_and_never_says_what_was_not(settings: Settings) -> None:
    check(settings, [*[GOOD] * 40, BAD])
    check(settings, [GOOD] * 41)
    assert outbox(settings) == [] and events(settings) == ["opened", "withdrawn"]
    check(settings, [*[GOOD] * 40, BAD])
    assert outbox(settings) == [(CARTS, "parent", "opened")]
    send_all(settings)
    check(settings, [GOOD] * 41)
    assert last_reply(settings, "withdrawn").startswith("✅ Cart abandonment rate: withdrawn")
    assert say(settings).startswith("✅")


def test_an_incident_whose_days_are_no_longer_tested_ends(settings: Settings) -> None:
    empty = day(carts=0, abandoned=0)
    shop: list[ShopDay | None] = [*[GOOD] * 40, BAD]
    check(settings, shop)
    check(settings, shop + [empty] * 28)
    assert lives(settings)[0][1] == "open"
    check(settings, shop + [empty] * 29)
    assert lives(settings)[0][1] == "resolved" and "not tested again for 28 days" in say(settings)


def test_a_removed_rule_closes_its_incidents(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    path = tmp_path / "rules.yml"
    book = yaml.safe_load(BOUND_RULES.read_text())
    settings = make_settings(alert_rules=path)
    path.write_text(yaml.safe_dump(book))
    check(settings, [*[GOOD] * 40, BAD])
    send_all(settings)
    book["rules"].pop(0)
    path.write_text(yaml.safe_dump(book))
    check(settings, [*[GOOD] * 40, BAD])
    assert lives(settings)[0][1] == "resolved"
    assert last_reply(settings, "resolved").endswith("is closed: no rule watches this any more. It lasted 1 day.")


# ---- one cause, one message -----------------------------------------------------------------------------------------


def make_rules(path: Path, **extra: dict[str, Any]) -> Path:
    """The bound rules, with changes by rule name, and three more KPIs that watch the same carts."""
    book = yaml.safe_load(BOUND_RULES.read_text())
    for rule in book["rules"]:
        rule |= extra.get(rule["name"], {})
    for name, kpi, unit, relative in (
        ("buyers", "sessions_with_purchase", "count", -0.2),
        ("revenue_usd", "revenue_usd", "usd", -0.2),
    ):
        book["rules"].append(
            {
                "name": name,
                "description": name,
                "kpi": kpi,
                "unit": unit,
                "direction": "below",
                "z_limit": None,
                "relative": {"below": relative},
                "minimum_volume": 1,
                "severity": "warning",
                "owner": "shop team",
                "runbook": f"docs/runbooks/{name}.md",
            }
            | extra.get(name, {})
        )
    path.write_text(yaml.safe_dump(book))
    return path


def two_devices(mobile_abandoned: int) -> ShopDay:
    return ShopDay(
        [
            Segment("desktop", "Direct", 400, 100, 50),
            Segment("mobile", "Paid Search", 400, 100, mobile_abandoned),
        ]
    )


def test_three_incidents_of_one_cause_are_one_digest(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    settings = make_settings(alert_rules=make_rules(tmp_path / "rules.yml"))
    shop: list[ShopDay | None] = [*[two_devices(60)] * 40, two_devices(98), two_devices(99)]
    check(settings, shop)
    assert [(row[0], row[4]) for row in lives(settings)] == [
        ("20260810-buyers-below", CARTS),
        (CARTS, None),
        ("20260810-revenue_usd-below", CARTS),
    ]
    assert outbox(settings) == [(CARTS, "parent", "opened")]
    assert say(settings).startswith(
        "🔴 3 alerts, one cause (Paid Search): Cart abandonment rate 74.5 % (+35 %) since Mon 10"
    )
    assert "Same cause: Revenue usd: $510.00 (−43 %)" in say(settings)
    # All over: one message, one end.
    send_all(settings)
    check(settings, [*shop, two_devices(60)])
    assert {row[1] for row in lives(settings)} == {"resolved"}
    assert [kind for _, kind, _ in outbox(settings)] == ["parent", "update", "reply"]


def test_what_turns_out_to_have_one_cause_goes_on_in_one_thread(settings: Settings) -> None:
    def shop_day(desktop: int, mobile: int, spent: float = 100.0) -> ShopDay:
        return ShopDay(
            [Segment("desktop", "Direct", 500, 100, desktop), Segment("mobile", "Email", 500, 100, mobile, spent)]
        )

    # First all abandon more carts, and only mobile visitors stay less: two messages. Then it is mobile's carts alone.
    shop: list[ShopDay | None] = [*[shop_day(50, 50)] * 40, shop_day(80, 80, 20.0)]
    check(settings, shop)
    send_all(settings)
    slow = "20260810-avg_session_duration_seconds-below"
    assert [(row[0], row[4]) for row in lives(settings)] == [(slow, None), (CARTS, None)]
    check(settings, [*shop, shop_day(50, 99, 20.0)])
    assert [(row[0], row[4]) for row in lives(settings)] == [(slow, CARTS), (CARTS, None)]
    assert last_reply(settings, "folded_away").endswith(
        "Same cause as Cart abandonment rate: this continues in its thread."
    )
    assert "continues in the thread of Cart abandonment rate" in say(settings, slow)
    assert "Same cause: Average session duration: 60.0 s (−40 %)" in say(settings)
    assert [kind for _, kind, _ in outbox(settings)].count("parent") == 2


# ---- people answer --------------------------------------------------------------------------------------------------


def at(index: int, hour: int = 12) -> dt.datetime:
    return dt.datetime.combine(date_of(index), dt.time(hour), tzinfo=dt.UTC)


def test_acknowledged_is_shown_and_not_escalated(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(alert_escalation_owner="S12345678", alert_escalate_after_hours=6)
    check(settings, [*[GOOD] * 40, BAD])
    send_all(settings)
    said = answer(settings, CARTS, "acknowledge", by="anna", as_of=at(41, 14))
    assert said == f"incident {CARTS}: acknowledged by anna"
    assert "Status: acknowledged by anna" in say(settings) and say(settings).startswith("👀")
    follow_up(settings, run_id="later", as_of=at(41, 23))
    assert "escalated" not in events(settings)
    assert "already" in answer(settings, CARTS, "acknowledge", by="ben", as_of=at(41, 15))
    with pytest.raises(UnknownIncidentError, match="no incident 'nothing'"):
        answer(settings, "nothing", "acknowledge", by="anna")


def test_a_critical_incident_that_nobody_acknowledges_is_escalated_once(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(alert_escalation_owner="S12345678", alert_escalate_after_hours=6)
    check(settings, [*[GOOD] * 40, day(abandoned=180, duration=40.0)])
    send_all(settings)
    for hour in (13, 19, 20, 23):
        follow_up(settings, run_id=f"at-{hour}", as_of=at(41, hour))
    assert events(settings) == ["opened", "escalated"]
    assert events(settings, "20260810-avg_session_duration_seconds-below") == ["opened"]  # only a warning
    assert last_reply(settings, "escalated").startswith("S12345678 🚨 Nobody has acknowledged this for 6 hours: Cart")
    assert "Status: open, escalated" in say(settings)


def test_a_snoozed_incident_is_silent_until_its_day_and_its_end_is_told(settings: Settings) -> None:
    shop: list[ShopDay | None] = [*[GOOD] * 40, BAD]
    check(settings, shop)
    send_all(settings)
    answer(settings, CARTS, "snooze", by="U12345678", until=date_of(43), as_of=at(41))
    send_all(settings)
    before = len(outbox(settings))
    shop += [WORSE]
    check(settings, shop)
    assert len(outbox(settings)) == before and "updated" in events(settings)
    shop += [WORSE]
    check(settings, shop)
    assert events(settings)[-1] == "woken" and len(outbox(settings)) == before + 2
    assert last_reply(settings, "woken") == (
        "⏰ The snooze is over, and Cart abandonment rate is still 95.0 % (+46 %)."
    )
    with pytest.raises(AnswerError, match="must end after today"):
        answer(settings, CARTS, "snooze", by="anna", until=date_of(43), as_of=at(43))
    answer(settings, CARTS, "snooze", by="anna", as_of=at(43))
    send_all(settings)
    check(settings, [*shop, GOOD])
    assert events(settings)[-1] == "resolved" and last_reply(settings, "resolved").startswith("✅")


def test_expected_days_are_no_alert_and_in_no_baseline(settings: Settings) -> None:
    shop: list[ShopDay | None] = [*[GOOD] * 40, BAD]
    check(settings, shop)
    send_all(settings)
    answer(settings, CARTS, "expected", by="anna", until=date_of(42), as_of=at(41))
    assert lives(settings)[0][1] == "resolved"
    assert last_reply(settings, "expected").startswith(
        "✅ Cart abandonment rate: marked as expected by anna, for Mon 10 Aug 2026 to Wed 12 Aug 2026."
    )
    send_all(settings)
    before = len(outbox(settings))
    check(settings, [*shop, BAD, BAD, GOOD])
    assert lives(settings)[0][1] == "resolved" and len(outbox(settings)) == before
    # Its days are as little part of the next days' baseline as those of an incident.
    ((expected,),) = rows(
        settings,
        "select expected from alert_checks where rule = 'cart_abandonment_rate' order by kpi_date desc limit 1",
    )
    assert expected == pytest.approx(0.65)
    check(settings, [*shop, BAD, BAD, GOOD, BAD])
    assert lives(settings)[0][1] == "open"


def test_an_answer_to_a_folded_incident_counts_for_the_one_that_speaks_for_it(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = make_settings(alert_rules=make_rules(tmp_path / "rules.yml"))
    check(settings, [*[two_devices(60)] * 40, two_devices(98)])
    answer(settings, "20260810-buyers-below", "expected", by="anna", as_of=at(41))
    assert {row[1] for row in lives(settings)} == {"resolved"}
    assert outbox(settings) == []  # nobody had heard of it
    check(settings, [*[two_devices(60)] * 40, two_devices(98), two_devices(60)])
    assert outbox(settings) == []


# ---- quiet hours ----------------------------------------------------------------------------------------------------


def test_quiet_hours_hold_messages_back_but_no_critical_ones(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    quiet = {"quiet_hours": {"from": "20:00", "to": "08:00"}}
    path = tmp_path / "rules.yml"
    book = yaml.safe_load(BOUND_RULES.read_text())
    path.write_text(yaml.safe_dump(book | {"rules": [rule | quiet for rule in book["rules"]]}))
    settings = make_settings(alert_rules=path, property_timezone="Europe/Berlin")
    check(settings, [*[GOOD] * 40, day(abandoned=150, duration=40.0)], hour=19)  # 21:00 in Berlin
    slow = "20260810-avg_session_duration_seconds-below"
    held = (slow, "2026-08-12T06:00:00+00:00")
    waiting = "select incident_id, not_before from alert_outbox order by outbox_id"
    assert rows(settings, waiting) == [held]
    check(settings, [*[GOOD] * 40, day(abandoned=190, duration=40.0)], hour=19)
    assert rows(settings, waiting) == [held, (CARTS, None)]


@pytest.mark.parametrize(
    ("start", "end", "local", "until"),
    [
        ("22:00", "07:00", "2026-08-10T23:30", "2026-08-11T07:00"),
        ("22:00", "07:00", "2026-08-11T06:59", "2026-08-11T07:00"),
        ("22:00", "07:00", "2026-08-11T07:00", None),
        ("12:00", "14:00", "2026-08-11T13:00", "2026-08-11T14:00"),
        ("12:00", "14:00", "2026-08-11T11:59", None),
    ],
)
def test_quiet_hours_may_go_over_midnight(start: str, end: str, local: str, until: str | None) -> None:
    hours = QuietHours.model_validate({"from": start, "to": end})
    expected = dt.datetime.fromisoformat(until) if until else None
    assert end_of_quiet_hours(hours, dt.datetime.fromisoformat(local)) == expected


# ---- what is stored -------------------------------------------------------------------------------------------------


def test_the_message_names_what_drives_it(settings: Settings) -> None:
    check(settings, [*[two_devices(60)] * 40, two_devices(95)])
    text = say(settings)
    assert "Driven by device: mobile: 95.0 %, usually 60.0 %: +35 abandoned carts, of +35 in all (p < 0.001)" in text
    assert 'make sql Q="select kpi_date, dimension_value, cart_abandonment_rate' in text


def test_nothing_published_is_said(settings: Settings) -> None:
    with pytest.raises(NothingPublishedError, match="nothing has been published"):
        check_and_send(settings, run_id="first")


def test_the_check_leaves_the_published_file_as_it_is(settings: Settings) -> None:
    publish(settings, [*[GOOD] * 40, BAD])
    before = settings.published_path.read_bytes()
    check_and_send(settings, run_id="first")
    assert settings.published_path.read_bytes() == before
    assert [path.name for path in settings.home.glob("warehouse*")] == ["warehouse.duckdb"]
    folder = settings.alerts_dir / CARTS
    assert {path.name for path in folder.iterdir()} == {
        ".chart",
        "chart.png",
        "message.html",
        "message.json",
        "message.txt",
    }
    assert (folder / "chart.png").read_bytes().startswith(b"\x89PNG")


def test_every_table_of_the_state_can_be_copied_row_by_row(settings: Settings) -> None:
    check(settings, [*[GOOD] * 40, BAD])
    ((fingerprint, opened_at),) = rows(settings, "select fingerprint, opened_at from alert_incidents")
    assert fingerprint == "cart_abandonment_rate|=|above"
    assert dt.datetime.fromisoformat(opened_at).tzinfo is not None
    assert rows(settings, "select count(*) from alert_checks") == [(7 * 3,)]


def test_the_state_of_an_earlier_version_is_left_behind(settings: Settings) -> None:
    with open_state(settings) as state:
        state.execute("create table alert_incidents (incident_id text primary key)")
        state.execute("create table alert_outbox (outbox_id integer primary key, incident_id text)")
    check(settings, [*[GOOD] * 40, BAD])
    assert [row[0] for row in lives(settings)] == [CARTS]
