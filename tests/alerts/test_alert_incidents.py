"""Incidents over days, runs and rewrites, on tiny published warehouses."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from alert_warehouse import Segment, ShopDay, date_of, day, publish

from alerts.job import AlertReport, IncidentReport, check_and_send
from warehouse.connect import NothingPublishedError
from warehouse.settings import PROJECT_DIR, Settings
from warehouse.state import open_state

BAD = day(abandoned=180)  # 0.90 against 0.65 x 1.25 = 0.8125
GOOD = ShopDay()


def only(report: AlertReport) -> IncidentReport:
    assert len(report.incidents) == 1, report.incidents
    return report.incidents[0]


def outbox(settings: Settings) -> list[tuple[str, str]]:
    with open_state(settings) as state:
        return [
            tuple(row) for row in state.execute("select idempotency_key, status from alert_outbox order by outbox_id")
        ]


def test_a_quiet_shop_raises_nothing_and_says_which_days_it_checked(settings: Settings) -> None:
    publish(settings, [GOOD] * 60)
    report = check_and_send(settings, run_id="first")
    assert report.checked_days == [date_of(index).isoformat() for index in range(46, 60)]
    assert report.incidents == [] and outbox(settings) == []
    json.dumps(report.to_dict())


def test_three_bad_days_are_one_incident_and_one_message(settings: Settings) -> None:
    publish(settings, [GOOD] * 40 + [BAD] * 3)
    report = check_and_send(settings, run_id="first")
    incident = only(report)
    assert (incident.id, incident.status) == ("20260810-cart_abandonment_rate-above", "open")
    assert (incident.since, incident.last) == ("2026-08-10", "2026-08-12")
    assert (incident.observed, incident.expected) == (0.9, pytest.approx(0.65))
    assert (report.sent, report.rendered, report.pending) == (0, 1, 0)
    assert outbox(settings) == [("20260810-cart_abandonment_rate-above:incident", "rendered")]
    text = Path(incident.message_path).read_text()
    assert text.startswith("🔴 Cart abandonment rate: 90.0 % (+38 %) since Mon 10 Aug\n")
    assert "Mon 10 Aug to Wed 12 Aug (3 days)" in text


def test_the_same_days_again_raise_nothing(settings: Settings) -> None:
    publish(settings, [GOOD] * 40 + [BAD] * 3)
    check_and_send(settings, run_id="first")
    again = check_and_send(settings, run_id="second")
    assert (again.checked_days, again.sent, again.rendered) == ([], 0, 0)
    assert not only(again).is_new
    assert len(outbox(settings)) == 1


def test_a_day_at_a_time_is_the_same_incident_until_a_normal_day_resolves_it(settings: Settings) -> None:
    shop = [GOOD] * 40
    seen = []
    for next_day in (BAD, BAD, BAD, GOOD, GOOD, BAD):
        shop = [*shop, next_day]
        publish(settings, shop)
        report = check_and_send(settings, run_id=f"day-{len(shop)}")
        assert report.checked_days[-1] == date_of(len(shop) - 1).isoformat()
        seen.append((report.rendered, report.resolved, [(i.id[:8], i.last[-2:], i.status) for i in report.incidents]))
    assert seen == [
        (1, 0, [("20260810", "10", "open")]),
        (0, 0, [("20260810", "11", "open")]),
        (0, 0, [("20260810", "12", "open")]),
        (1, 1, [("20260810", "12", "resolved")]),
        (0, 0, []),
        (1, 0, [("20260815", "15", "open")]),
    ]
    resolution = settings.alerts_dir / "20260810-cart_abandonment_rate-above" / "resolution.txt"
    assert "back to normal on Thu 13 Aug 2026: 65.0 %" in resolution.read_text()
    assert "It lasted 3 days." in resolution.read_text()


def test_an_incident_already_over_when_it_is_found_is_one_message(settings: Settings) -> None:
    publish(settings, [GOOD] * 40 + [BAD] * 2 + [GOOD] * 5)
    report = check_and_send(settings, run_id="first")
    assert (only(report).status, report.rendered, report.resolved) == ("resolved", 1, 1)
    assert "normal again Wed 12 Aug" in Path(only(report).message_path).read_text()


def test_two_rules_broken_on_one_day_are_two_incidents(settings: Settings) -> None:
    publish(settings, [GOOD] * 40 + [day(abandoned=180, duration=40.0)])
    report = check_and_send(settings, run_id="first")
    assert {incident.rule for incident in report.incidents} == {"cart_abandonment_rate", "avg_session_duration_seconds"}
    assert report.rendered == 2


def test_directions_are_incidents_of_their_own(settings: Settings) -> None:
    publish(settings, [GOOD] * 40 + [day(duration=40.0), day(duration=170.0)])
    report = check_and_send(settings, run_id="first")
    assert {(i.direction, i.status) for i in report.incidents} == {("below", "resolved"), ("above", "open")}
    # The second day's trailing value knows nothing of the first.
    assert {i.expected for i in report.incidents} == {100.0}


def test_provisional_days_are_not_checked(settings: Settings) -> None:
    provisional = ShopDay(BAD.segments, is_provisional=True)
    publish(settings, [GOOD] * 40 + [provisional] * 3)
    report = check_and_send(settings, run_id="first")
    assert report.incidents == [] and report.checked_days[-1] == date_of(39).isoformat()
    publish(settings, [GOOD] * 40 + [BAD] + [provisional] * 2)
    assert only(check_and_send(settings, run_id="second")).last == date_of(40).isoformat()


def test_a_first_load_looks_back_only_as_far_as_the_rules_say(settings: Settings) -> None:
    # A bad day every third day for 60 days: 20 incidents, of which the last 14 days hold 5.
    publish(settings, [BAD if index >= 20 and index % 3 == 0 else day(abandoned=80) for index in range(60)])
    report = check_and_send(settings, run_id="first")
    assert len(report.incidents) == report.rendered == 4
    assert min(incident.since for incident in report.incidents) == date_of(48).isoformat()


def test_a_value_that_wavers_around_its_bound_is_one_incident(settings: Settings) -> None:
    near = day(abandoned=155)  # 0.775, between halfway (0.731) and the bound (0.8125)
    publish(settings, [GOOD] * 40 + [day(abandoned=165), near, day(abandoned=165), near, near, day(abandoned=165)])
    report = check_and_send(settings, run_id="first")
    assert (only(report).since, only(report).last) == (date_of(40).isoformat(), date_of(45).isoformat())
    assert only(report).expected == pytest.approx(0.65)  # near days of the incident stay out of the baseline
    assert report.rendered == 1


def test_missing_and_small_days_do_not_part_an_incident(settings: Settings) -> None:
    publish(settings, [GOOD] * 40 + [BAD, None, day(carts=10, abandoned=1), BAD])
    assert (only(check_and_send(settings, run_id="first")).since) == date_of(40).isoformat()


def test_a_new_level_becomes_the_usual_one_and_the_incident_ends(settings: Settings) -> None:
    shop = [GOOD] * 40
    last = None
    for index in range(45):
        shop = [*shop, day(abandoned=168)]  # 0.84: beyond the relative bound, within the absolute one
        if index % 5 == 4:
            publish(settings, shop)
            last = check_and_send(settings, run_id=f"day-{index}")
    assert [key for key, _ in outbox(settings)] == [
        "20260810-cart_abandonment_rate-above:incident",
        "20260810-cart_abandonment_rate-above:resolution",
    ]
    assert last is not None and last.incidents == []


def test_a_rewritten_day_joins_the_incident_beside_it_without_a_second_message(settings: Settings) -> None:
    publish(settings, [GOOD] * 40 + [GOOD, BAD])
    check_and_send(settings, run_id="first")
    publish(settings, [GOOD] * 40 + [BAD, BAD])
    report = check_and_send(settings, run_id="second")
    assert report.checked_days == [date_of(40).isoformat()]
    assert (only(report).since, only(report).last) == (date_of(40).isoformat(), date_of(41).isoformat())
    assert len(outbox(settings)) == 1


def test_a_rewritten_day_that_turns_normal_withdraws_its_incident(settings: Settings) -> None:
    publish(settings, [GOOD] * 40 + [BAD])
    check_and_send(settings, run_id="first")
    publish(settings, [GOOD] * 40 + [GOOD])
    report = check_and_send(settings, run_id="second")
    assert report.incidents == []
    publish(settings, [GOOD] * 40 + [BAD])
    back = check_and_send(settings, run_id="third")
    assert (only(back).status, only(back).is_new, len(outbox(settings))) == ("open", False, 1)


def test_a_rewritten_last_day_opens_its_incident_again(settings: Settings) -> None:
    publish(settings, [GOOD] * 40 + [BAD, GOOD])
    check_and_send(settings, run_id="first")
    publish(settings, [GOOD] * 40 + [BAD, BAD])
    report = check_and_send(settings, run_id="second")
    assert (only(report).status, only(report).last) == ("open", date_of(41).isoformat())
    assert len(outbox(settings)) == 1


def test_a_changed_rule_tests_the_days_anew_and_a_removed_one_closes_its_incidents(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    path = tmp_path / "rules.yml"
    book = yaml.safe_load((PROJECT_DIR / "alerts" / "rules.yml").read_text())
    settings = make_settings(alert_rules=path)

    path.write_text(yaml.safe_dump(book))
    publish(settings, [GOOD] * 40 + [BAD])
    assert only(check_and_send(settings, run_id="first")).status == "open"

    book["rules"][0]["owner"] = "someone else"
    path.write_text(yaml.safe_dump(book))
    assert check_and_send(settings, run_id="owner").checked_days == []

    book["rules"][1]["direction"], book["rules"][1]["absolute"] = "above", {}
    book["rules"][1]["relative"] = {"above": 0.5}
    book["rules"].pop(0)
    path.write_text(yaml.safe_dump(book))
    report = check_and_send(settings, run_id="removed")
    assert len(report.checked_days) == 14 and report.incidents == []
    with open_state(settings) as state:
        assert state.execute("select status from alert_incidents").fetchone()[0] == "resolved"


def test_the_worst_device_and_channel_are_those_with_the_largest_excess(settings: Settings) -> None:
    def shop_day(mobile_abandoned: int, tablet_abandoned: int) -> ShopDay:
        return ShopDay(
            [
                Segment("desktop", "Direct", 400, 100, 50),
                Segment("mobile", "Paid Search", 400, 100, mobile_abandoned),
                Segment("tablet", "Email", 40, 10, tablet_abandoned),
            ]
        )

    # Usually 50 + 60 + 6 of 210 = 55 %. Now mobile 95 (+35) and tablet 10 of 10: the highest rate, but only +4.
    publish(settings, [shop_day(60, 6)] * 40 + [shop_day(95, 10)])
    text = Path(only(check_and_send(settings, run_id="first")).message_path).read_text()
    assert "Observed on Mon 10 Aug 2026: 73.8 % (+34 %)" in text
    for label, name in (("device", "mobile"), ("channel", "Paid Search")):
        line = f"Worst {label}: {name} 95.0 %, usually 60.0 %: +35 abandoned carts beyond its usual, of +39 in all"
        assert line in text


def test_a_durations_driver_is_its_part_of_the_means_change(settings: Settings) -> None:
    def shop_day(mobile: float) -> ShopDay:
        return ShopDay(
            [Segment("desktop", "Direct", 500, duration=100.0), Segment("mobile", "Direct", 500, duration=mobile)]
        )

    publish(settings, [shop_day(100.0)] * 40 + [shop_day(20.0)])
    text = Path(only(check_and_send(settings, run_id="first")).message_path).read_text()
    assert "Average session duration: 60.0 s (−40 %) since Mon 10 Aug" in text
    assert "Worst device: mobile 20.0 s, usually 100 s: −40.0 s of the mean's −40.0 s" in text


def test_rows_that_cannot_be_numbers_leave_a_day_untested(settings: Settings) -> None:
    publish(settings, [GOOD] * 40 + [day(sessions=0, carts=0, abandoned=0, duration=0.0)])
    assert check_and_send(settings, run_id="first").incidents == []
    with open_state(settings) as state:
        rows = state.execute("select verdict, reason from alert_checks where kpi_date = ?", (date_of(40).isoformat(),))
        assert {tuple(row) for row in rows} == {("untested", "the day has no value")}


def test_nothing_published_is_said(settings: Settings) -> None:
    with pytest.raises(NothingPublishedError, match="nothing has been published"):
        check_and_send(settings, run_id="first")


def test_the_check_leaves_the_published_file_as_it_is(settings: Settings) -> None:
    publish(settings, [GOOD] * 40 + [BAD])
    before = settings.published_path.read_bytes()
    check_and_send(settings, run_id="first")
    assert settings.published_path.read_bytes() == before
    assert [path.name for path in settings.home.glob("warehouse*")] == ["warehouse.duckdb"]


def test_every_table_of_the_state_can_be_copied_row_by_row(settings: Settings) -> None:
    publish(settings, [GOOD] * 40 + [BAD])
    check_and_send(settings, run_id="first")
    with open_state(settings) as state:
        incident = state.execute("select * from alert_incidents").fetchone()
        assert incident["fingerprint"] == "cart_abandonment_rate|above"
        assert dt.datetime.fromisoformat(incident["opened_at"]).tzinfo is not None
        assert state.execute("select count(*) from alert_checks").fetchone()[0] == 14 * 3
