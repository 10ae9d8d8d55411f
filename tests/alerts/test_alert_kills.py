"""SIGKILL at the worst moments: no message is lost, and none is doubled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from alert_warehouse import ShopDay, day, publish
from slack_server import CHANNEL_ID, TOKEN, Fault, SlackServer

from alerts.job import check_and_send
from warehouse.settings import PROJECT_DIR, Settings
from warehouse.state import open_state


def start_check(settings: Settings) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "FUNNELHOUSE_HOME": str(settings.home),
        "FUNNELHOUSE_PROPERTY_TIMEZONE": "UTC",
        "FUNNELHOUSE_ALERT_RULES": str(settings.alert_rules),
        "FUNNELHOUSE_SLACK_TOKEN": TOKEN,
        "FUNNELHOUSE_SLACK_CHANNEL": CHANNEL_ID,
        "FUNNELHOUSE_SLACK_BASE_URL": settings.slack_base_url,
    }
    return subprocess.Popen(
        [sys.executable, "-m", "alerts", "check"], cwd=PROJECT_DIR, env=environment, stdout=subprocess.DEVNULL
    )


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def attempts(settings: Settings) -> list[tuple[str, int]]:
    with open_state(settings) as state:
        return [tuple(row) for row in state.execute("select status, attempts from alert_outbox order by outbox_id")]


def test_killed_between_deciding_and_sending(slack_settings: Settings, slack: SlackServer) -> None:
    publish(slack_settings, [ShopDay()] * 40 + [day(abandoned=180)])
    slack.inject("files.getUploadURLExternal", Fault("slow", seconds=60))
    process = start_check(slack_settings)
    slack.wait_for("files.getUploadURLExternal")
    kill(process)
    assert attempts(slack_settings) == [("pending", 0)] and slack.messages == []
    report = check_and_send(slack_settings, run_id="next")
    assert (report.checked_days, report.sent) == ([], 1)
    assert len(slack.messages) == 1


def test_killed_between_sending_and_marking(slack_settings: Settings, slack: SlackServer) -> None:
    publish(slack_settings, [ShopDay()] * 40 + [day(abandoned=180)])
    slack.inject("chat.postMessage", Fault("accepted_then_hang", seconds=60))
    process = start_check(slack_settings)
    slack.wait_for("chat.postMessage")
    while not slack.messages:
        assert process.poll() is None
    kill(process)
    assert attempts(slack_settings) == [("pending", 1)] and len(slack.messages) == 1
    report = check_and_send(slack_settings, run_id="next")
    assert (report.sent, report.pending) == (1, 0)
    assert len(slack.messages) == 1 and len(slack.files) == 1
    assert check_and_send(slack_settings, run_id="once-more").sent == 0


@pytest.mark.parametrize(
    ("method", "count"),
    [("files.completeUploadExternal", 1), ("files.getUploadURLExternal", 2)],
)
def test_killed_in_the_middle_of_two_messages(
    slack_settings: Settings, slack: SlackServer, method: str, count: int
) -> None:
    publish(slack_settings, [ShopDay()] * 40 + [day(abandoned=180, duration=40.0)])
    process = start_check(slack_settings)
    slack.wait_for(method, count)
    kill(process)
    report = check_and_send(slack_settings, run_id="next")
    assert report.pending == 0
    assert len(slack.messages) == 2
