"""The weekly report: on Mondays, once, with what a calculator says is usual; useful when nothing is wrong."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from alert_warehouse import day, publish
from slack_server import CHANNEL_ID, Fault, SlackServer

from alerts.__main__ import main
from alerts.channels.errors import AlertDeliveryError
from alerts.incidents.weekly import name_week, predict_range
from alerts.job import check_and_send, follow_up
from foundation.settings import Settings
from foundation.state import open_state

MONDAY = dt.date(2026, 8, 31)  # of the week that is reported: the days below begin on Wednesday 1 July
NEXT = dt.datetime(2026, 9, 7, 8, tzinfo=dt.UTC)
RATES = [0.60, 0.62, 0.61, 0.63, 0.60, 0.62, 0.61, 0.63]
USUAL = 0.62


def weeks(last: float, *, days: int = 7) -> list[Any]:
    """Five days nobody reports, eight weeks whose rates are known, and the one that is reported."""
    made = [day(abandoned=124)] * 5
    for rate in RATES:
        made += [day(abandoned=round(200 * rate))] * 7
    return made + [day(abandoned=round(200 * last))] * days


def report(settings: Settings, moment: dt.datetime = NEXT) -> None:
    follow_up(settings, run_id="follow", as_of=moment)


def lines(settings: Settings) -> list[str]:
    path = settings.alerts_dir / name_week(MONDAY) / "message.txt"
    return path.read_text(encoding="utf-8").splitlines()


def test_the_range_is_students_prediction_interval() -> None:
    low, high = predict_range([100.0, 110.0, 90.0, 105.0], is_share=False)
    logs = [math.log(value) for value in (100.0, 110.0, 90.0, 105.0)]
    mean = sum(logs) / 4
    deviation = math.sqrt(sum((each - mean) ** 2 for each in logs) / 3)
    reach = 3.182446 * deviation * math.sqrt(1.25)  # t of three degrees, 97.5 %
    assert (low, high) == (pytest.approx(math.exp(mean - reach)), pytest.approx(math.exp(mean + reach)))
    assert predict_range([1.0, 2.0, 3.0], is_share=False) == (None, None)
    assert predict_range([0.0, 2.0, 3.0, 4.0], is_share=False) == (None, None)
    assert predict_range([0.5, 1.0, 0.5, 0.5], is_share=True) == (None, None)


def test_a_quiet_week_says_that_it_was_one(slack: SlackServer, slack_settings: Settings) -> None:
    publish(slack_settings, weeks(USUAL))
    report(slack_settings)
    (message,) = slack.messages
    assert message["text"].startswith("📅 The week of Mon 31 Aug to Sun 6 Sep: All KPIs were within their usual range.")
    said = lines(slack_settings)
    assert said[1] == "All KPIs were within their usual range. No incident."
    # 62.0 % beside 63.0 % of the week before; eight weeks of which each is told above
    low, high = predict_range(RATES, is_share=True)
    assert low is not None and high is not None
    usual = f"usual {low:.1%} to {high:.1%}".replace("%", " %")
    assert said[2] == f"Cart abandonment rate: 62.0 % (−2 % on the week before); {usual}"
    # all sessions lasted 100 s in all weeks: what is usual is that
    assert said[3] == "Average session duration: 100 s (+0 % on the week before); usual 100 s to 100 s"
    assert "Data: all 7 days" in said and "Model: none scores yet" in said
    chart = (slack_settings.alerts_dir / name_week(MONDAY) / "chart.png").read_bytes()
    assert chart.startswith(b"\x89PNG") and len(slack.calls_of("files.completeUploadExternal")) == 1


def test_a_week_that_was_not_usual_names_what_and_what_it_cost(slack: SlackServer, slack_settings: Settings) -> None:
    publish(slack_settings, weeks(0.90))
    check_and_send(slack_settings, run_id="check", as_of=NEXT - dt.timedelta(hours=3))
    report(slack_settings)
    said = lines(slack_settings)
    assert said[1].startswith("Unusual: Cart abandonment rate. 1 incident")
    assert said[2].startswith("Cart abandonment rate: ⚠️ 90.0 % (+43 % on the week before); more than usual, usual 5")
    assert any(each.startswith("Incident: Cart abandonment rate: Mon 31 Aug to Sun 6 Sep") for each in said)
    # a week later that week is no measure of what is usual
    publish(slack_settings, [*weeks(0.90), *[day(abandoned=124)] * 7])
    report(slack_settings, NEXT + dt.timedelta(days=7))
    text = (slack_settings.alerts_dir / name_week(MONDAY + dt.timedelta(days=7)) / "message.txt").read_text()
    low, high = predict_range(RATES[1:], is_share=True)
    assert low is not None and high is not None and f"usual {low:.1%} to {high:.1%}".replace("%", " %") in text


@pytest.mark.parametrize(
    ("moment", "is_sent"),
    [
        (NEXT - dt.timedelta(minutes=1), False),
        (NEXT, True),
        (NEXT + dt.timedelta(hours=12), False),
        (NEXT + dt.timedelta(days=1), True),
        (NEXT + dt.timedelta(days=1, hours=12), False),
        (NEXT + dt.timedelta(days=2), False),
        (NEXT - dt.timedelta(days=1), False),
    ],
)
def test_it_comes_on_monday_or_a_day_late(
    slack: SlackServer, slack_settings: Settings, moment: dt.datetime, is_sent: bool
) -> None:
    publish(slack_settings, weeks(USUAL))
    report(slack_settings, moment)
    assert len(slack.messages) == is_sent


def test_it_waits_for_its_sunday_and_comes_once(slack: SlackServer, slack_settings: Settings) -> None:
    publish(slack_settings, weeks(USUAL, days=6))
    report(slack_settings)
    assert slack.messages == []
    publish(slack_settings, weeks(USUAL))
    for hours in range(1, 5):
        report(slack_settings, NEXT + dt.timedelta(hours=hours))
    assert len(slack.messages) == 1


def test_a_lost_answer_brings_no_second_one(slack: SlackServer, slack_settings: Settings) -> None:
    publish(slack_settings, weeks(USUAL))
    slack.inject("chat.postMessage", *[Fault("accepted_then_reset")] * 8)
    with contextlib.suppress(AlertDeliveryError):
        report(slack_settings)
    report(slack_settings, NEXT + dt.timedelta(minutes=30))
    assert len(slack.messages) == 1
    with open_state(slack_settings) as state:
        assert state.execute("select status from alert_outbox").fetchall()[0]["status"] == "sent"


def test_a_setting_ends_it_or_sends_it_elsewhere(slack: SlackServer, slack_settings: Settings) -> None:
    publish(slack_settings, weeks(USUAL))
    report(slack_settings.model_copy(update={"weekly_report": False}))
    assert slack.messages == []
    report(slack_settings.model_copy(update={"weekly_report_channel": CHANNEL_ID, "slack_channel": "C0ELSEWHERE"}))
    assert len(slack.messages) == 1


def test_by_hand_it_comes_on_any_day(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = make_settings()
    publish(settings, weeks(USUAL))
    for name, value in (("HOME", settings.home), ("PROPERTY_TIMEZONE", "UTC"), ("ALERT_RULES", settings.alert_rules)):
        monkeypatch.setenv(f"FUNNELHOUSE_{name}", str(value))
    assert main(["week", "--monday", "2026-08-31"]) == 0
    assert "All KPIs were within their usual range" in capsys.readouterr().out
    body = json.loads((settings.alerts_dir / name_week(MONDAY) / "message.json").read_text(encoding="utf-8"))
    assert body["text"].startswith("📅")
    assert main(["week", "--monday", "2026-09-01"]) == 2
    assert "is not a Monday" in capsys.readouterr().err
    assert main(["week", "--monday", "2026-09-07"]) == 2
    assert "is not published" in capsys.readouterr().err
