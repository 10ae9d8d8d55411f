"""The clock was a day ahead for a while, or the clocks of the property's zone have changed: nothing is lost or late."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from alert_warehouse import ShopDay, day, publish
from conftest import BOUND_RULES
from slack_server import Fault, SlackServer

from alerts.channels.errors import AlertDeliveryError
from alerts.channels.slack import Slack
from alerts.channels.slack_api import SlackSender
from alerts.incidents.check import check_rules
from alerts.incidents.problems import RunProblem, record_problem
from alerts.incidents.runs import report_success
from alerts.incidents.sending import deliver_outbox
from alerts.job import follow_up
from alerts.state import open_alerts
from foundation.settings import Settings
from foundation.state import open_state
from tests.shifted_clock import clock_shifted

DAY = dt.timedelta(days=1)
SHOP = [*[ShopDay()] * 40, day(abandoned=185)]
NOON = dt.datetime(2026, 8, 11, 12, tzinfo=dt.UTC)


def rows(settings: Settings, sql: str) -> list[tuple[Any, ...]]:
    with open_state(settings) as state:
        return [tuple(row) for row in state.execute(sql)]


def impatient(settings: Settings) -> Slack:
    """Slack, asked once: whatever fails stays in the outbox."""
    assert settings.slack_token is not None and settings.slack_channel is not None
    return Slack(
        SlackSender(
            token=settings.slack_token,
            channel=settings.slack_channel,
            base_url=settings.slack_base_url,
            max_attempts=1,
            backoff_seconds=0.01,
        )
    )


def with_quiet_hours(folder: Path, first: str, last: str) -> Path:
    path = folder / "rules.yml"
    book = yaml.safe_load(BOUND_RULES.read_text())
    rules = [rule | {"quiet_hours": {"from": first, "to": last}, "severity": "warning"} for rule in book["rules"]]
    path.write_text(yaml.safe_dump(book | {"rules": rules}))
    return path


@pytest.mark.parametrize("hours", [24, -24])
def test_a_message_whose_fate_is_unknown_is_found_although_the_clock_was_wrong(
    slack_settings: Settings, slack: SlackServer, hours: int
) -> None:
    publish(slack_settings, SHOP)
    slack.inject("chat.postMessage", Fault("accepted_then_reset"))
    slack.inject("conversations.history", Fault("status", status=503))
    with clock_shifted(dt.timedelta(hours=hours)):
        check_rules(slack_settings, run_id="wrong", as_of=NOON)
        with pytest.raises(AlertDeliveryError):
            deliver_outbox(slack_settings, instead=impatient(slack_settings))
    assert len(slack.told()) == 1
    deliver_outbox(slack_settings, instead=impatient(slack_settings))
    assert len(slack.told()) == 1
    assert rows(slack_settings, "select status from alert_outbox where channel = 'slack'") == [("sent",)]


@pytest.mark.parametrize("hours", [24, -24])
def test_what_was_queued_by_a_wrong_clock_goes_out_once(
    slack_settings: Settings, slack: SlackServer, hours: int
) -> None:
    publish(slack_settings, SHOP)
    shift = dt.timedelta(hours=hours)
    with clock_shifted(shift):
        check_rules(slack_settings, run_id="wrong", as_of=NOON + shift)
    for attempt in range(2):
        check_rules(slack_settings, run_id=f"right-{attempt}", as_of=NOON)
        deliver_outbox(slack_settings)
    assert len(slack.told()) == 1


def test_a_held_message_waits_for_the_end_of_these_quiet_hours_not_of_those_a_day_later(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = make_settings(alert_rules=with_quiet_hours(tmp_path, "22:00", "07:00"))
    publish(settings, SHOP)
    night = NOON.replace(hour=23)
    check_rules(settings, run_id="ahead", as_of=night + DAY)
    assert rows(settings, "select not_before from alert_outbox") == [("2026-08-13T07:00:00+00:00",)]
    follow_up(settings, run_id="later", as_of=night + dt.timedelta(minutes=30))
    assert rows(settings, "select not_before from alert_outbox") == [("2026-08-12T07:00:00+00:00",)]


@pytest.mark.parametrize(
    ("night", "until"),
    [
        ("2026-10-24T23:30+02:00", "2026-10-25T06:00:00+00:00"),  # it is an hour longer
        ("2027-03-27T23:30+01:00", "2027-03-28T05:00:00+00:00"),  # and here shorter
    ],
)
def test_quiet_hours_end_at_their_hour_on_the_night_on_which_the_clocks_change(
    make_settings: Callable[..., Settings], tmp_path: Path, night: str, until: str
) -> None:
    rules = with_quiet_hours(tmp_path, "22:00", "07:00")
    settings = make_settings(alert_rules=rules, property_timezone="Europe/Berlin")
    publish(settings, SHOP)
    check_rules(settings, run_id="run", as_of=dt.datetime.fromisoformat(night))
    assert rows(settings, "select not_before from alert_outbox") == [(until,)]


def test_a_missed_run_is_told_in_time_although_the_last_success_was_noted_by_a_clock_ahead(settings: Settings) -> None:
    report_success(settings, dag_id="ga4_pipeline", run_id="one", is_scheduled=True, as_of=NOON + DAY)
    hours = 7  # six after the next run of an hourly schedule
    follow_up(settings, run_id="back", as_of=NOON)
    follow_up(settings, run_id="in time", as_of=NOON + dt.timedelta(hours=hours))
    assert rows(settings, "select kind from alert_incidents") == []
    follow_up(settings, run_id="late", as_of=NOON + dt.timedelta(hours=hours + 1))
    assert rows(settings, "select kind from alert_incidents") == [("missed_schedule",)]


@pytest.mark.parametrize("change", ["2026-03-29", "2026-10-25"])
def test_no_run_is_missed_because_the_clocks_have_changed(make_settings: Callable[..., Settings], change: str) -> None:
    settings = make_settings(property_timezone="Europe/Berlin", missed_run_after_hours=26)
    morning = dt.datetime.combine(dt.date.fromisoformat(change), dt.time(7), tzinfo=settings.zone)
    for offset in (-1, 0, 1):  # 23 or 25 hours apart
        moment = (morning + offset * DAY).astimezone(dt.UTC)
        report_success(settings, dag_id="ga4_pipeline", run_id=str(offset), is_scheduled=True, as_of=moment)
    assert rows(settings, "select kind from alert_incidents") == []


def test_help_is_called_in_time_although_the_incident_was_opened_by_a_clock_ahead(
    make_settings: Callable[..., Settings],
) -> None:
    settings = make_settings(alert_escalation_owner="S12345678", alert_escalate_after_hours=6)
    publish(settings, SHOP)
    check_rules(settings, run_id="ahead", as_of=NOON + DAY)
    escalated = "select count(*) from alert_events where event = 'escalated'"
    for hours, calls in ((0, 0), (5, 0), (6, 1), (30, 1)):
        follow_up(settings, run_id=f"after-{hours}", as_of=NOON + dt.timedelta(hours=hours))
        assert rows(settings, escalated) == [(calls,)]


def test_a_problem_first_seen_by_a_clock_ahead_has_not_lasted_less_than_a_day(
    slack_settings: Settings, slack: SlackServer
) -> None:
    for run_id, moment in (("ahead", NOON + DAY), ("back", NOON)):
        problem = RunProblem(kind="task_failure", subject="ga4_pipeline", part="publish", run_id=run_id, error="x")
        with open_alerts(slack_settings) as state:
            record_problem(state, slack_settings, problem, moment=moment)
        deliver_outbox(slack_settings)
    assert rows(slack_settings, "select first_seen_date, last_seen_date from alert_incidents") == [
        ("2026-08-11", "2026-08-12")
    ]
    report_success(slack_settings, dag_id="ga4_pipeline", run_id="good", is_scheduled=False, as_of=NOON)
    deliver_outbox(slack_settings)
    assert rows(slack_settings, "select status from alert_incidents") == [("resolved",)]
    assert len(slack.parents()) == 1
